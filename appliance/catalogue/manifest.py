"""What was installed, written beside the model: `installed.json` travels with a copy of the folder, `verified.json` does not.

The first holds each file's checksum. The second remembers what the files looked like (size, time, inode) when they were
last read in full, so that a start does not have to read gigabytes again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from appliance.domain import Value

INSTALLED = "installed.json"
VERIFIED = "verified.json"

Look = tuple[int, int, int]  # size in bytes, time of change in ns, inode


class InstalledFile(Value, frozen=True):
    name: str
    size_bytes: int
    sha256: str
    made_from: str | None = None  # SHA-256 of the raw file it was converted from


class Manifest(Value, frozen=True):
    model: str
    installed_at: datetime
    origins: tuple[str, ...]  # where the files came from, for people
    files: tuple[InstalledFile, ...]
    format: int = 1


def describe_file(path: Path, name: str, made_from: str | None = None) -> InstalledFile:
    return InstalledFile(name=name, size_bytes=path.stat().st_size, sha256=sha256_of(path), made_from=made_from)


def sha256_of(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(2**20):
            digest.update(block)
            if on_bytes:
                on_bytes(len(block))
    return digest.hexdigest()


def look_at(folder: Path, manifest: Manifest) -> dict[str, Look] | None:
    """What the files look like now; None when one is missing or is not a regular file."""
    looks = {}
    for file in manifest.files:
        path = folder / file.name
        if path.is_symlink() or not path.is_file():
            return None
        status = path.stat()
        looks[file.name] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return looks


def write_manifest(folder: Path, model: str, origins: tuple[str, ...], files: tuple[InstalledFile, ...]) -> Manifest:
    manifest = Manifest(model=model, installed_at=datetime.now(UTC), origins=origins, files=files)
    (folder / INSTALLED).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    return manifest


def read_manifest(folder: Path) -> Manifest | None:
    """None when there is none that can be read: the folder then does not count as an installed model."""
    try:
        return msgspec.json.decode((folder / INSTALLED).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return None


def remember_looks(folder: Path, looks: Mapping[str, Look]) -> bool:
    """False when the folder cannot be written, as in a read-only container; the caller then remembers by itself."""
    temporary = folder / f".{VERIFIED}.{os.getpid()}"
    try:
        temporary.write_bytes(msgspec.json.encode(looks))
        temporary.replace(folder / VERIFIED)
    except OSError:
        return False
    return True


def recall_looks(folder: Path) -> dict[str, Look] | None:
    try:
        return msgspec.json.decode((folder / VERIFIED).read_bytes(), type=dict[str, Look])
    except (OSError, msgspec.DecodeError):
        return None
