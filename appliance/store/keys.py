"""API keys: 256 random bits shown once, kept only as a SHA-256.

A plain hash is enough for them: nobody guesses 256 bits, so there is nothing to slow down.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec
from sqlite_utils import Database

from appliance.domain import Value
from appliance.errors import InvalidField, NotFound
from appliance.store.database import first, rows
from appliance.store.rows import Row, json_text, now, read_time, time_text
from appliance.store.threads import Readers, Writer

SECRET_START: Final = "stt_"  # noqa: S105 - the public part
PREFIX_CHARS: Final = 12  # shown in lists: "stt_" and 48 of the 256 bits
LAST_USED_EVERY: Final = timedelta(minutes=1)


class Scope(StrEnum):
    TRANSCRIBE = "transcribe"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"  # the others, too; managing people, and erasing anything


class KeyRecord(Value, frozen=True):
    id: str  # the owner of what was sent with it
    name: str
    prefix: str  # the first characters, to recognise a key by
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None  # kept at most once a minute
    revoked_at: datetime | None = None
    person_id: str | None = None  # whose it is, and whose rights it never exceeds; None: a site key, made on the command line

    def is_valid(self, at: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


class ApiKeys:
    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def create(
        self, name: str, scopes: Iterable[Scope], expires_at: datetime | None = None, person_id: str | None = None
    ) -> tuple[KeyRecord, str]:
        """A new key and its secret `stt_…`, which nobody can show again."""
        secret = SECRET_START + secrets.token_urlsafe(32)
        key = KeyRecord(
            id=f"key_{secrets.token_hex(8)}",
            name=name,
            prefix=secret[:PREFIX_CHARS],
            scopes=frozenset(map(Scope, scopes)),
            created_at=now(),
            expires_at=expires_at,
            person_id=person_id,
        )
        await self._writer.run(lambda db: _insert(db, key, secret))
        return key, secret

    async def list(self) -> tuple[KeyRecord, ...]:
        """All keys, revoked and expired ones too, the oldest first."""
        return await self._readers.run_then(
            lambda db: rows(db, "SELECT * FROM keys ORDER BY created_at, id"), lambda found: tuple(map(_read, found))
        )

    async def list_of(self, person_id: str) -> tuple[KeyRecord, ...]:
        """A person's own that are not revoked."""
        return tuple(key for key in await self.list() if key.person_id == person_id and key.revoked_at is None)

    async def revoke_of(self, person_id: str, key_id: str) -> KeyRecord:
        """One of a person's own. Raises `NotFound`, also for somebody else's."""
        if key_id not in {key.id for key in await self.list_of(person_id)}:
            raise NotFound("API key of yours with that id")
        return await self.revoke(key_id)

    async def revoke(self, id_or_prefix: str) -> KeyRecord:
        """Raises `NotFound`; `InvalidField` when the prefix fits several keys that are not revoked yet."""
        return await self._writer.run(lambda db: _revoke(db, id_or_prefix))

    async def authenticate(self, secret: str) -> KeyRecord | None:
        """The key of this secret; None when it is unknown, expired, revoked, or its person is not active."""
        found = await self._readers.run(lambda db: first(db, _IN_USE, (_digest(secret),)))
        key = None if found is None else _read(found)
        at = now()
        if key is None or not key.is_valid(at):
            return None
        if key.last_used_at is None or at - key.last_used_at >= LAST_USED_EVERY:
            # Nobody waits for this, and a full disk must not lock anybody out of reading.
            self._writer.post(lambda db: _touch(db, key.id, at))
        return key


_IN_USE: Final = """
SELECT keys.* FROM keys LEFT JOIN people ON people.id = person_id
WHERE sha256 = ? AND (person_id IS NULL OR people.state = 'active')
"""


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()


def _insert(db: Database, key: KeyRecord, secret: str) -> None:
    expires_at = None if key.expires_at is None else time_text(key.expires_at)
    scopes = json_text(sorted(key.scopes))
    values = (key.id, key.name, key.prefix, _digest(secret), scopes, time_text(key.created_at), expires_at, key.person_id)
    db.conn.execute(
        "INSERT INTO keys (id, name, prefix, sha256, scopes, created_at, expires_at, person_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        values,
    )


def _revoke(db: Database, id_or_prefix: str) -> KeyRecord:
    fitting = (
        "SELECT * FROM keys WHERE revoked_at IS NULL AND (id = ?1 OR (length(?1) >= 4 AND substr(prefix, 1, length(?1)) = ?1))"
    )
    found = rows(db, fitting, (id_or_prefix,))
    if not found:
        raise NotFound("API key in use with that id or prefix")
    if len(found) > 1:
        raise InvalidField("key", f"fits {len(found)} keys", "Give the whole prefix, or the id.")
    db.conn.execute("UPDATE keys SET revoked_at = ? WHERE id = ?", (time_text(now()), found[0]["id"]))
    row = first(db, "SELECT * FROM keys WHERE id = ?", (found[0]["id"],))
    return _read(row or found[0])


def revoke_keys_of(db: Database, person_id: str) -> list[str]:
    """All of a person's; their ids. Part of the transaction that ends what was there before."""
    update = "UPDATE keys SET revoked_at = ? WHERE person_id = ? AND revoked_at IS NULL RETURNING id"
    return [row["id"] for row in rows(db, update, (time_text(now()), person_id))]


def _touch(db: Database, key_id: str, at: datetime) -> None:
    before = time_text(at - LAST_USED_EVERY)
    db.conn.execute(
        "UPDATE keys SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at <= ?)",
        (time_text(at), key_id, before),
    )


def _read(row: Row) -> KeyRecord:
    return KeyRecord(
        id=row["id"],
        name=row["name"],
        prefix=row["prefix"],
        scopes=msgspec.json.decode(row["scopes"], type=frozenset[Scope]),
        created_at=datetime.fromisoformat(row["created_at"]),
        expires_at=read_time(row["expires_at"]),
        last_used_at=read_time(row["last_used_at"]),
        revoked_at=read_time(row["revoked_at"]),
        person_id=row["person_id"],
    )
