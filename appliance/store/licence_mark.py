"""One sealed record: what the licensing knows of time. Kept here and in a file beside; what is in it is left to `licensing/`."""

from __future__ import annotations

from sqlite_utils import Database

from appliance.store.database import first
from appliance.store.threads import Readers, Writer


class LicenceMark:
    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def read(self) -> bytes | None:
        return await self._readers.run(read_sealed)

    async def write(self, sealed: bytes) -> None:
        """Raises `DiskFull`, `StoreBusy`."""
        await self._writer.run(lambda db: _write(db, sealed))


def read_sealed(db: Database) -> bytes | None:
    row = first(db, "SELECT sealed FROM licence_mark")
    return None if row is None else bytes(row["sealed"])


def _write(db: Database, sealed: bytes) -> None:
    db.conn.execute("INSERT INTO licence_mark VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed", (sealed,))
