"""Numbers about the database, for support: how many rows, how large, is it sound. Never a value out of a row."""

from __future__ import annotations

from pathlib import Path

from appliance.domain import Value
from appliance.store.database import connect_to_look


class DatabaseFigures(Value, frozen=True):
    size_bytes: int
    log_bytes: int  # of the write-ahead log
    sound: bool  # SQLite's quick check
    rows: dict[str, int]  # by table


def read_figures(path: Path) -> DatabaseFigures | None:
    """None when there is no database yet. The appliance may be running."""
    if not path.is_file():
        return None
    db = connect_to_look(path)
    try:
        sound = db.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
        names = [
            row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'")
        ]
        rows = {name: int(db.execute(f"SELECT count(*) FROM [{name}]").fetchone()[0]) for name in names}  # noqa: S608 (its own names)
    finally:
        db.close()
    log = path.with_name(path.name + "-wal")
    return DatabaseFigures(path.stat().st_size, log.stat().st_size if log.exists() else 0, sound, rows)
