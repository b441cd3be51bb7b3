"""Idempotency keys: sending the same request twice gives one transcript."""

from __future__ import annotations

from datetime import timedelta

from sqlite_utils import Database

from appliance.domain import TranscriptRecord, Value
from appliance.errors import IdempotencyMismatch
from appliance.store.database import first
from appliance.store.reach import Reach, Right
from appliance.store.rows import now, read_record, time_text
from appliance.store.threads import Readers, Writer
from appliance.store.transcripts import NewTranscript, insert_transcript


class Claim(Value, frozen=True):
    record: TranscriptRecord  # without its text; `Transcripts.get` has it
    created: bool  # False: this key was used before, and `record` is the transcript of that time


class IdempotencyKeys:
    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def is_known(self, reach: Reach, key: str) -> bool:
        """Whether the key has a transcript of somebody for whom whoever reaches so far may send."""
        return await self._readers.run(lambda db: _is_known(db, reach, key))

    async def find(self, owner: str, key: str, fingerprint: str) -> TranscriptRecord | None:
        """The transcript, without its text, that this owner's key already has. Raises `IdempotencyMismatch`."""
        return await self._readers.run(lambda db: _find(db, (owner, key), fingerprint))

    async def claim(self, owner: str, key: str, fingerprint: str, new: NewTranscript, ttl_s: float) -> Claim:
        """Create the transcript unless this owner's key already has one; atomic, so two uploads at once make one.

        `fingerprint` is a digest over the recording and the options. A key is forgotten after `ttl_s`, and as soon as its
        transcript fails, is cancelled, interrupted or erased, so that sending again starts over.
        Raises `IdempotencyMismatch` when the key was used for something else, `DiskFull`.
        """
        return await self._writer.run(lambda db: _claim(db, (owner, key), fingerprint, new, ttl_s))


def _claim(db: Database, owner_and_key: tuple[str, str], fingerprint: str, new: NewTranscript, ttl_s: float) -> Claim:
    at = now()
    db.conn.execute("DELETE FROM idempotency WHERE expires_at <= ?", (time_text(at),))
    if used := _find(db, owner_and_key, fingerprint):
        return Claim(record=used, created=False)
    record = insert_transcript(db, new)
    row = (*owner_and_key, fingerprint, record.id, time_text(at + timedelta(seconds=ttl_s)))
    db.conn.execute("INSERT INTO idempotency VALUES (?, ?, ?, ?, ?)", row)
    return Claim(record=record, created=True)


def _find(db: Database, owner_and_key: tuple[str, str], fingerprint: str) -> TranscriptRecord | None:
    used = first(
        db,
        """
        SELECT transcripts.*, fingerprint FROM idempotency JOIN transcripts ON transcripts.id = transcript_id
        WHERE idempotency.owner = ? AND key = ? AND expires_at > ?
        """,
        (*owner_and_key, time_text(now())),
    )
    if used is None:
        return None
    if used["fingerprint"] != fingerprint:
        raise IdempotencyMismatch
    return read_record(used)


def _is_known(db: Database, reach: Reach, key: str) -> bool:
    within_reach, owners = reach.condition(Right.CHANGE)
    query = f"SELECT 1 FROM idempotency WHERE {within_reach} AND key = ? AND expires_at > ?"  # noqa: S608 -- fixed text
    return first(db, query, (*owners, key, time_text(now()))) is not None
