"""One thread that feeds the model: windows of every recording in flight share batches.

A job opens a lane and submits tasks; each gets a future. Which tasks go together is decided by priority, then round-robin
between lanes, among tasks of one bucket (same model, same generation options: TRAPS 19). While one batch is decoded, the
features of the likely next one are computed on other threads. What a task means is the backend's business.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, Self, TypeVar

import msgspec

from appliance.domain import Value
from appliance.errors import Cancelled, DeviceOutOfMemory

_log = logging.getLogger(__name__)

Features = TypeVar("Features")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class OutOfMemory(Exception):
    """A backend says: this batch was too large for the device; a smaller one may work."""


class DeviceLost(Exception):
    """The device is in an unknown state after a CUDA error (TRAPS 16): the process must end, the supervisor starts another."""


class Work(Protocol[Features, Result_co]):
    """What the batcher needs to know of a task. A backend's tasks implement it."""

    @property
    def bucket(self) -> Hashable:
        """Tasks with equal buckets may share a batch."""

    def prepare(self) -> Features:
        """Features for the model; on a helper thread, ahead of time."""

    def decode(self, batch: Sequence[Self], features: Sequence[Features]) -> Sequence[Result_co]:
        """Results of a whole batch of this bucket, in order; raises OutOfMemory or DeviceLost."""


class BatchStatistics(Value, frozen=True):
    """For the metrics: since the process started."""

    batches: int = 0
    tasks: int = 0
    busy_s: float = 0.0  # time spent in batches
    out_of_memory: int = 0
    waiting: int = 0  # now
    sizes: tuple[tuple[int, int], ...] = ()  # (batch size, how many batches), ordered


class _Entry(Generic[Features, Result]):
    """A submitted task: its place in the queue, its future, and its features once somebody asked for them."""

    __slots__ = ("features", "future", "work")

    def __init__(self, work: Work[Features, Result]) -> None:
        self.work = work
        self.future: Future[Result] = Future()
        self.features: Future[Features] | None = None


