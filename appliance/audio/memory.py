"""Memory for recordings: every byte is reserved before it is written, and lies in an anonymous memfd that no path names.

A memfd has no name in any file system, so nothing here can reach a disk except through swap (which `appliance doctor`
warns of). There is one copy of a recording: whoever needs it is handed the file descriptor.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import select
import termios
import threading
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Self

from appliance.errors import MemoryFull, UploadTooLarge

# Uploads are taken as long as no more of the memory than this is in use; the rest is left to decode them, so that what was
# accepted can be finished.
UPLOAD_SHARE = 0.75
_NO_EXECUTE = 0x8  # MFD_NOEXEC_SEAL, Linux 6.3: the file can never be run as a program
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


def _half_a_minute() -> int:
    return 30


class MemoryBudget:
    """How much memory all recordings together may hold, and how much they do. Thread-safe.

    `retry_after_s` is asked when the budget is full: how long a client should wait before it tries again.
    """

    def __init__(self, total_bytes: int, retry_after_s: Callable[[], int] = _half_a_minute) -> None:
        self.total_bytes = total_bytes
        self.upload_bytes = int(total_bytes * UPLOAD_SHARE)  # up to here uploads are taken
        self._retry_after_s = retry_after_s
        self._used_bytes = 0
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        return self._used_bytes

    def reserve(self, n_bytes: int, *, upload: bool = False) -> Reservation:
        """Raises `MemoryFull`, or `UploadTooLarge` when the request could never fit. `upload`: within the uploads' share."""
        limit_bytes = self.upload_bytes if upload else self.total_bytes
        self._take(n_bytes, n_bytes, limit_bytes)
        return Reservation(self, n_bytes, limit_bytes)

    def full(self) -> MemoryFull:
        return MemoryFull(self._retry_after_s())

    def _take(self, more_bytes: int, whole_bytes: int, limit_bytes: int) -> None:
        if whole_bytes > limit_bytes:
            raise UploadTooLarge(limit_bytes)
        with self._lock:
            fits = self._used_bytes + more_bytes <= limit_bytes
            if fits:
                self._used_bytes += more_bytes
        if not fits:
            raise self.full()

    def _give_back(self, n_bytes: int) -> None:
        with self._lock:
            self._used_bytes -= n_bytes


class Reservation:
    """A part of the budget, held until it is released."""

    def __init__(self, budget: MemoryBudget, n_bytes: int, limit_bytes: int) -> None:
        self._budget = budget
        self._limit_bytes = limit_bytes  # of the memory in use, beyond which it may not grow
        self.n_bytes = n_bytes

    def grow(self, n_bytes: int) -> None:
        """Reserve `n_bytes` more; raises like `MemoryBudget.reserve`, and then holds what it held before."""
        self._budget._take(n_bytes, self.n_bytes + n_bytes, self._limit_bytes)
        self.n_bytes += n_bytes

    def shrink_to(self, n_bytes: int) -> None:
        if n_bytes < self.n_bytes:
            self._budget._give_back(self.n_bytes - n_bytes)
            self.n_bytes = n_bytes

    def release(self) -> None:
        self.shrink_to(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


class MemoryFile:
    """A growing file in memory and the reservation that covers it. Used by one thread at a time.

    After `seal` nobody, whatever descriptor they hold, can change it: it may be handed to processes that are not trusted.
    """

    def __init__(self, fd: int, budget: MemoryBudget, reservation: Reservation) -> None:
        self.fd = fd  # -1 once closed
        self.size = 0
        self._budget = budget
        self._reservation = reservation

    @classmethod
    def create(cls, name: str, budget: MemoryBudget, reserve_bytes: int = 0, *, upload: bool = False) -> MemoryFile:
        """`name` is shown in /proc only; never a person's file name. Raises like `MemoryBudget.reserve`."""
        reservation = budget.reserve(reserve_bytes, upload=upload)
        try:
            return cls(_create_memfd(name), budget, reservation)
        except BaseException:
            reservation.release()
            raise

    @property
    def reserved_bytes(self) -> int:
        return self._reservation.n_bytes

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append. Raises like `MemoryBudget.reserve`, before anything is written."""
        rest = memoryview(data)
        self._make_room(rest.nbytes)
        while rest.nbytes:
            written = self._appended(lambda: os.write(self.fd, rest))  # noqa: B023 -- called at once
            rest = rest[written:]

    def write_from_pipe(self, pipe_fd: int) -> int:
        """Append what waits in a pipe, without copying it through this process; returns bytes, 0 at its end.

        Raises like `MemoryBudget.reserve`, before anything is written, and `BlockingIOError` when nothing waits.
        """
        waiting = array.array("i", [0])
        fcntl.ioctl(pipe_fd, termios.FIONREAD, waiting)
        if not waiting[0]:
            return _nothing_waits(pipe_fd)
        self._make_room(waiting[0])
        return self._appended(lambda: os.splice(pipe_fd, self.fd, waiting[0], flags=os.SPLICE_F_NONBLOCK))

    def read(self) -> bytes:
        """All of it, copied: for small ones only."""
        return os.pread(self.fd, self.size, 0)

    def seal(self) -> None:
        """Make it read-only for good, and return what was reserved beyond its size."""
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _SEALS)
        self._reservation.shrink_to(self.size)

    def close(self) -> None:
        """Free the memory and the reservation; calling it again does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
        self._reservation.release()

    def _make_room(self, n_bytes: int) -> None:
        missing = self.size + n_bytes - self._reservation.n_bytes
        if missing > 0:
            self._reservation.grow(missing)

    def _appended(self, append: Callable[[], int]) -> int:
        try:
            n_bytes = append()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.ENOMEM):  # the machine has less than the budget promises
                raise self._budget.full() from error
            raise
        self.size += n_bytes
        return n_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if self.fd >= 0:
            warnings.warn(f"a recording of {self.size} bytes was left open", ResourceWarning, source=self, stacklevel=1)
            self.close()


def _nothing_waits(pipe_fd: int) -> int:
    """0 at the end of a pipe, `BlockingIOError` before it."""
    poll = select.poll()
    poll.register(pipe_fd, select.POLLIN)
    events = dict(poll.poll(0)).get(pipe_fd, 0)
    if events & select.POLLHUP and not events & select.POLLIN:
        return 0
    raise BlockingIOError


def _create_memfd(name: str) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(name, flags | _NO_EXECUTE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create(name, flags)  # a kernel before 6.3
