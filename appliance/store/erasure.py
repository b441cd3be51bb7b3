"""Erasing for good: what was erased is in no file any more, neither in the database nor in its log (TRAPS 24).

A transcript is first marked, which takes it out of sight at once and survives a crash; then its rows go, some hundred at
a time so that other writers are not held up; then the log is emptied. A reader that still looks at an old page delays
the last step, and the writer's chore finishes it.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from sqlite_utils import Database

from appliance.store.database import empty_log, first, transaction
from appliance.store.rows import now, time_text
from appliance.store.search import unindex

CHUNK_ROWS: Final = 250
READER_WAIT_MS: Final = 500
RETRY_S: Final = 1.0


class Step(Enum):
    MORE = auto()  # a chunk is gone, others are left
    GONE = auto()  # nothing erased is left in any file
    DELAYED = auto()  # a reader holds an old page


class Eraser:
    """Belongs to the writer thread; every call is made there."""

    def __init__(self) -> None:
        self._log_is_clean = False  # what an earlier process erased may still stand in the log

    def mark(self, db: Database, transcript_id: int) -> None:
        """Part of a transaction."""
        db.conn.execute("UPDATE transcripts SET erased_at = ? WHERE id = ?", (time_text(now()), transcript_id))
        self._log_is_clean = False

    def step(self, db: Database) -> Step:
        """Outside of any transaction."""
        marked = first(db, "SELECT id FROM transcripts WHERE erased_at IS NOT NULL LIMIT 1")
        if marked is not None:
            with transaction(db):
                _erase_chunk(db, marked["id"])
            self._log_is_clean = False
            return Step.MORE
        if not self._log_is_clean:
            self._log_is_clean = empty_log(db, READER_WAIT_MS)
        return Step.GONE if self._log_is_clean else Step.DELAYED

    def chore(self, db: Database) -> float | None:
        """One step for the writer's spare time; in how many seconds the next one should be made."""
        return {Step.MORE: 0.0, Step.DELAYED: RETRY_S, Step.GONE: None}[self.step(db)]


def _erase_chunk(db: Database, transcript_id: int) -> None:
    unindexed = unindex(db, transcript_id, CHUNK_ROWS)
    chosen = "SELECT rowid FROM segments WHERE transcript_id = ? LIMIT ?"
    deleted = db.conn.execute(f"DELETE FROM segments WHERE rowid IN ({chosen})", (transcript_id, CHUNK_ROWS)).rowcount  # noqa: S608
    if unindexed < CHUNK_ROWS and deleted < CHUNK_ROWS:
        db.conn.execute("DELETE FROM transcripts WHERE id = ?", (transcript_id,))  # takes all that refers to it along
