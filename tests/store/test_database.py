"""The file, its modes and settings, and what is refused at start-up."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from sqlite_utils.utils import sqlite3

from appliance.errors import StartRefused
from appliance.store import Store
from appliance.store.database import check_sqlite_version, connect, prepare_file
from tests.store.samples import save

pytestmark = pytest.mark.anyio


def test_an_old_sqlite_is_refused() -> None:
    """TRAPS 23"""
    for version in ((3, 40, 1), (3, 51, 2)):
        with pytest.raises(StartRefused, match="too old"):
            check_sqlite_version(version)
    check_sqlite_version((3, 51, 3))
    check_sqlite_version()


def test_every_connection_has_the_settings_the_promises_rest_on(tmp_path: Path) -> None:
    """TRAPS 8, 23, 24"""
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1, "temp_store": 2, "query_only": 0}
    db = connect(tmp_path / "x.db")
    assert {name: db.conn.execute(f"PRAGMA {name}").fetchone()[0] for name in expected} == expected
    db.close()


async def test_a_reader_cannot_write(store: Store, path: Path) -> None:
    db = connect(path, read_only=True)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.conn.execute("DELETE FROM transcripts")
    db.close()


async def test_only_the_owner_of_the_process_can_read_the_files(store: Store, path: Path) -> None:
    await save(store, ["hello"])
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {f"{path.name}{part}": 0o600 for part in ("", "-wal", "-shm", ".reserve")}


def test_a_folder_shared_with_other_files_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "notes.txt").touch()
    prepare_file(tmp_path / "appliance.db")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "appliance.db").stat().st_mode) == 0o600


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "appliance.db"
    file.write_bytes(b"Dear diary, " * 1000)
    with pytest.raises(StartRefused, match="not a usable database"):
        await Store.open(file)
    assert file.read_bytes() == b"Dear diary, " * 1000


async def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartRefused, match="cannot be opened"):
        await Store.open(tmp_path / "file" / "appliance.db")
