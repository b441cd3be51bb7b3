"""The content of a backup: an age file around a tar stream of `manifest.json`, `appliance.db`, `files/…` and `checksums.json`.

`files/` is everything else that stands in the data folder: keys, certificates, the licence. Anybody with the secret key can take
it apart with the tools `age` and `tar`. Nothing is ever written unencrypted outside of the data folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, BinaryIO, Final

import msgspec
import pyrage

from appliance import __version__
from appliance.backup.keys import READABLE_IN_CONTAINER
from appliance.backup.pipe import join
from appliance.domain import Value
from appliance.errors import BackupDamaged, BackupNewer, BackupRefused, BackupWouldReplace, BackupWrongKey
from appliance.store import Restored, Tombstone, check_copy, check_schema, held_alone, prepare_restored, replace_database, snapshot

FORMAT: Final = 1
MANIFEST, DATABASE, CHECKSUMS, FILES = "manifest.json", "appliance.db", "checksums.json", "files/"
STAGING: Final = "restoring"
MAX_LIST_BYTES: Final = 4 * 2**20
MAX_FILE_BYTES: Final = 64 * 2**20
_BLOCK: Final = 2**20
_NAME: Final = re.compile(r"files/(?!.*(?:^|/)\.{1,2}(?:/|$))[^/\x00-\x1f]{1,200}(?:/[^/\x00-\x1f]{1,200}){0,9}")


class Manifest(Value, frozen=True):
    format: int
    appliance: str  # version
    created_at: datetime
    migrations: tuple[str, ...]
    database_bytes: int
    files: tuple[str, ...]


class Contents(Value, frozen=True):
    """What a backup turned out to hold."""

    created_at: datetime
    appliance: str
    database_bytes: int
    files: tuple[str, ...]


# --- making -----------------------------------------------------------------------------------------------------------


def create_backup(database: Path, target: Path, recipients: Sequence[pyrage.x25519.Recipient]) -> Contents:
    """Of a running appliance, or one that is stopped; the file appears once it is complete. Raises `BackupRefused`, `StoreBusy`."""
    if target.exists():
        raise BackupRefused(f"{target} exists already.", "Give another name; backups are never overwritten.")
    partial = target.with_name(f"{target.name}.partial")
    try:
        with _opened_for_writing(partial) as sink:
            contents = _write_encrypted(database, sink, recipients)
        os.replace(partial, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise BackupRefused(
            f"The backup could not be written to {target}: {error.strerror or error}.", "Nothing was left."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return contents


@contextlib.contextmanager
def _opened_for_writing(path: Path) -> Iterator[BinaryIO]:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as sink:
        yield sink
        sink.flush()
        os.fsync(fd)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _write_encrypted(database: Path, sink: BinaryIO, recipients: Sequence[pyrage.x25519.Recipient]) -> Contents:
    with snapshot(database) as (source, size_bytes, applied):
        files = {f"{FILES}{path.relative_to(database.parent)}": path for path in _files_beside(database)}
        manifest = Manifest(FORMAT, __version__, datetime.now(UTC), applied, size_bytes, tuple(files))
        join(
            lambda stream: _write_members(stream, manifest, source, files),
            lambda stream: pyrage.encrypt_io(stream, sink, recipients),
        )
    return _contents(manifest)


def _files_beside(database: Path) -> list[Path]:
    """All regular files of the data folder but the database's own, other backups and what is half done."""
    found = []
    for path in sorted(database.parent.rglob("*")):
        parts = path.relative_to(database.parent).parts
        if path.is_symlink() or not path.is_file() or parts[0] == STAGING or path.suffix in (".age", ".partial"):
            continue
        if not (len(parts) == 1 and path.name.startswith(database.name)) and path.stat().st_size <= MAX_FILE_BYTES:
            found.append(path)
    return found


def _write_members(stream: BinaryIO, manifest: Manifest, source: BinaryIO, files: dict[str, Path]) -> None:
    sums: dict[str, str] = {}
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, MANIFEST, io.BytesIO(text := msgspec.json.encode(manifest)), len(text), sums)
        _add(tar, DATABASE, source, manifest.database_bytes, sums)
        for name, path in files.items():
            content = path.read_bytes()
            _add(tar, name, io.BytesIO(content), len(content), sums)
        _add(tar, CHECKSUMS, io.BytesIO(text := msgspec.json.encode(sums)), len(text), {})


def _add(tar: tarfile.TarFile, name: str, source: IO[bytes], size_bytes: int, sums: dict[str, str]) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size_bytes, 0o600
    hashed = _Hashed(source)
    tar.addfile(member, hashed)
    sums[name] = hashed.hexdigest()


