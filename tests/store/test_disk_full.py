"""No room on the disk: a typed error, nothing corrupt, and the service goes on when there is room again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.domain import JobState
from appliance.errors import DiskFull, NotFound
from appliance.store import UNLIMITED, Store, own_reach
from appliance.store.database import connect
from tests.store.samples import new_transcript, save, transcript_of

pytestmark = pytest.mark.anyio

LONG = ["ten words of text that somebody once said to another"] * 400


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 30 MiB, 16 of which are taken."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root; the test with a page limit covers the same errors")
    mount, umount = shutil.which("mount"), shutil.which("umount")
    assert mount
    assert umount
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run([mount, "-t", "tmpfs", "-o", "size=30m", "tmpfs", str(folder)], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine does not let us mount")
    (folder / "other files").write_bytes(bytes(16 * 2**20))
    yield folder
    subprocess.run([umount, "--lazy", str(folder)], check=True)


async def fill(store: Store) -> list[int]:
    """Save until it no longer fits; what was acknowledged before."""
    saved: list[int] = []
    while True:
        try:
            saved.append((await save(store, LONG)).id)
        except DiskFull:
            return saved


def raw_size(file: Path) -> int:
    return file.stat().st_size


async def check_everything_saved_is_there(store: Store, path: Path, saved: list[int]) -> None:
    for transcript_id in saved:
        record = await store.transcripts.get(transcript_id, UNLIMITED)
        assert record.transcript == transcript_of(LONG)
    db = connect(path)
    assert db.conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.conn.execute("INSERT INTO search (search) VALUES ('integrity-check')")
    db.close()


@pytest.mark.slow
async def test_a_full_disk_is_said_so_and_harms_nothing(small_disk: Path, anyio_backend: str) -> None:
    path = small_disk / "appliance.db"
    store = await Store.open(path)
    _, secret = await store.keys.create("x", ())
    waiting = await store.transcripts.create(new_transcript())
    saved = await fill(store)
    assert len(saved) >= 2
    with pytest.raises(DiskFull):
        await store.transcripts.complete(waiting.id, transcript_of(LONG))
    assert await store.keys.authenticate(secret), "a full disk locks nobody out"
    assert (await store.transcripts.get(waiting.id, UNLIMITED)).state is JobState.QUEUED
    await check_everything_saved_is_there(store, path, saved)
    (small_disk / "other files").unlink()
    await store.transcripts.complete(waiting.id, transcript_of(LONG))
    await check_everything_saved_is_there(store, path, [*saved, waiting.id])
    await store.close()


@pytest.mark.slow
async def test_erasing_works_on_a_full_disk_and_makes_room(small_disk: Path, anyio_backend: str) -> None:
    """It takes the room that is kept for it, and gives it back. What is erased leaves pages that the next transcripts fill."""
    path = small_disk / "appliance.db"
    store = await Store.open(path)
    saved = await fill(store)
    assert len(saved) >= 3
    kept = raw_size(small_disk / "appliance.db.reserve")
    assert kept > 0
    for transcript_id in saved[:2]:
        assert await store.transcripts.erase(transcript_id, own_reach("key_a"))
    assert raw_size(small_disk / "appliance.db.reserve") == kept, "and is ready for the next full disk"
    assert [entry.event for entry in await store.audit.page()][-2:] == ["transcript.erased"] * 2
    size_bytes = path.stat().st_size
    saved += [(await save(store, LONG)).id for _ in range(2)]
    await check_everything_saved_is_there(store, path, saved[2:])
    await store.close()
    assert path.stat().st_size <= size_bytes + 200_000


@pytest.mark.slow
async def test_without_the_kept_room_an_erasure_waits_for_room(small_disk: Path, anyio_backend: str) -> None:
    path = small_disk / "appliance.db"
    store = await Store.open(path)
    saved = await fill(store)
    (small_disk / "appliance.db.reserve").unlink()
    room = os.statvfs(small_disk)
    (small_disk / "somebody else's file").write_bytes(bytes(room.f_bavail * room.f_frsize))
    assert await store.transcripts.erase(saved[0], own_reach("key_a")) is False
    with pytest.raises(NotFound):
        await store.transcripts.get(saved[0], UNLIMITED)
    (small_disk / "other files").unlink()
    assert await store.erasures.finish()
    await check_everything_saved_is_there(store, path, saved[1:])
    await store.close()


async def test_a_database_at_its_limit_gives_the_same_error(store: Store, path: Path) -> None:
    """Needs no root: SQLite's own limit of pages gives the error of a full disk."""

    async def limit_pages(pages: int) -> None:
        await store._writer.run_bare(lambda db: db.conn.execute(f"PRAGMA max_page_count = {pages}").fetchall())

    await limit_pages(400)
    saved = await fill(store)
    assert saved
    await check_everything_saved_is_there(store, path, saved)
    await limit_pages(2**30)
    saved.append((await save(store, LONG)).id)
    await check_everything_saved_is_there(store, path, saved)
