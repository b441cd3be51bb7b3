"""Where SQL runs: one writer thread, and a few reader threads with a connection each. Never on the event loop."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlite_utils import Database

from appliance.errors import ApplianceError, DiskFull
from appliance.store.database import connect, empty_log, transaction, typed_errors

T = TypeVar("T")
R = TypeVar("R")
log = logging.getLogger(__name__)

CHORE_AGAIN_S = 10.0

Chore = Callable[[Database], float | None]
"""Work of the writer's own; returns in how many seconds it wants to run again, None when there is nothing to do."""


class Writer:
    """The only thread that writes. Each piece of work is one `BEGIN IMMEDIATE` transaction."""

    def __init__(self, path: Path, db: Database, chore: Chore) -> None:
        self._path = path
        self._db = db
        self._chore = chore
        self._chore_at: float | None = time.monotonic()  # an earlier process may have left something to do
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[Database], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="store-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[Database], T]) -> T:
        """Do `work` in a transaction; when this returns, it is on the disk."""

        def in_transaction(db: Database) -> T:
            with transaction(db):
                return work(db)

        return await self.run_bare(in_transaction)

    async def run_bare(self, work: Callable[[Database], T]) -> T:
        """Do `work`, which begins its own transactions or needs none."""
        future: Future[T] = Future()
        self._work.put((future, work))
        return await asyncio.wrap_future(future)

    def post(self, work: Callable[[Database], object]) -> None:
        """Do `work` in a transaction some time soon; nobody waits for it, and a failure is only logged."""

        def in_transaction(db: Database) -> None:
            with transaction(db):
                work(db)

        future: Future[None] = Future()
        future.add_done_callback(_log_failure)
        self._work.put((future, in_transaction))

    def schedule_chore(self, delay_s: float) -> None:
        """Called by work on the writer thread: the chore has something to do."""
        self._chore_at = time.monotonic() + delay_s

    async def close(self) -> None:
        self._work.put(None)
        await asyncio.to_thread(self._thread.join)
        self._db.close()

    def _loop(self) -> None:
        while True:
            try:
                item = self._work.get(timeout=self._patience_s())
            except queue.Empty:
                self._do_chore()
                continue
            if item is None:
                return
            self._do(*item)

    def _patience_s(self) -> float | None:
        return None if self._chore_at is None else max(0.0, self._chore_at - time.monotonic())

    def _do(self, future: Future[Any], work: Callable[[Database], Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(self._attempt(work))
        except BaseException as error:  # noqa: BLE001 - the request's end on this thread: whoever waits gets the error
            future.set_exception(error)

    def _attempt(self, work: Callable[[Database], T]) -> T:
        """On a full disk once more: the log may hold the room that is missing. A transaction that failed left nothing."""
        try:
            with typed_errors(self._path):
                return work(self._db)
        except DiskFull:
            with typed_errors(self._path):
                empty_log(self._db, wait_ms=0)
                return work(self._db)

    def _do_chore(self) -> None:
        self._chore_at = None
        try:
            with typed_errors(self._path):
                delay_s = self._chore(self._db)
        except ApplianceError as error:  # the disk is full, or another process writes: the chore is still to be done
            log.warning("The store could not tidy up yet: %s", error)
            delay_s = CHORE_AGAIN_S
        except Exception:  # this attempt ends here; the thread must not, everybody waits for it
            log.exception("The store could not tidy up")
            delay_s = CHORE_AGAIN_S
        if delay_s is not None:
            self.schedule_chore(delay_s)


def _log_failure(future: Future[None]) -> None:
    if error := future.exception():
        log.warning("A note could not be written to the database: %s", error)


class Readers:
    """Threads that read; each piece of work sees one moment of the database."""

    def __init__(self, path: Path, threads: int = 4) -> None:
        self._path = path
        self._local = threading.local()
        self._open: list[Database] = []
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="store-reader", initializer=self._connect)

    async def run(self, fetch: Callable[[Database], T]) -> T:
        return await self.run_then(fetch, _unchanged)

    async def run_then(self, fetch: Callable[[Database], R], decode: Callable[[R], T]) -> T:
        """`decode` runs on the same thread after the read has ended, so that long decoding holds no old pages (TRAPS 24)."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, fetch, decode)

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.shutdown)
        for db in self._open:
            db.close()

    def _connect(self) -> None:
        self._local.db = connect(self._path, read_only=True)
        self._open.append(self._local.db)

    def _read(self, fetch: Callable[[Database], R], decode: Callable[[R], T]) -> T:
        db: Database = self._local.db
        with typed_errors(self._path), transaction(db, "DEFERRED"):
            fetched = fetch(db)
        return decode(fetched)


def _unchanged(value: T) -> T:
    return value