class _Hashed(io.RawIOBase):
    """Reads through, and knows the SHA-256 of what was read."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        block = self._source.read(size)
        self._hash.update(block)
        return block

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


# --- reading ----------------------------------------------------------------------------------------------------------


def verify_backup(source: Path, identities: Sequence[pyrage.x25519.Identity]) -> Contents:
    """Decrypt and check everything, in memory only (as much as the database is large). Raises as `restore_backup`."""
    copy = bytearray()

    def keep(name: str, content: Iterable[bytes]) -> None:
        for block in content:
            if name == DATABASE:
                copy.extend(block)

    manifest = _read_encrypted(source, identities, keep)
    check_copy(copy)
    return _contents(manifest)


def restore_backup(
    source: Path,
    database: Path,
    identities: Sequence[pyrage.x25519.Identity],
    tombstones: Sequence[Tombstone] = (),
    *,
    force: bool = False,
) -> tuple[Contents, Restored]:
    """Put a backup in the place of what is in the data folder, without what was erased since; all of it or nothing.

    Raises `BackupWouldReplace` without `force`, `BackupWrongKey`, `BackupDamaged`, `BackupNewer`, `StartRefused` while the
    appliance runs.
    """
    if not force and database.exists() and database.stat().st_size:
        raise BackupWouldReplace(str(database.parent))
    with held_alone(database), _staging(database.parent / STAGING) as staging:
        manifest = _read_encrypted(source, identities, lambda name, content: _unpack(staging, name, content))
        restored = prepare_restored(staging / DATABASE, database, tombstones)
        _move_files(staging / FILES, database.parent)
        replace_database(staging / DATABASE, database)
        _sync_folder(database.parent)
    return _contents(manifest), restored


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was killed
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(staging: Path, name: str, content: Iterable[bytes]) -> None:
    path = staging / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _opened_for_writing(path) as sink:
        for block in content:
            sink.write(block)


def _move_files(unpacked: Path, folder: Path) -> None:
    for path in sorted(unpacked.rglob("*")):
        if path.is_file():
            place = folder / path.relative_to(unpacked)
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.replace(path, place)


def _read_encrypted(
    source: Path, identities: Sequence[pyrage.x25519.Identity], take: Callable[[str, Iterable[bytes]], None]
) -> Manifest:
    """Hands every member to `take`. Only when this returns is it known that the backup is whole."""
    try:
        with source.open("rb") as file:
            return join(lambda sink: _decrypt(file, sink, identities), lambda stream: _read_members(stream, take))
    except FileNotFoundError as error:
        raise BackupRefused(f"There is no file {source}.", "Check the path.") from error
    except OSError as error:
        raise BackupRefused(
            f"The backup could not be read or unpacked: {error.strerror or error}.",
            f"Check disk and path, and whose it is: {READABLE_IN_CONTAINER}.",
        ) from error


def _decrypt(file: BinaryIO, sink: BinaryIO, identities: Sequence[pyrage.x25519.Identity]) -> None:
    try:
        pyrage.decrypt_io(file, sink, identities)
    except pyrage.DecryptError as error:
        if "No matching keys" in str(error):
            raise BackupWrongKey from error
        raise BackupDamaged("it is not an age file, or not a whole one") from error
    except BrokenPipeError:
        raise
    except OSError as error:  # age's own: a block that does not authenticate
        raise BackupDamaged("its encryption does not hold; it was cut off or changed") from error


def _read_members(stream: BinaryIO, take: Callable[[str, Iterable[bytes]], None]) -> Manifest:
    sums: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            members = iter(tar)
            manifest = _read_manifest(tar, next(members, None), sums)
            expected = [DATABASE, *manifest.files, CHECKSUMS]
            claimed = b""
            for member, name in zip(members, expected, strict=True):
                content = _checked(tar, member, name, manifest)
                if name == CHECKSUMS:
                    claimed = b"".join(content)
                else:
                    take(name, _hashed(name, content, sums))
        stream.read()  # the padding of the last record, up to the last authenticated block
        if msgspec.json.decode(claimed, type=dict[str, str]) != sums:
            raise BackupDamaged("its checksums do not match")
    except (tarfile.TarError, ValueError) as error:
        raise BackupDamaged("its content is not what the manifest says") from error
    return manifest


def _read_manifest(tar: tarfile.TarFile, member: tarfile.TarInfo | None, sums: dict[str, str]) -> Manifest:
    if member is None or member.name != MANIFEST or not member.isreg() or member.size > MAX_LIST_BYTES:
        raise BackupDamaged("it has no manifest")
    text = b"".join(_hashed(MANIFEST, _blocks(tar, member), sums))
    if msgspec.json.decode(text)["format"] != FORMAT:
        raise BackupNewer(f"format {msgspec.json.decode(text)['format']}")
    manifest = msgspec.json.decode(text, type=Manifest)
    check_schema(manifest.migrations)
    if not all(_NAME.fullmatch(name) for name in manifest.files):
        raise BackupDamaged("it names files outside of the data folder")
    return manifest


def _checked(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str, manifest: Manifest) -> Iterator[bytes]:
    """TRAPS 14: only plain files, under the names and in the order of the manifest, never larger than agreed."""
    limit_bytes = manifest.database_bytes if name == DATABASE else MAX_FILE_BYTES
    if member.name != name or not member.isreg() or member.size > limit_bytes:
        raise BackupDamaged(f"instead of {name} it holds something else")
    return _blocks(tar, member)


def _blocks(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    file = tar.extractfile(member)
    assert file
    while block := file.read(_BLOCK):
        yield block


def _hashed(name: str, content: Iterable[bytes], sums: dict[str, str]) -> Iterator[bytes]:
    seen = hashlib.sha256()
    for block in content:
        seen.update(block)
        yield block
    sums[name] = seen.hexdigest()


def _contents(manifest: Manifest) -> Contents:
    return Contents(manifest.created_at, manifest.appliance, manifest.database_bytes, manifest.files)
