"""Backups are whole, unreadable without the secret key, and forget what was erased after they were made."""

from __future__ import annotations

import asyncio
import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyrage
import pytest

from appliance.backup import create_backup, read_identities, read_recipients, restore_backup, verify_backup
from appliance.backup.archive import CHECKSUMS, DATABASE, MANIFEST
from appliance.backup.keys import make_pair
from appliance.errors import (
    ApplianceError,
    BackupDamaged,
    BackupNewer,
    BackupRefused,
    BackupWouldReplace,
    BackupWrongKey,
    StartRefused,
)
from appliance.store import UNLIMITED, Scope, Store, Tombstone, held_alone, own_reach, stored_tombstones, verify
from appliance.store.chain import Head
from appliance.store.database import connect, prepare_file
from appliance.store.migrations import migrations
from tests.store.samples import new_transcript, raw_bytes, save, transcript_of
from tests.store.test_audit import exported

pytestmark = pytest.mark.anyio

Pair = tuple[str, Path]
CANARY = "xylophonequartz"


async def make(path: Path, target: Path, pair: Pair) -> Path:
    await asyncio.to_thread(create_backup, path, target, read_recipients([pair[0]]))
    return target


async def restore(backup: Path, path: Path, pair: Pair, **more: Any) -> Any:
    return (await asyncio.to_thread(restore_backup, backup, path, read_identities(pair[1]), **more))[1]


async def filled(path: Path, *texts: str) -> list[int]:
    store = await Store.open(path)
    ids = [(await save(store, [text] * 3)).id for text in texts]
    await store.close()
    return ids


def put(file: Path, content: bytes) -> None:
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.write_bytes(content)


