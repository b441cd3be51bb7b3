"""Reads a bundle member by member, from a folder or a tar that may still be arriving; nothing is ever unpacked by its name.

Only plain files of two kinds of names exist here: `metadata/*.json` and `blobs/sha256/<checksum>`. The tar's headers are
looked at one by one (TRAPS 14: neither `extractall` nor its filters); extended headers are refused like any other member
that is no file. What the contents must be is for the importer.
"""

from __future__ import annotations

import os
import re
import stat
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from appliance.errors import BundleTruncated, BundleUnreadable, MemberTooLarge, MemberTwice, NotPlainFile, UnsafeName

METADATA = "metadata"
BLOBS = "blobs/sha256"
MAX_METADATA_BYTES = 5_000_000  # as python-tuf allows for its largest list
MAX_METADATA_FILES = 300  # all roots there ever were
CHUNK_BYTES = 2**20
_NAME = re.compile(r"metadata/(timestamp|[1-9]\d{0,8}\.(root|snapshot|targets))\.json|blobs/sha256/[0-9a-f]{64}")
_RECORD_BYTES = 512
_KINDS = {
    tarfile.SYMTYPE: "symbolic link",
    tarfile.LNKTYPE: "hard link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "pipe",
    tarfile.DIRTYPE: "folder",
}


class Member(NamedTuple):
    name: str
    size_bytes: int
    chunks: Iterator[bytes]  # to be read before the next member is asked for; the rest is skipped

    @property
    def is_metadata(self) -> bool:
        return self.name.startswith(f"{METADATA}/")

    @property
    def sha256(self) -> str:
        return self.name.rpartition("/")[2]


class Bundle(Protocol):
    def members(self) -> Iterator[Member]:
        """All of them, once. Raises what makes the bundle unfit to be read further."""


def open_bundle(path: Path) -> AbstractContextManager[Bundle]:
    """Raises BundleUnreadable when there is neither a folder nor a file."""
    if path.is_dir():
        return nullcontext(FolderBundle(path))
    try:
        return _OpenTar(path.open("rb"))
    except OSError as error:
        raise BundleUnreadable(f"'{path}' cannot be opened ({error.strerror})") from error


def checked(members: Iterator[Member]) -> Iterator[Member]:
    """The same members, as long as each name is allowed, comes once, and lists come before contents."""
    seen: set[str] = set()
    contents = False
    for member in members:
        if not _NAME.fullmatch(member.name):
            raise UnsafeName(member.name)
        if member.name in seen:
            raise MemberTwice(member.name)
        seen.add(member.name)
        if member.is_metadata and contents:
            raise BundleUnreadable("a signed list comes after the contents")
        contents = not member.is_metadata
        yield member


def read_lists(members: Iterator[Member]) -> tuple[dict[str, bytes], Iterator[Member]]:
    """The signed lists by name, and the members that follow them. Raises MemberTooLarge."""
    lists: dict[str, bytes] = {}
    for member in members:
        if not member.is_metadata:
            return lists, _chained(member, members)
        if member.size_bytes > MAX_METADATA_BYTES:
            raise MemberTooLarge(member.name, member.size_bytes, MAX_METADATA_BYTES)
        if len(lists) == MAX_METADATA_FILES:
            raise BundleUnreadable(f"it has more than {MAX_METADATA_FILES} signed lists")
        lists[member.name.removeprefix(f"{METADATA}/")] = b"".join(member.chunks)
    if not lists:
        raise BundleUnreadable("it has no signed lists")
    return lists, iter(())


def _chained(first: Member, rest: Iterator[Member]) -> Iterator[Member]:
    yield first
    yield from rest


class FolderBundle:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def members(self) -> Iterator[Member]:
        return checked(self._members())

    def _members(self) -> Iterator[Member]:
        for part in (METADATA, BLOBS):
            for name in _names(self._folder, part):
                descriptor = _open_plain(self._folder / part / name, f"{part}/{name}")
                with os.fdopen(descriptor, "rb", buffering=0) as file:
                    size_bytes = os.fstat(file.fileno()).st_size
                    yield Member(f"{part}/{name}", size_bytes, _exactly(file, size_bytes, f"{part}/{name}"))


def _names(folder: Path, part: str) -> list[str]:
    """Sorted. A bundle with no new contents has no folder for them."""
    for step in (folder / part).relative_to(folder).parents:
        if (folder / step).is_symlink() and step != Path():
            raise NotPlainFile(str(step), "symbolic link")
    if (folder / part).is_symlink():
        raise NotPlainFile(part, "symbolic link")
    try:
        return sorted(os.listdir(folder / part))
    except FileNotFoundError:
        if part == BLOBS:
            return []
        raise BundleUnreadable(f"'{folder}' has no folder '{part}'") from None
    except OSError as error:
        raise BundleUnreadable(f"'{folder / part}' cannot be read ({error.strerror})") from error


def _open_plain(path: Path, name: str) -> int:
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        kind = "symbolic link" if stat.S_ISLNK(mode) else "folder" if stat.S_ISDIR(mode) else "device"
        raise NotPlainFile(name, kind)
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise BundleUnreadable(f"'{path}' cannot be read ({error.strerror})") from error


class TarBundle:
    """Reads forwards only. `stream.read(n)` may give less than n, and nothing at its end."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def members(self) -> Iterator[Member]:
        return checked(self._members())

    def _members(self) -> Iterator[Member]:
        while (header := self._header()) is not None:
            if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                raise NotPlainFile(header.name, _KINDS.get(header.type, "special entry"))
            chunks = _exactly(self._stream, header.size, header.name)
            yield Member(header.name, header.size, chunks)
            for _rest in chunks:  # what nobody wanted
                pass
            for _padding in _exactly(self._stream, -header.size % _RECORD_BYTES, header.name):
                pass

    def _header(self) -> tarfile.TarInfo | None:
        """The next member's, or None at the end."""
        block = b"".join(_exactly(self._stream, _RECORD_BYTES, "the list of its members"))
        if not any(block):
            return None
        try:
            header = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except UnicodeDecodeError:
            raise UnsafeName(block[:100].rstrip(b"\0").decode("latin-1")) from None
        except tarfile.HeaderError as error:
            raise BundleUnreadable(f"it is not a plain tar ({error})") from error
        if header.size < 0:
            raise BundleUnreadable("a member of it has less than no bytes")
        return header


class _OpenTar(AbstractContextManager[Bundle]):
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __enter__(self) -> Bundle:
        return TarBundle(self._file)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _exactly(stream: BinaryIO, size_bytes: int, what: str) -> Iterator[bytes]:
    """So many bytes in pieces. Raises BundleTruncated when there are fewer."""
    left = size_bytes
    while left:
        chunk = stream.read(min(left, CHUNK_BYTES))
        if not chunk:
            raise BundleTruncated(what)
        left -= len(chunk)
        yield chunk
