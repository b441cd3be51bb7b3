"""Opens the database and hands out one object per entity."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from sqlite_utils import Database

from appliance.store.audit import Audit
from appliance.store.database import check_sqlite_version, connect, only_usable, prepare_file
from appliance.store.deliveries import Deliveries
from appliance.store.envelopes import Envelopes
from appliance.store.erasure import Eraser, Erasures
from appliance.store.idempotency import IdempotencyKeys
from appliance.store.keys import ApiKeys
from appliance.store.licence_mark import LicenceMark
from appliance.store.local_key import LocalKey
from appliance.store.migrations import migrate
from appliance.store.passwords import Passwords
from appliance.store.people import People
from appliance.store.retention import Retention
from appliance.store.second_factors import SecondFactors
from appliance.store.sessions import Sessions
from appliance.store.shares import Shares
from appliance.store.threads import Readers, Writer
from appliance.store.transcripts import Transcripts
from appliance.store.usage import Usage
from appliance.store.workspaces import Workspaces

PEOPLE_KEY_FILE: Final = "people.key"  # seals second factors and known browsers; a backup needs it beside the database


class Store:
    """Every method of the entities is async; SQL runs on one writer thread and on reader threads, never on the event loop."""

    def __init__(self, path: Path, db: Database) -> None:
        eraser = Eraser(path)
        self._writer = Writer(path, db, eraser.chore)
        self._readers = Readers(path)
        self.erasures = Erasures(self._writer, eraser)
        self.transcripts = Transcripts(self._writer, self._readers, eraser)
        self.envelopes = Envelopes(self._writer, self._readers, eraser)
        self.passwords = Passwords()
        self.people = People(self._writer, self._readers, self.passwords, self.erasures)
        self.people_key = LocalKey(path.with_name(PEOPLE_KEY_FILE))
        self.second_factors = SecondFactors(self._writer, self.people_key)
        self.sessions = Sessions(self._writer, self._readers)
        self.workspaces = Workspaces(self._writer, self._readers, self.erasures)
        self.keys = ApiKeys(self._writer, self._readers)
        self.idempotency = IdempotencyKeys(self._writer, self._readers)
        self.webhooks = Deliveries(self._writer, self._readers)
        self.retention = Retention(self._writer, self._readers, eraser)
        self.audit = Audit(self._writer, self._readers)
        self.usage = Usage(self._writer, self._readers)
        self.shares = Shares(self._writer, self._readers, self.passwords)
        self.licence_mark = LicenceMark(self._writer, self._readers)

    @classmethod
    async def open(cls, path: Path) -> Store:
        """Raises `StartRefused`: SQLite too old, a database of a newer version, or a file that cannot be used."""
        return cls(path, await asyncio.to_thread(_open_database, path))

    async def close(self) -> None:
        """Waits for the work in hand."""
        self.passwords.close()
        await self._readers.close()
        await self._writer.close()


def _open_database(path: Path) -> Database:
    check_sqlite_version()
    prepare_file(path)
    with only_usable(path):
        return _connect_migrated(path)


def _connect_migrated(path: Path) -> Database:
    db = connect(path)
    try:
        migrate(db)
    except BaseException:
        db.close()
        raise
    return db
