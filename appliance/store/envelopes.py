"""What is kept of private transcripts beside their row: when the result was taken away, and the envelope a browser made.

No word of a private transcript is ever here in the clear; whether an envelope is one is checked before it comes here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlite_utils import Database

from appliance.domain import Failure, JobState, Value
from appliance.errors import NotFound, NotPrivate, NotReady, ResultNotFetched, StaleEnvelope
from appliance.store.database import first, rows
from appliance.store.erasure import Eraser
from appliance.store.reach import Reach, Right
from appliance.store.rows import Row, json_text, now, read_failure, read_time, time_text
from appliance.store.threads import Readers, Writer
from appliance.store.transcripts import find_row, finish_transcript
from appliance.store.usage import Used, append_usage

UNFETCHED = """
    state = 'completed' AND id IN
    (SELECT transcript_id FROM private_transcripts WHERE acknowledged_at IS NULL AND envelope IS NULL)
"""


class PrivateState(Value, frozen=True):
    """Where a private transcript stands."""

    transcript_id: int
    slug: str
    owner: str
    language: str | None
    acknowledged_at: datetime | None
    version: int  # of the envelope; 0: none is stored
    stored_at: datetime | None
    size_bytes: int  # of the envelope


class Envelopes:
    """`key` is an id or a slug. Raises `NotFound`, and `NotPrivate` for an ordinary transcript."""

    def __init__(self, writer: Writer, readers: Readers, eraser: Eraser) -> None:
        self._writer = writer
        self._readers = readers
        self._eraser = eraser

    async def complete(self, transcript_id: int, language: str, used: Sequence[Used] = ()) -> None:
        """The transcription is done, and its result in memory. Raises as `Transcripts.complete`."""

        def work(db: Database) -> None:
            finish_transcript(db, transcript_id, JobState.COMPLETED, {})
            db.conn.execute("UPDATE private_transcripts SET language = ? WHERE transcript_id = ?", (language, transcript_id))
            for one in used:
                append_usage(db, one)

        await self._writer.run(work)

    async def acknowledge(self, transcript_id: int) -> None:
        """The result is wiped from memory."""
        update = "UPDATE private_transcripts SET acknowledged_at = coalesce(acknowledged_at, ?) WHERE transcript_id = ?"
        await self._writer.run(lambda db: db.conn.execute(update, (time_text(now()), transcript_id)))

    async def expire(self, transcript_id: int | None = None) -> int:
        """Nobody came for the result, and it is wiped: the transcript, or all such of an earlier process, has failed."""
        return await self._writer.run(lambda db: _expire(db, transcript_id))

    async def state(self, key: int | str, reach: Reach) -> PrivateState:
        return await self._readers.run(lambda db: _state(find_row(db, key, reach, Right.READ), db))

    async def read(self, key: int | str, reach: Reach) -> bytes:
        """The envelope as it was stored. Raises `NotFound` when there is none."""
        return await self._readers.run(lambda db: _envelope(db, find_row(db, key, reach, Right.READ)["id"], key))

    async def store(self, key: int | str, reach: Reach, version: int, envelope: bytes) -> PrivateState:
        """In place of the one before, of which nothing is left in any file. Raises `StaleEnvelope`, `NotReady`."""

        def work(db: Database) -> PrivateState:
            row = find_row(db, key, reach, Right.CHANGE)
            _replace(db, row, version, envelope)
            self._eraser.soil()  # the older one may have been locked with a password that is known to others by now
            self._writer.schedule_chore(0.0)
            return _state(row, db)

        return await self._writer.run(work)


def _private_row(db: Database, transcript_id: int) -> Row:
    """Without the envelope."""
    columns = "language, acknowledged_at, version, stored_at, coalesce(length(envelope), 0) AS size_bytes"
    found = first(db, f"SELECT {columns} FROM private_transcripts WHERE transcript_id = ?", (transcript_id,))  # noqa: S608
    if found is None:
        raise NotPrivate
    return found


def _state(row: Row, db: Database) -> PrivateState:
    private = _private_row(db, row["id"])
    return PrivateState(
        transcript_id=row["id"],
        slug=row["slug"],
        owner=row["owner"],
        language=private["language"],
        acknowledged_at=read_time(private["acknowledged_at"]),
        version=private["version"],
        stored_at=read_time(private["stored_at"]),
        size_bytes=private["size_bytes"],
    )


def _envelope(db: Database, transcript_id: int, key: int | str) -> bytes:
    _private_row(db, transcript_id)
    found = first(db, "SELECT envelope FROM private_transcripts WHERE transcript_id = ?", (transcript_id,))
    if found is None or found["envelope"] is None:
        raise NotFound(f"envelope of the transcript '{key}' yet")
    return bytes(found["envelope"])


def _replace(db: Database, row: Row, version: int, envelope: bytes) -> None:
    stored = _private_row(db, row["id"])["version"]
    if row["state"] != JobState.COMPLETED:
        raise NotReady("text", row["state"], read_failure(row["failure"]))
    if version != stored + 1:
        raise StaleEnvelope(version, stored)
    db.conn.execute(
        "UPDATE private_transcripts SET version = ?, stored_at = ?, envelope = ? WHERE transcript_id = ?",
        (version, time_text(now()), envelope, row["id"]),
    )


def _expire(db: Database, transcript_id: int | None) -> int:
    error = ResultNotFetched()
    failure = json_text(Failure(error.code, error.message, error.hint, error.status))
    chosen = rows(db, f"SELECT id FROM transcripts WHERE {UNFETCHED} AND (?1 IS NULL OR id = ?1)", (transcript_id,))  # noqa: S608
    for row in chosen:
        db.conn.execute("UPDATE transcripts SET state = ?, failure = ? WHERE id = ?", (JobState.FAILED, failure, row["id"]))
    return len(chosen)
