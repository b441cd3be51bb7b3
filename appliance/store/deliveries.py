"""The durable queue of webhook messages: what must still be told to whom. Sending them is left to others.

A delivery is queued in the same transaction that ends its transcript, so none is forgotten by a crash. It holds ids
and states only, never text.
"""

from __future__ import annotations

import secrets
from datetime import datetime

from sqlite_utils import Database

from appliance.domain import JobState, Value
from appliance.errors import InvalidField
from appliance.store.database import first, rows
from appliance.store.rows import Row, now, read_time, time_text
from appliance.store.threads import Readers, Writer


class Delivery(Value, frozen=True):
    id: str  # "msg_…", the webhook-id, the same on every attempt
    transcript_id: int
    slug: str
    url: str
    event: str  # "transcript.completed", "transcript.failed", "transcript.cancelled", "transcript.interrupted"
    state: JobState
    created_at: datetime
    attempts: int  # made so far
    next_attempt_at: datetime


class SwitchedOff(Value, frozen=True):
    """A target that answered 410 Gone."""

    url: str
    at: datetime


class Deliveries:
    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def due(self, at: datetime, limit: int = 20) -> tuple[Delivery, ...]:
        """Deliveries whose time has come, the oldest first."""
        return await self._readers.run_then(lambda db: _due(db, at, limit), lambda found: tuple(map(_read, found)))

    async def next_due_at(self) -> datetime | None:
        """When the next delivery is due; None: the queue is empty."""
        row = await self._readers.run(lambda db: first(db, "SELECT min(next_attempt_at) AS at FROM deliveries"))
        return read_time(row["at"]) if row else None

    async def retry(self, delivery_id: str, at: datetime) -> None:
        """The attempt failed: count it, and try again at `at`."""
        update = "UPDATE deliveries SET attempts = attempts + 1, next_attempt_at = ? WHERE id = ?"
        await self._writer.run(lambda db: db.conn.execute(update, (time_text(at), delivery_id)))

    async def finish(self, delivery_id: str) -> None:
        """It arrived, or its 24 hours are over: forget it."""
        await self._writer.run(lambda db: db.conn.execute("DELETE FROM deliveries WHERE id = ?", (delivery_id,)))

    async def switch_off(self, url: str) -> None:
        """The target answered 410 Gone: forget all that is queued for it, and queue nothing for it again."""
        await self._writer.run(lambda db: _switch_off(db, url))

    async def switched_off(self) -> tuple[SwitchedOff, ...]:
        """Those that get nothing any more, by address."""
        return await self._readers.run(_switched_off)

    async def switched_off_at(self, url: str) -> datetime | None:
        """When this very address answered 410; None: it may be sent to."""
        return next((target.at for target in await self.switched_off() if target.url == url), None)

    async def allow(self, url: str) -> None:
        """Switch it on again, for what ends from now on. Raises `InvalidField` when it is not switched off."""
        await self._writer.run(lambda db: _allow(db, url))


def queue_delivery(db: Database, transcript_id: int, state: JobState) -> None:
    """Part of the transaction that ends a transcript: tell its `callback_url`, if it has one that is not switched off."""
    at = time_text(now())
    db.conn.execute(
        """
        INSERT INTO deliveries (id, transcript_id, url, state, created_at, next_attempt_at)
        SELECT ?, id, callback_url, ?, ?, ? FROM transcripts
        WHERE id = ? AND callback_url IS NOT NULL AND callback_url NOT IN (SELECT url FROM switched_off_hooks)
        """,
        (f"msg_{secrets.token_urlsafe(16)}", state, at, at, transcript_id),
    )


def _due(db: Database, at: datetime, limit: int) -> list[Row]:
    return rows(
        db,
        """
        SELECT deliveries.*, transcripts.slug FROM deliveries JOIN transcripts ON transcripts.id = transcript_id
        WHERE next_attempt_at <= ? AND erased_at IS NULL ORDER BY next_attempt_at, deliveries.rowid LIMIT ?
        """,
        (time_text(at), limit),
    )


def _switch_off(db: Database, url: str) -> None:
    db.conn.execute("INSERT OR IGNORE INTO switched_off_hooks (url, switched_off_at) VALUES (?, ?)", (url, time_text(now())))
    db.conn.execute("DELETE FROM deliveries WHERE url = ?", (url,))


def _switched_off(db: Database) -> tuple[SwitchedOff, ...]:
    found = rows(db, "SELECT url, switched_off_at FROM switched_off_hooks ORDER BY url")
    return tuple(SwitchedOff(row["url"], datetime.fromisoformat(row["switched_off_at"])) for row in found)


def _allow(db: Database, url: str) -> None:
    if not db.conn.execute("DELETE FROM switched_off_hooks WHERE url = ?", (url,)).rowcount:
        raise InvalidField("url", "is not switched off", "'appliance webhooks list' shows the targets that are.")


def _read(row: Row) -> Delivery:
    return Delivery(
        id=row["id"],
        transcript_id=row["transcript_id"],
        slug=row["slug"],
        url=row["url"],
        event=f"transcript.{row['state']}",
        state=JobState(row["state"]),
        created_at=datetime.fromisoformat(row["created_at"]),
        attempts=row["attempts"],
        next_attempt_at=datetime.fromisoformat(row["next_attempt_at"]),
    )
