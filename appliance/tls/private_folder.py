"""Files with secrets: 0600 in a folder of 0700, each replaced as a whole or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import StartRefused

LOCK = ".lock"


class PrivateFolder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str) -> bytes | None:
        """None when there is no such file. Raises StartRefused when it cannot be read."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refused("read", name, error) from error

    def write(self, name: str, content: bytes) -> None:
        """On the disk when this returns. Raises StartRefused."""
        fresh = self.path / f".{name}.new"
        try:
            self._prepare()
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                os.fchmod(fd, 0o600)  # what a broken start left there keeps the mode it was made with
                file.write(content)
                file.flush()
                os.fsync(fd)
            fresh.replace(self.path / name)
        except OSError as error:
            raise self._refused("write", name, error) from error

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """One at a time, the commands beside the appliance included. Raises StartRefused."""
        try:
            self._prepare()
            fd = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._refused("write", LOCK, error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _prepare(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def _refused(self, doing: str, name: str, error: OSError) -> StartRefused:
        return StartRefused(
            f"The appliance cannot {doing} {self.path / name}: {error.strerror}.",
            "The folder must belong to the user that runs the appliance (APPLIANCE_DATA_DIR).",
        )
