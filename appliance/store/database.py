"""One connection to the database file, with every setting that a promise of the store rests on.

What is run on it is left to the entities; on which thread, to `threads`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # pysqlite3 where it is installed (TRAPS 23)

from appliance.errors import DiskFull, StartRefused, StoreBusy

OLDEST_SQLITE: Final = (3, 51, 3)  # below: no FTS5 secure-delete, or a write-ahead log that corrupts (TRAPS 23)
WRITE_WAIT_MS: Final = 10_000  # another process, such as `appliance keys create`, may be writing
LOOK_WAIT_MS: Final = 1000
FEW_BYTES: Final = 2**20  # with less free than this, an I/O error means the disk is full

PRAGMAS: Final = (
    "journal_mode = WAL",
    # FULL syncs the log at every commit: what was acknowledged survives a power cut. NORMAL survives kill -9 only.
    "synchronous = FULL",
    "foreign_keys = ON",
    "secure_delete = ON",  # TRAPS 24
    "temp_store = MEMORY",  # TRAPS 8
    "journal_size_limit = 16777216",
    f"busy_timeout = {WRITE_WAIT_MS}",
)


def check_sqlite_version(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    if version < OLDEST_SQLITE:
        raise StartRefused(
            f"SQLite {'.'.join(map(str, version))} is too old: it can corrupt the database and does not really delete.",
            f"Install the package 'pysqlite3', which brings its own SQLite (at least {'.'.join(map(str, OLDEST_SQLITE))}).",
        )


def connect(path: Path, *, read_only: bool = False) -> Database:
    """The connection may be used on one thread after another, never on two at once."""
    connection = sqlite3.connect(str(path), isolation_level=None, check_same_thread=False)
    try:
        for pragma in (*PRAGMAS, f"query_only = {int(read_only)}"):
            connection.execute(f"PRAGMA {pragma}")
        return Database(connection, execute_plugins=False)
    except BaseException:
        connection.close()
        raise


def connect_to_look(path: Path) -> Database:
    """Only to read, and nothing is made or changed for it: beside a running appliance, or where nothing can be written.

    Whoever has the database open keeps a log beside it, and shares that. Without one nobody writes, and the file is read as it is:
    to open it as it is opened for work would make a log. In the moment in which an appliance starts or stops a look may fail.
    """
    has_log = all(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-shm"))
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{'mode=ro' if has_log else 'immutable=1'}", uri=True)
    for pragma in ("temp_store = MEMORY", f"busy_timeout = {LOOK_WAIT_MS}"):
        connection.execute(f"PRAGMA {pragma}")
    return Database(connection, execute_plugins=False)


def prepare_file(path: Path) -> None:
    """Make the folder (0700) and the file (0600); SQLite gives its log the file's mode.

    A folder that holds other people's files keeps its mode. Raises `StartRefused` when the place cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if all(entry.name.startswith(path.name) for entry in path.parent.iterdir()):
            path.parent.chmod(0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise StartRefused(
            f"The database {path} cannot be opened: {error.strerror}.",
            "Check that the data folder exists, belongs to the appliance's user and has room.",
        ) from error


@contextmanager
def transaction(db: Database, mode: str = "IMMEDIATE") -> Iterator[None]:
    """`BEGIN IMMEDIATE` takes the write lock before the first read, so a claim cannot be overtaken (TRAPS 25)."""
    db.conn.execute(f"BEGIN {mode}")
    try:
        yield
        db.conn.execute("COMMIT")
    except BaseException:
        if db.conn.in_transaction:  # a full disk may have ended it already
            db.conn.execute("ROLLBACK")
        raise


def empty_log(db: Database, wait_ms: int) -> bool:
    """Move the log into the database and cut it to nothing; False when a reader was in the way for `wait_ms`."""
    db.conn.execute(f"PRAGMA busy_timeout = {wait_ms}")
    try:
        is_busy, _, _ = db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        db.conn.execute(f"PRAGMA busy_timeout = {WRITE_WAIT_MS}")
    return not is_busy


@contextmanager
def typed_errors(path: Path) -> Iterator[None]:
    """Turns what SQLite says about disks and locks into our errors; the rest is a defect and passes."""
    try:
        yield
    except sqlite3.OperationalError as error:
        code = (error.sqlite_errorcode or 0) & 0xFF
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_disk_full(path)):
            raise DiskFull from error
        if code == sqlite3.SQLITE_BUSY:
            raise StoreBusy from error
        raise


@contextmanager
def only_usable(path: Path) -> Iterator[None]:
    """Raises `StartRefused` for a file that is no sound database."""
    try:
        with typed_errors(path):
            yield
    except sqlite3.DatabaseError as error:
        raise StartRefused(
            f"The file {path} is not a usable database: {error}.",
            "Move it away to start with an empty one, or restore a backup.",
        ) from error


def _is_disk_full(path: Path) -> bool:
    volume = os.statvfs(path.parent)
    return volume.f_bavail * volume.f_frsize < FEW_BYTES


def rows(db: Database, sql: str, parameters: tuple[object, ...] = ()) -> list[dict[str, Any]]:
    return list(db.query(sql, parameters))


def first(db: Database, sql: str, parameters: tuple[object, ...] = ()) -> dict[str, Any] | None:
    return next(iter(rows(db, sql, parameters)), None)
