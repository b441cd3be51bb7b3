"""Erasing for good: what was erased is in no file any more, neither in the database nor in its log (TRAPS 24).

A transcript is first marked, which takes it out of sight at once and survives a crash; then its rows go, some hundred at
a time so that other writers are not held up; then the log is emptied. A reader that still looks at an old page delays
the last step, and the writer's chore finishes it. On a full disk it uses the room of `reserve`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Final, TypeVar

from sqlite_utils import Database

from appliance.errors import DiskFull, StoreBusy
from appliance.store.audit import append_audit
from appliance.store.database import empty_log, first, rows, transaction, typed_errors
from appliance.store.reserve import Reserve
from appliance.store.rows import now, time_text
from appliance.store.search import unindex
from appliance.store.threads import Writer
from appliance.store.tombstones import bury, transcript_subject

T = TypeVar("T")
log = logging.getLogger(__name__)

CHUNK_ROWS: Final = 250
READER_WAIT_MS: Final = 500
RETRY_S: Final = 1.0


class Step(Enum):
    MORE = auto()  # a chunk is gone, others are left
    GONE = auto()  # nothing erased is left in any file
    DELAYED = auto()  # a reader holds an old page


class Eraser:
    """Belongs to the writer thread; every call is made there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reserve = Reserve(path)
        self._log_is_clean = False  # what an earlier process erased may still stand in the log
        self._marked: list[int] = []  # and nobody was told yet
        self._listeners: list[Callable[[tuple[int, ...]], None]] = []

    def mark(self, db: Database, transcript_ids: Sequence[int]) -> None:
        """Part of a transaction: out of sight, and never to come back from a backup."""
        at = time_text(now())
        for transcript_id in transcript_ids:
            marked = "UPDATE transcripts SET erased_at = ? WHERE id = ? AND erased_at IS NULL RETURNING slug"
            if found := first(db, marked, (at, transcript_id)):
                bury(db, transcript_subject(found["slug"]))
                self._marked.append(transcript_id)
        self._log_is_clean = False

    def tell(self) -> None:
        """Once the marks are committed."""
        marked, self._marked = tuple(self._marked), []
        for listener in self._listeners if marked else ():
            listener(marked)

    def listen(self, listener: Callable[[tuple[int, ...]], None]) -> None:
        self._listeners.append(listener)

    def with_room(self, work: Callable[[Database], T]) -> Callable[[Database], T]:
        """`work`, done again with the reserved room when the disk is full."""

        def attempt(db: Database) -> T:
            try:
                with typed_errors(self._path):
                    return work(db)
            except DiskFull:
                self._reserve.release()
                with contextlib.suppress(DiskFull), typed_errors(self._path):
                    empty_log(db, wait_ms=0)
                return work(db)

        return attempt

    def close(self) -> None:
        """Give the reserved room back."""
        self._reserve.release()

    def soil(self) -> None:
        """Something was written over that must not stay in the log."""
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
        if not self._log_is_clean:
            return Step.DELAYED
        self._reserve.keep()
        return Step.GONE

    def chore(self, db: Database) -> float | None:
        """One step for the writer's spare time; in how many seconds the next one should be made."""
        return {Step.MORE: 0.0, Step.DELAYED: RETRY_S, Step.GONE: None}[self.with_room(self.step)(db)]


class Erasures:
    """What is erased for good, and by whom. `True` means: no word of it is left in any file.

    `False`: it is out of sight, but a reader still holds an old page, or the disk is full to the last byte; the rest is done as
    soon as that is over, also after a restart.
    """

    def __init__(self, writer: Writer, eraser: Eraser) -> None:
        self._writer = writer
        self._eraser = eraser

    async def erase_owner(self, owner: str, actor: str, reason: str = "request") -> bool:
        """All transcripts of an owner. `reason` "account" or "workspace": the owner goes, too, and a restored backup forgets them.

        Their running jobs must have been cancelled before.
        """
        return await self.erase_marked(lambda db: self.mark_owner(db, owner, actor, reason))

    async def erase_marked(self, mark: Callable[[Database], object]) -> bool:
        """`mark` runs in one transaction and marks what is to go (`Eraser.mark`); then it goes."""

        def in_transaction(db: Database) -> None:
            with transaction(db):
                mark(db)
            self._eraser.tell()
            self._writer.schedule_chore(0.0)  # should nobody wait for the steps any more

        await self._writer.run_bare(self._eraser.with_room(in_transaction))
        return await self.finish()

    def listen(self, loop: asyncio.AbstractEventLoop, listener: Callable[[tuple[int, ...]], None]) -> None:
        """`listener` is called on `loop` with the ids of transcripts that are erased, whatever the reason."""

        def tell(erased: tuple[int, ...]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(listener, erased)

        self._eraser.listen(tell)

    async def finish(self) -> bool:
        """Erase everything that is marked."""
        step = self._eraser.with_room(self._eraser.step)
        try:
            while (done := await self._writer.run_bare(step)) is Step.MORE:
                pass
        except (DiskFull, StoreBusy) as error:
            log.warning("What is erased is out of sight, and goes from the disk as soon as that is possible. %s", error)
            return False  # it is marked: the chore goes on
        return done is Step.GONE

    def mark_owner(self, db: Database, owner: str, actor: str, reason: str) -> int:
        """Part of a transaction, such as the one that deletes a person; how many transcripts are marked."""
        found = rows(db, "SELECT id FROM transcripts WHERE owner = ? AND erased_at IS NULL", (owner,))
        self._eraser.mark(db, [row["id"] for row in found])
        if reason in ("account", "workspace"):
            bury(db, owner)
            db.conn.execute("DELETE FROM retention WHERE owner = ?", (owner,))
        append_audit(db, "owner.erased", actor, owner, reason=reason, transcripts=len(found))
        return len(found)


def _erase_chunk(db: Database, transcript_id: int) -> None:
    unindexed = unindex(db, transcript_id, CHUNK_ROWS)
    chosen = "SELECT rowid FROM segments WHERE transcript_id = ? LIMIT ?"
    deleted = db.conn.execute(f"DELETE FROM segments WHERE rowid IN ({chosen})", (transcript_id, CHUNK_ROWS)).rowcount  # noqa: S608
    if unindexed < CHUNK_ROWS and deleted < CHUNK_ROWS:
        db.conn.execute("DELETE FROM transcripts WHERE id = ?", (transcript_id,))  # takes all that refers to it along
