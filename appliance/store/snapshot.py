"""The database file at one moment, readable byte for byte while the appliance goes on writing; nothing of it is copied to a disk.

The log is emptied into the file and a read transaction begun while nobody can write. In WAL mode writers then only append to
the log, and no checkpoint may touch the file before that transaction ends (https://sqlite.org/wal.html, "Concurrency").
"""

from __future__ import annotations

import os
import sqlite3 as standard_sqlite  # only this one can open a database that is in memory; it is read, never written
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from sqlite_utils import Database

from appliance.errors import BackupDamaged, StoreBusy
from appliance.store.database import connect, empty_log, typed_errors
from appliance.store.migrations import migrations

PATIENCE_S: Final = 30.0
_WAIT_MS: Final = 1000
_FORMAT_BYTES: Final = slice(18, 20)  # of the header: 2 is WAL, 1 is a rollback journal

# Closing any descriptor of a file drops all locks that this process holds on it, SQLite's included: so they stay open.
_held_open: dict[tuple[int, int], int] = {}


@contextmanager
def snapshot(path: Path) -> Iterator[tuple[BinaryIO, int, tuple[str, ...]]]:
    """The file to read from, its size in bytes, and the migrations that made its schema.

    Erasing waits meanwhile for its last step. Raises `StoreBusy` when readers or writers leave no moment for it.
    """
    with typed_errors(path):
        reader, holder = connect(path), connect(path)
        try:
            _hold_still(path, holder, reader)
            applied = tuple(migration.name for migration in migrations.applied(reader))
            file = os.fdopen(_descriptor(path), "rb", buffering=2**20, closefd=False)
            file.seek(0)
            yield file, path.stat().st_size, applied
        finally:
            holder.close()
            reader.close()


def check_copy(copy: bytearray) -> None:
    """Whether these bytes are a sound database. Raises `BackupDamaged`."""
    copy[_FORMAT_BYTES] = b"\x01\x01"  # a database in memory has no log
    db = standard_sqlite.connect(":memory:")
    try:
        db.deserialize(copy)
        [(verdict,)] = db.execute("PRAGMA integrity_check(1)").fetchall()
    except standard_sqlite.DatabaseError as error:
        raise BackupDamaged(f"its database cannot be read ({error})") from error
    finally:
        db.close()
    if verdict != "ok":
        raise BackupDamaged(f"its database is not sound ({verdict})")


def _hold_still(path: Path, holder: Database, reader: Database) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not _held(path, holder, reader):
        if time.monotonic() > deadline:
            raise StoreBusy
        time.sleep(0.05)  # others read or write: their turns are short


def _held(path: Path, holder: Database, reader: Database) -> bool:
    if not empty_log(holder, _WAIT_MS):
        return False
    holder.conn.execute("BEGIN IMMEDIATE")
    try:
        if path.with_name(f"{path.name}-wal").stat().st_size:  # somebody wrote in between
            return False
        reader.conn.execute("BEGIN")
        reader.conn.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return True
    finally:
        holder.conn.execute("ROLLBACK")


def _descriptor(path: Path) -> int:
    status = path.stat()
    key = (status.st_dev, status.st_ino)
    if key not in _held_open:
        _held_open[key] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return _held_open[key]
