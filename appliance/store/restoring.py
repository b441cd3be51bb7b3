"""Makes a database that came out of a backup the present one: brought up to date, and without what was erased since.

From the database it replaces, where there is one: tombstones always; the audit log and the usage journal too, when they go on
where the backup's end, so that restoring is no way to shorten them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from appliance.domain import Value
from appliance.errors import BackupDamaged, BackupNewer
from appliance.store.audit import append_audit
from appliance.store.chain import ChainName
from appliance.store.database import connect, empty_log, first, rows, transaction
from appliance.store.erasure import Eraser, Step
from appliance.store.journal import read_head
from appliance.store.migrations import applied_when_current, migrate
from appliance.store.rows import now, time_text
from appliance.store.tombstones import Tombstone, add_tombstones, buried_transcripts, read_tombstones


class Restored(Value, frozen=True):
    transcripts: int  # that are in it now
    forgotten: int  # that were in the backup, and had been erased since
    journals_continued: bool  # audit log and usage journal go on to where they were


def check_schema(applied: Iterable[str]) -> None:
    """Raises `BackupNewer` for steps that this version does not know."""
    if unknown := set(applied) - applied_when_current():
        raise BackupNewer(", ".join(sorted(unknown)))


def prepare_restored(new: Path, current: Path, tombstones: Iterable[Tombstone] = ()) -> Restored:
    """`new` is the unpacked copy; `current` is what it will replace, and is only read. Raises `BackupDamaged`, `BackupNewer`."""
    db = _open_copy(new)
    try:
        with transaction(db):
            continued = _carry_over(db, current)
            add_tombstones(db, tombstones)
            forgotten = _forget(db, eraser := Eraser(new))
            append_audit(db, "backup.restored", "console", forgotten=forgotten)
        while eraser.step(db) is not Step.GONE:
            pass
        eraser.close()
        [counted] = rows(db, "SELECT count(*) AS count FROM transcripts")
        empty_log(db, wait_ms=0)
    finally:
        db.close()
    return Restored(counted["count"], forgotten, continued)


def replace_database(new: Path, current: Path) -> None:
    """In this order, so that no moment exists in which one's log stands beside the other's file."""
    if current.exists():
        _settle(current)
    for part in ("-wal", "-shm"):
        current.with_name(current.name + part).unlink(missing_ok=True)
    os.replace(new, current)


def stored_tombstones(path: Path) -> tuple[Tombstone, ...]:
    db = connect(path)
    try:
        migrate(db)
        return read_tombstones(db)
    finally:
        db.close()


def _open_copy(new: Path) -> Database:
    try:
        db = connect(new)
    except sqlite3.DatabaseError as error:
        raise BackupDamaged(f"its database cannot be opened ({error})") from error
    try:
        _check_sound(db)
        migrate(db)
    except sqlite3.DatabaseError as error:
        db.close()
        raise BackupDamaged(f"its database cannot be read ({error})") from error
    except BaseException:
        db.close()
        raise
    return db


def _check_sound(db: Database) -> None:
    for verdict in rows(db, "PRAGMA integrity_check(1)"):
        if verdict["integrity_check"] != "ok":
            raise BackupDamaged("its database is not sound")


def _settle(current: Path) -> None:
    try:
        db = connect(current)
    except sqlite3.DatabaseError:  # what is replaced may well be broken: that is why
        return
    db.close()  # the last connection moves the log into the file


def _carry_over(db: Database, current: Path) -> bool:
    """Whether the journals of the present database continue those of the copy."""
    if not current.exists():
        return False
    try:
        present = connect(current, read_only=True)
    except sqlite3.DatabaseError:
        return False
    try:
        if first(present, "SELECT 1 AS found FROM sqlite_master WHERE name = 'tombstones'") is None:
            return False
        add_tombstones(db, read_tombstones(present))
        if not all(_continues(db, present, chain) for chain in ChainName):
            return False
        for chain in ChainName:
            _append_rest(db, present, chain)
        _carry_mark(db, present)
    except sqlite3.DatabaseError:
        return False
    finally:
        present.close()
    return True


def _continues(db: Database, present: Database, chain: ChainName) -> bool:
    head = read_head(db, chain)
    if head.sequence == 0:
        return read_head(present, chain).sequence == 0 or chain is ChainName.USAGE
    there = first(present, f"SELECT hash FROM {chain.value} WHERE sequence = ?", (head.sequence,))  # noqa: S608
    return there is not None and there["hash"].hex() == head.hash


def _append_rest(db: Database, present: Database, chain: ChainName) -> None:
    after = read_head(db, chain).sequence
    rest = present.conn.execute(f"SELECT * FROM {chain.value} WHERE sequence > ? ORDER BY sequence", (after,))  # noqa: S608
    db.conn.executemany(f"INSERT INTO {chain.value} VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rest)  # noqa: S608


def _carry_mark(db: Database, present: Database) -> None:
    """The licence's mark of time: a backup must not turn it back."""
    for mark in rows(present, "SELECT * FROM licence_mark"):
        db.conn.execute("INSERT OR REPLACE INTO licence_mark (id, sealed) VALUES (?, ?)", (mark["id"], mark["sealed"]))


def _forget(db: Database, eraser: Eraser) -> int:
    """What is buried goes; sessions and links of that time are over. Returns how many transcripts went."""
    buried = [stone.subject for stone in read_tombstones(db)]
    for table in ("people", "workspaces"):
        db.conn.executemany(f"DELETE FROM {table} WHERE id = ?", ((subject,) for subject in buried))  # noqa: S608
    for table in ("keys", "shares"):
        revoke = f"UPDATE {table} SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"  # noqa: S608
        db.conn.executemany(revoke, ((time_text(now()), subject) for subject in buried))
    for table in ("sessions", "links"):
        db.conn.execute(f"DELETE FROM {table}")  # noqa: S608
    going = buried_transcripts(db)
    eraser.mark(db, going)
    return len(going)
