"""A little room kept free on the data volume, so that erasing works when everything else has filled the disk."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

RESERVE_BYTES: Final = 32 * 2**20  # before the log can be cut, the database must grow by what stands in it: hours of text
SMALL_VOLUME_SHARE: Final = 6  # on a tiny volume no more than a sixth of it


class Reserve:
    """Belongs to the writer thread. On file systems that copy on write it keeps less than it promises."""

    def __init__(self, database: Path) -> None:
        self._path = Path(f"{database}.reserve")

    def keep(self) -> None:
        """Take the room if it is not taken yet and there is some; never fails."""
        volume = os.statvfs(self._path.parent)
        size_bytes = min(RESERVE_BYTES, volume.f_blocks * volume.f_frsize // SMALL_VOLUME_SHARE)
        if not self._path.exists() and volume.f_bavail * volume.f_frsize > size_bytes:
            try:
                self._allocate(size_bytes)
            except OSError as error:
                self.release()
                log.info("No room could be kept for erasing on a full disk: %s", error.strerror)

    def release(self) -> None:
        self._path.unlink(missing_ok=True)

    def _allocate(self, size_bytes: int) -> None:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size_bytes)
        finally:
            os.close(fd)