class Lane(Generic[Features, Result]):
    """One job's queue in the batcher. Close it to drop what is still waiting."""

    def __init__(self, batcher: Batcher[Features, Result], priority: int) -> None:
        self._batcher = batcher
        self.priority = priority  # smaller goes first
        self.waiting: deque[_Entry[Features, Result]] = deque()

    def submit(self, *works: Work[Features, Result], first: bool = False) -> list[Future[Result]]:
        """Queue tasks, at once so that they can share a batch; `first`: before the lane's other tasks (they hold up others)."""
        return self._batcher.submit(self, works, first=first)

    def close(self) -> None:
        """Cancel what waits; a batch that is being decoded ends, and its results are dropped."""
        self._batcher.close_lane(self)

    def __enter__(self) -> Lane[Features, Result]:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Batcher(Generic[Features, Result]):
    """Owns the decoding thread. `batch_size` is the most tasks in a batch; out of memory halves it for good."""

    def __init__(self, batch_size: int, feature_threads: int = 1) -> None:
        self._wanted = batch_size
        self._borne = batch_size  # by the device's memory, as far as it has shown; only ever less
        self._lanes: deque[Lane[Features, Result]] = deque()  # the left one's turn is next
        self._changed = threading.Condition()
        self._closed = False
        self._lost: DeviceLost | None = None
        self._statistics = BatchStatistics()
        self._preparer = ThreadPoolExecutor(feature_threads, thread_name_prefix="features")
        self._ahead = batch_size
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    # --- for jobs (any thread) ---

    def open_lane(self, priority: int = 0) -> Lane[Features, Result]:
        lane: Lane[Features, Result] = Lane(self, priority)
        with self._changed:
            self._lanes.append(lane)
        return lane

    def submit(self, lane: Lane[Features, Result], works: Sequence[Work[Features, Result]], *, first: bool) -> list[Future[Result]]:
        entries = [_Entry(work) for work in works]
        with self._changed:
            if self._lost is not None:
                raise self._lost
            if self._closed or lane not in self._lanes:
                raise Cancelled
            lane.waiting = deque([*entries, *lane.waiting]) if first else deque([*lane.waiting, *entries])
            self._changed.notify()
        return [entry.future for entry in entries]

    def close_lane(self, lane: Lane[Features, Result]) -> None:
        with self._changed:
            if lane in self._lanes:
                self._lanes.remove(lane)
            dropped, lane.waiting = lane.waiting, deque()
        for entry in dropped:
            entry.future.cancel()

    def limit_to(self, batch_size: int) -> None:
        """From now on no larger batches than this, nor than at the start, nor than what the device's memory bore."""
        with self._changed:
            self._wanted = batch_size

    @property
    def _batch_size(self) -> int:
        return min(self._wanted, self._borne)

    def statistics(self) -> BatchStatistics:
        with self._changed:
            waiting = sum(len(lane.waiting) for lane in self._lanes)
            known = self._statistics
        return msgspec.structs.replace(known, waiting=waiting)

    def close(self) -> None:
        """End after the batch in hand; what waits is cancelled."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        for lane in list(self._lanes):
            self.close_lane(lane)
        self._preparer.shutdown(wait=True, cancel_futures=True)

    # --- the thread ---

    def _run(self) -> None:
        while self._lost is None and (batch := self._wait_for_batch()):
            self._decode(batch)
            # An idle batcher must not keep the last job's features and futures alive.
            del batch

    def _wait_for_batch(self) -> list[_Entry[Features, Result]]:
        """The next batch, taken out of the lanes; empty when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or any(lane.waiting for lane in self._lanes))
            if self._closed:
                return []
            batch, turns = self._choose(self._batch_size)
            for lane, entry in batch:
                lane.waiting.remove(entry)
            self._lanes.rotate(-turns)
            entries = [entry for _, entry in batch]
            following, _ = self._choose(self._ahead)
        for entry in [*entries, *(entry for _, entry in following)]:
            if entry.features is None:
                entry.features = self._preparer.submit(entry.work.prepare)
        return entries

    def _choose(self, size: int) -> tuple[list[tuple[Lane[Features, Result], _Entry[Features, Result]]], int]:
        """Up to `size` tasks that go together, and by how many lanes the turn moves on.

        The most urgent lane whose turn it is decides the bucket. Lanes of the same urgency then give one task each in turn;
        less urgent ones only fill what is left.
        """
        order = sorted((lane for lane in self._lanes if lane.waiting), key=lambda lane: lane.priority)
        if not order:
            return [], 0
        bucket = order[0].waiting[0].work.bucket
        chosen: list[tuple[Lane[Features, Result], _Entry[Features, Result]]] = []
        for priority in sorted({lane.priority for lane in order}):
            matching = [
                (lane, [entry for entry in lane.waiting if entry.work.bucket == bucket])
                for lane in order
                if lane.priority == priority
            ]
            for turn in range(max(len(entries) for _, entries in matching)):
                chosen += [(lane, entries[turn]) for lane, entries in matching if turn < len(entries)]
                if len(chosen) >= size:
                    break
        chosen = chosen[:size]
        return chosen, self._lanes.index(order[0]) + 1

    def _decode(self, entries: list[_Entry[Features, Result]]) -> None:
        live = [entry for entry in entries if entry.future.set_running_or_notify_cancel()]
        try:
            self._decode_in_parts(live)
        except DeviceLost as error:
            self._fail_everything(error, live)

    def _decode_in_parts(self, entries: list[_Entry[Features, Result]]) -> None:
        """Decode all at once if that works, so that a window fails only by what it meets when it is decoded alone.

        Out of memory halves the batch as often as it takes, and for good (TRAPS 16).
        """
        size = len(entries)
        while entries:
            part = entries[:size]
            try:
                self._decode_once(part)
            except DeviceLost:
                raise
            except OutOfMemory:
                self._count_out_of_memory(len(part))
                if len(part) > 1:
                    size = len(part) // 2
                    continue
                _fail(part, DeviceOutOfMemory())
            except Exception as error:  # noqa: BLE001 - the window ends here: its job gets the error, the thread goes on
                if len(part) > 1:  # one of them does not concern the other recordings
                    _log.warning("a batch of %d windows failed (%s); each is decoded alone", len(part), type(error).__name__)
                    size = 1
                    continue
                _log.exception("a window failed")
                _fail(part, error)
            entries = entries[size:]

    def _count_out_of_memory(self, windows: int) -> None:
        self._statistics = _counted(self._statistics, out_of_memory=1)
        self._borne = min(self._borne, max(1, windows // 2))
        _log.warning("the device is out of memory with %d windows at once; from now on %d", windows, self._batch_size)

    def _decode_once(self, entries: list[_Entry[Features, Result]]) -> None:
        works = [entry.work for entry in entries]
        started = time.monotonic()
        results = works[0].decode(works, [_features(entry) for entry in entries])
        self._statistics = _counted(self._statistics, size=len(entries), busy_s=time.monotonic() - started)
        for entry, result in zip(entries, results, strict=True):
            entry.future.set_result(result)

    def _fail_everything(self, error: DeviceLost, live: list[_Entry[Features, Result]]) -> None:
        with self._changed:
            self._lost = error
            waiting = [entry for lane in self._lanes for entry in lane.waiting]
            for lane in self._lanes:
                lane.waiting.clear()
        _fail([*live, *(entry for entry in waiting if entry.future.set_running_or_notify_cancel())], error)


def _features(entry: _Entry[Features, Result]) -> Features:
    assert entry.features is not None
    return entry.features.result()


def _fail(entries: list[_Entry[Features, Result]], error: Exception) -> None:
    for entry in entries:
        if not entry.future.done():
            entry.future.set_exception(error)


def _counted(known: BatchStatistics, *, size: int = 0, busy_s: float = 0.0, out_of_memory: int = 0) -> BatchStatistics:
    sizes = dict(known.sizes)
    if size:
        sizes[size] = sizes.get(size, 0) + 1
    return BatchStatistics(
        batches=known.batches + (size > 0),
        tasks=known.tasks + size,
        busy_s=known.busy_s + busy_s,
        out_of_memory=known.out_of_memory + out_of_memory,
        sizes=tuple(sorted(sizes.items())),
    )