async def test_a_backup_of_a_running_appliance_brings_everything_back(path: Path, tmp_path: Path, pair: Pair) -> None:
    """While others write: what was saved before is in it, whole, with the key files beside the database."""
    store = await Store.open(path)
    put(path.parent / "tls" / "authority.key", b"the authority's key")
    put(path.parent / "people.key", b"k")
    records = [await save(store, [f"sentence {n} of a recording"] * 50) for n in range(5)]
    backing_up = asyncio.create_task(make(path, tmp_path / "b.age", pair))
    while not backing_up.done():
        await save(store, ["written meanwhile"] * 20)
    backup = await backing_up
    await store.close()
    elsewhere = tmp_path / "elsewhere" / "appliance.db"
    restored = await restore(backup, elsewhere, pair)
    assert restored.transcripts >= 5
    assert (elsewhere.parent / "tls" / "authority.key").read_bytes() == b"the authority's key"
    assert stat.S_IMODE((elsewhere.parent / "people.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((elsewhere.parent / "tls").stat().st_mode) == 0o700
    assert sorted(file.name for file in elsewhere.parent.iterdir()) == ["appliance.db", "appliance.db.lock", "people.key", "tls"]
    store = await Store.open(elsewhere)
    for record in records:
        assert (await store.transcripts.get(record.id, UNLIMITED)).transcript == record.transcript
    assert [entry.event for entry in await store.audit.page()][-1] == "backup.restored"
    await store.close()


async def test_nothing_readable_is_in_it_or_left_beside_it(path: Path, tmp_path: Path, pair: Pair) -> None:
    await filled(path, CANARY)
    put(path.parent / "people.key", CANARY.encode())
    target = tmp_path / "backups" / "b.age"
    target.parent.mkdir()
    backup = await make(path, target, pair)
    assert CANARY.encode() not in backup.read_bytes()
    assert os.listdir(target.parent) == ["b.age"]
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert all(name.startswith(path.name) or name == "people.key" for name in raw_names(path))


def raw_names(path: Path) -> list[str]:
    return [file.name for file in path.parent.iterdir()]


async def test_what_was_erased_after_the_backup_stays_erased(path: Path, tmp_path: Path, pair: Pair) -> None:
    """The promise of erasure reaches into backups: the present database knows what was erased, without knowing what it was."""
    keeps, goes = await filled(path, "this one stays", CANARY)
    backup = await make(path, tmp_path / "b.age", pair)
    store = await Store.open(path)
    assert await store.transcripts.erase(goes, own_reach("key_a"))
    _, secret = await store.keys.create("made later", [Scope.READ])
    await store.close()
    restored = await restore(backup, path, pair, force=True)
    assert (restored.transcripts, restored.forgotten) == (1, 1)
    assert not any(CANARY.encode() in content for content in raw_bytes(path).values())
    store = await Store.open(path)
    assert (await store.transcripts.get(keeps, UNLIMITED)).transcript == transcript_of(["this one stays"] * 3)
    assert await store.keys.authenticate(secret) is None, "of a later time"
    new = await save(store, ["a new recording under the same number"])
    assert new.id != goes, "numbers are never used twice"
    await store.close()


async def test_a_key_revoked_after_the_backup_stays_revoked(path: Path, tmp_path: Path, pair: Pair) -> None:
    store = await Store.open(path)
    key, secret = await store.keys.create("leaked", [Scope.READ])
    _, other = await store.keys.create("good", [Scope.READ])
    backup = await make(path, tmp_path / "b.age", pair)
    await store.keys.revoke(key.id)
    await store.close()
    await restore(backup, path, pair, force=True)
    store = await Store.open(path)
    assert await store.keys.authenticate(secret) is None
    assert await store.keys.authenticate(other) is not None
    await store.close()


async def test_an_owner_erased_after_the_backup_stays_erased(path: Path, tmp_path: Path, pair: Pair) -> None:
    store = await Store.open(path)
    for _ in range(3):
        await save(store, [CANARY], new_transcript("workspace_0b"))
    backup = await make(path, tmp_path / "b.age", pair)
    assert await store.erasures.erase_owner("workspace_0b", "person_1", "workspace")
    await store.close()
    assert (await restore(backup, path, pair, force=True)).forgotten == 3
    assert not any(CANARY.encode() in content for content in raw_bytes(path).values())


async def test_tombstones_kept_elsewhere_work_when_the_database_is_lost(path: Path, tmp_path: Path, pair: Pair) -> None:
    [goes] = await filled(path, CANARY)
    backup = await make(path, tmp_path / "b.age", pair)
    store = await Store.open(path)
    await store.transcripts.erase(goes, own_reach("key_a"))
    await store.close()
    stones = await asyncio.to_thread(stored_tombstones, path)
    assert [stone.subject.split(":")[0] for stone in stones] == ["transcript"]
    elsewhere = tmp_path / "elsewhere" / "appliance.db"
    assert (await restore(backup, elsewhere, pair, tombstones=stones)).transcripts == 0
    assert not any(CANARY.encode() in content for content in raw_bytes(elsewhere).values())


async def test_restoring_does_not_shorten_the_audit_log(path: Path, tmp_path: Path, pair: Pair) -> None:
    await filled(path, "one")
    backup = await make(path, tmp_path / "b.age", pair)
    await filled(path, "two", "three")
    head = await head_of(path)
    restored = await restore(backup, path, pair, force=True)
    assert restored.journals_continued
    store = await Store.open(path)
    lines = await exported(store.audit.lines())
    await store.close()
    assert verify(lines, heads=[head]).head.sequence == head.sequence + 1
    assert b"backup.restored" in lines[-1]


async def head_of(path: Path) -> Head:
    store = await Store.open(path)
    try:
        return await store.audit.head()
    finally:
        await store.close()


async def test_a_broken_database_can_be_replaced(path: Path, tmp_path: Path, pair: Pair) -> None:
    await filled(path, "one")
    backup = await make(path, tmp_path / "b.age", pair)
    put(path, b"not a database at all, sadly" * 400)
    restored = await restore(backup, path, pair, force=True)
    assert (restored.transcripts, restored.journals_continued) == (1, False)


async def test_nothing_is_replaced_unless_that_is_said(path: Path, tmp_path: Path, pair: Pair) -> None:
    [present] = await filled(path, "one")
    backup = await make(path, tmp_path / "b.age", pair)
    with pytest.raises(BackupWouldReplace, match="already"):
        await restore(backup, path, pair)
    with held_alone(path), pytest.raises(StartRefused, match="Another appliance"):
        await restore(backup, path, pair, force=True)
    with pytest.raises(BackupRefused, match="exists already"):
        await make(path, backup, pair)
    store = await Store.open(path)
    assert await store.transcripts.get(present, UNLIMITED)
    await store.close()


# --- what is not whole ------------------------------------------------------------------------------------------------


def cut(raw: bytes) -> bytes:
    return raw[: len(raw) * 2 // 3]


def cut_at_a_block(raw: bytes) -> bytes:
    """Exactly behind a whole encrypted block, the first being 64 KiB and its tag."""
    header = raw.index(b"\n", raw.index(b"\n---")) + 1 + 16
    return raw[: header + 65536 + 16]


def flipped(raw: bytes) -> bytes:
    changed = bytearray(raw)
    changed[len(raw) // 2] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("harm", "error"),
    [
        (cut, BackupDamaged),
        (cut_at_a_block, BackupDamaged),
        (flipped, BackupDamaged),
        (lambda raw: b"", BackupDamaged),
        (lambda raw: b"hello", BackupDamaged),
        (lambda raw: raw + b"more", BackupDamaged),
    ],
    ids=["cut off", "cut at a block", "changed", "empty", "something else", "longer"],
)
async def test_what_is_not_whole_is_refused_and_changes_nothing(
    path: Path, tmp_path: Path, pair: Pair, harm: Callable[[bytes], bytes], error: type[ApplianceError]
) -> None:
    await filled(path, CANARY)
    backup = await make(path, tmp_path / "b.age", pair)
    before = raw_bytes(path)
    backup.write_bytes(harm(backup.read_bytes()))
    with pytest.raises(error):
        await restore(backup, path, pair, force=True)
    with pytest.raises(error):
        verify_backup(backup, read_identities(pair[1]))
    after = raw_bytes(path)
    assert {name: after[name] for name in before} == before
    assert "restoring" not in raw_names(path)


async def test_another_key_opens_nothing(path: Path, tmp_path: Path, pair: Pair) -> None:
    await filled(path, "one")
    backup = await make(path, tmp_path / "b.age", pair)
    other = tmp_path / "other.key"
    other.write_text(make_pair()[1])
    with pytest.raises(BackupWrongKey):
        verify_backup(backup, read_identities(other))
    assert verify_backup(backup, read_identities(pair[1])).database_bytes > 0


def resealed(backup: Path, pair: Pair, change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> None:
    """As somebody could make it who has the public key: well encrypted, with other content."""
    plain = io.BytesIO()
    pyrage.decrypt_io(io.BytesIO(backup.read_bytes()), plain, read_identities(pair[1]))
    plain.seek(0)
    with tarfile.open(fileobj=plain) as tar:
        members = {member.name: file.read() for member in tar if (file := tar.extractfile(member))}
    forged = io.BytesIO()
    with tarfile.open(fileobj=forged, mode="w") as tar:
        for name, content in change(members).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    sealed = io.BytesIO()
    pyrage.encrypt_io(io.BytesIO(forged.getvalue()), sealed, read_recipients([pair[0]]))
    backup.write_bytes(sealed.getvalue())


def with_manifest(members: dict[str, bytes], **changes: object) -> dict[str, bytes]:
    manifest = {**msgspec.json.decode(members[MANIFEST]), **changes}
    return {**members, MANIFEST: msgspec.json.encode(manifest)}


def with_file(members: dict[str, bytes], name: str) -> dict[str, bytes]:
    sums = members[CHECKSUMS]
    changed = with_manifest(members, files=[name])
    return {MANIFEST: changed[MANIFEST], DATABASE: members[DATABASE], name: b"evil", CHECKSUMS: sums}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda members: with_manifest(members, format=2), BackupNewer),
        (lambda members: with_manifest(members, migrations=["m999_from_the_future"]), BackupNewer),
        (lambda members: with_manifest(members, database_bytes=10), BackupDamaged),
        (lambda members: with_manifest(members, created_at="soon"), BackupDamaged),
        (lambda members: {**members, DATABASE: members[DATABASE][:-4096]}, BackupDamaged),
        (lambda members: {name: content for name, content in members.items() if name != CHECKSUMS}, BackupDamaged),
        (lambda members: with_file(members, "files/../../evil"), BackupDamaged),
        (lambda members: with_file(members, "/etc/evil"), BackupDamaged),
        (lambda members: with_file(members, "files/./evil"), BackupDamaged),
        (lambda members: with_file(members, "files//evil"), BackupDamaged),
    ],
    ids=[
        "format",
        "schema",
        "too large",
        "manifest",
        "other database",
        "no checksums",
        "climbing",
        "absolute",
        "dot",
        "empty part",
    ],
)
async def test_forged_content_is_refused(
    path: Path, tmp_path: Path, pair: Pair, change: Callable[[dict[str, bytes]], dict[str, bytes]], error: type[ApplianceError]
) -> None:
    """TRAPS 14: names are strict, sizes bounded, order fixed."""
    await filled(path, "one")
    backup = await make(path, tmp_path / "b.age", pair)
    resealed(backup, pair, change)
    elsewhere = tmp_path / "elsewhere" / "appliance.db"
    with pytest.raises(error):
        await restore(backup, elsewhere, pair)
    assert not (tmp_path / "evil").exists()
    with pytest.raises(error):
        verify_backup(backup, read_identities(pair[1]))


async def test_an_unsound_database_is_found(path: Path, tmp_path: Path, pair: Pair) -> None:
    """Well encrypted, with right checksums, and broken before it was backed up."""
    await filled(path, *["words of a transcript"] * 20)
    raw = bytearray(raw_bytes(path)[path.name])
    raw[4096 * 3 : 4096 * 6] = os.urandom(4096 * 3)
    put(path, bytes(raw))
    backup = await make(path, tmp_path / "b.age", pair)
    with pytest.raises(BackupDamaged, match="database"):
        verify_backup(backup, read_identities(pair[1]))
    with pytest.raises(BackupDamaged, match="database"):
        await restore(backup, tmp_path / "elsewhere" / "appliance.db", pair)


def test_a_tombstone_says_nothing_of_what_it_was() -> None:
    assert [field.name for field in msgspec.structs.fields(Tombstone)] == ["subject", "erased_at"]


async def test_an_older_schema_is_brought_up_to_date(path: Path, tmp_path: Path, pair: Pair) -> None:
    """A backup from before an update, restored after it."""
    prepare_file(path)
    db = connect(path)
    migrations.apply(db, stop_before="m002_audit_log_and_usage_journal")
    db.close()
    backup = await make(path, tmp_path / "b.age", pair)
    elsewhere = tmp_path / "elsewhere" / "appliance.db"
    await restore(backup, elsewhere, pair)
    await filled(elsewhere, "works")


@pytest.mark.parametrize("read", [read_identities, lambda path: verify_backup(path, [])], ids=["key", "backup"])
def test_a_file_that_cannot_be_read_says_who_has_to(read: Callable[[Path], object], tmp_path: Path) -> None:
    """Whoever copies it back is root; the container is not."""
    with pytest.raises(BackupRefused) as refused:
        read(tmp_path)
    assert "chown 10001:10001" in refused.value.hint
