"""What may be known of the database without touching it: beside a running appliance, on a disk that cannot be written.

No migration is run, no lock is asked for that anybody waits for, no file is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from appliance.errors import StartRefused
from appliance.store.database import check_sqlite_version, connect_to_look, only_usable
from appliance.store.licence_mark import read_sealed
from appliance.store.migrations import refuse_newer
from appliance.store.usage import UsageTotals, read_totals


class Glance:
    def __init__(self, db: Database) -> None:
        self._db = db

    def licence_mark(self) -> bytes | None:
        return read_sealed(self._db)

    def usage(self, since: datetime, until: datetime) -> UsageTotals:
        return read_totals(self._db, since, until)


@contextmanager
def glance(path: Path) -> Iterator[Glance]:
    """Raises `StartRefused`: SQLite too old, a database of another version, or a file that is none; `StoreBusy`."""
    check_sqlite_version()
    with only_usable(path):
        db = connect_to_look(path)
        try:
            refuse_newer(db)
            yield Glance(db)
        except sqlite3.OperationalError as error:
            if not str(error).startswith("no such"):
                raise
            message = "The database was made by an earlier version of the appliance."
            raise StartRefused(message, "It is brought up to date when the appliance starts.") from error
        finally:
            db.close()
