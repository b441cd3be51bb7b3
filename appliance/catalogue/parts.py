"""Unfinished downloads: files named by the checksum they must end up with; a later attempt goes on where this one stopped."""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from appliance.catalogue.manifest import sha256_of
from appliance.errors import ApplianceError, FetchFailed, NoSpace

MARGIN_BYTES = 32 * 2**20  # left free beyond what a model needs
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raise NoSpace, before anything is written, when the disk has no room for this many bytes more."""
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes and free_bytes < needed_bytes + MARGIN_BYTES:
        raise NoSpace(needed_bytes + MARGIN_BYTES, free_bytes, str(folder))


def disk_error(error: OSError, path: Path, needed_bytes: int) -> ApplianceError:
    """What a failed write means to a person."""
    if error.errno in _FULL:
        return NoSpace(needed_bytes, shutil.disk_usage(path.parent).free, str(path.parent))
    return FetchFailed(f"{path} cannot be written: {error.strerror or error}.", "Check the folder's permissions and limits.")


def link(path: Path, target: Path) -> None:
    """Give a file a second name, at no cost in space; a copy on file systems that cannot."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except PermissionError:
        shutil.copy2(path, target)


class PartFile(io.RawIOBase):
    """A download in progress, opened at its end. `with` keeps what has arrived, whatever happens.

    A file object, so that the hub's own client can write into it. Raises NoSpace when the disk is full and FetchFailed
    when the server sends more than the file has.
    """

    def __init__(self, path: Path, expected_bytes: int | None, on_bytes: Callable[[int], None]) -> None:
        super().__init__()
        self.path = path
        self._expected_bytes = expected_bytes
        self._on_bytes = on_bytes
        self._file = io.FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b")
        if expected_bytes is not None and self._file.seek(0, io.SEEK_END) > expected_bytes:
            self._file.truncate(0)
        on_bytes(self._file.seek(0, io.SEEK_END))

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def size_bytes(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    @property
    def is_complete(self) -> bool:
        return self._expected_bytes is not None and self.size_bytes == self._expected_bytes

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # nobody hands over other buffers
        if self._expected_bytes is not None and self._file.tell() + len(data) > self._expected_bytes:
            raise FetchFailed(
                "The server sent more than the file has.", "It may not be the server it should be; try another source."
            )
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise disk_error(error, self.path, (self._expected_bytes or 0) - self.size_bytes) from error
        self._on_bytes(len(data))
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        before = self.size_bytes
        after = self._file.truncate(size)
        self._on_bytes(after - before)
        return after

    def restart(self) -> None:
        """Forget what has arrived: the server cannot continue from there."""
        self.seek(0)
        self.truncate(0)

    def finish(self) -> str:
        """Bring everything to the disk and return the SHA-256 of the whole."""
        os.fsync(self._file.fileno())
        return sha256_of(self.path)

    def close(self) -> None:
        self._file.close()
        super().close()


def reject(path: Path, name: str, origin: str, found: str, wanted: str) -> FetchFailed:
    """Throw away a download that is not what it should be."""
    path.unlink(missing_ok=True)
    return FetchFailed(
        f"{name} from {origin} is not the file the catalogue names: its checksum is {found[:16]}…, not {wanted[:16]}….",
        "Nothing of it was installed. Try again, or another source: --from FOLDER, --mirror URL.",
    )
