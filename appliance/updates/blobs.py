"""Contents by their checksum: each is written once, checked while it is written, and kept while any release needs it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

from appliance.catalogue.activation import sync_folder
from appliance.catalogue.manifest import sha256_of
from appliance.catalogue.sources import Progress
from appliance.errors import BlobTampered, MemberTooLarge
from appliance.updates.bundle import Member
from appliance.updates.failpoints import reach

UNFINISHED = ".part"


class BlobStore:
    """One file per content in a folder, named by SHA-256. A file of that name is whole; an unfinished one is called `.part`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        return self.folder / sha256

    def is_sound(self, sha256: str, size_bytes: int, what: str, progress: Progress) -> bool:
        """Whether the content is here, read in full; a damaged one is removed."""
        path = self.path(sha256)
        if not path.exists():
            return False
        progress.begin(f"checking {what}", size_bytes)
        if path.stat().st_size == size_bytes and sha256_of(path, progress.advance) == sha256:
            return True
        path.unlink()
        return False

    def take(self, member: Member, size_bytes: int, what: str, progress: Progress) -> None:
        """Write a member, which people know as `what`.

        Raises MemberTooLarge before anything is written, BlobTampered when its content is another.
        """
        if member.size_bytes > size_bytes:
            raise MemberTooLarge(member.name, member.size_bytes, size_bytes)
        if member.size_bytes < size_bytes:
            raise BlobTampered(member.name)
        unfinished = self.path(member.sha256 + UNFINISHED)
        progress.begin(f"copying {what}", size_bytes)
        try:
            if _write(unfinished, member, progress) != member.sha256:
                raise BlobTampered(member.name)
            reach("blob written")
            unfinished.replace(self.path(member.sha256))
        finally:
            unfinished.unlink(missing_ok=True)
        reach("blob named")
        sync_folder(self.folder)

    def collect(self, keep: Collection[str]) -> int:
        """Remove what is not in `keep`; returns the bytes that no release has any more."""
        freed_bytes = 0
        for path in self.folder.iterdir():
            if path.name not in keep:
                freed_bytes += path.stat().st_size
                path.unlink()
                reach("blob collected")
        return freed_bytes


def _write(path: Path, member: Member, progress: Progress) -> str:
    """The SHA-256 of what was written and is on the disk by now."""
    digest = hashlib.sha256()
    with path.open("wb", buffering=0) as file:
        for chunk in member.chunks:
            digest.update(chunk)
            view = memoryview(chunk)
            while view:
                view = view[file.write(view) :]
            progress.advance(len(chunk))
            reach("chunk written")
        os.fsync(file.fileno())
    return digest.hexdigest()
