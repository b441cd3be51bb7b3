"""The files of the licensing: licences in the data folder and where they are mounted, the key and the mark. No judging."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from pathlib import Path
from typing import Final

from appliance.errors import LicenceNotKept

log = logging.getLogger(__name__)

LICENCE: Final = "licence.json"
PREVIOUS: Final = "licence.previous.json"
FOLDER: Final = "licensing"
KEY_BYTES: Final = 32
MAX_LICENCE_BYTES: Final = 64 * 2**10 + 1

Stamp = tuple[tuple[int, int, int] | None, ...]


class LicenceFiles:
    """`mounted`: a file of the operator's own, which is read and never written."""

    def __init__(self, data_dir: Path, mounted: Path | None = None) -> None:
        self.licence, self.previous = data_dir / LICENCE, data_dir / PREVIOUS
        self._folder = data_dir / FOLDER
        self._key = self._folder / "mark.key"
        self._places = tuple(place for place in (mounted, self.licence, self.previous) if place is not None)

    def stamp(self) -> Stamp:
        """Changes when one of the licences does."""
        return tuple(map(_stamp, self._places))

    def licences(self) -> tuple[bytes, ...]:
        """The content of those that are there; what cannot be read counts as empty, and so as a broken licence."""
        return tuple(_read(place) for place in self._places if _stamp(place) is not None)

    def keep(self, licence: bytes, previous: bytes | None) -> None:
        """Raises `LicenceNotKept`; then everything is as it was."""
        if previous is not None:
            write_whole(self.previous, previous)
        write_whole(self.licence, licence)

    def key(self) -> bytes:
        """Made when there is none yet. Where that cannot be kept, one for this process: a full disk stops nobody."""
        key = self.read_key()
        if key is not None:
            return key
        key = secrets.token_bytes(KEY_BYTES)
        try:
            write_whole(self._key, key)
        except LicenceNotKept as error:
            log.warning("The licence's clock begins anew at the next start. %s %s", error.message, error.hint)
        return key

    def read_key(self) -> bytes | None:
        return _content(self._key)

    def read_mark(self) -> bytes | None:
        return _content(self._folder / "mark")

    def write_mark(self, sealed: bytes) -> None:
        write_whole(self._folder / "mark", sealed)


def write_whole(path: Path, content: bytes) -> None:
    """The new content or the old one, whatever happens; 0600, in a folder of 0700. Raises `LicenceNotKept`."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise LicenceNotKept(path.name, error.strerror or str(error)) from error


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_LICENCE_BYTES)
    except OSError:
        return b""
