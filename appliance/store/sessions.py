"""Sessions of people who signed in: 256 random bits in a cookie, kept only as a SHA-256.

The appliance chooses them, never the client, and a new one is made at every sign-in and whenever rights or secrets change
(TRAPS 26). Which cookie, and what a request needs besides it, is left to `api/session_guard.py`.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final

from sqlite_utils import Database

from appliance.domain import Value
from appliance.errors import NotFound
from appliance.store.database import first, rows
from appliance.store.rows import Row, now, time_text
from appliance.store.standing import Standing, read_standing
from appliance.store.threads import Readers, Writer

SEEN_EVERY: Final = timedelta(minutes=1)
MAX_ABOUT_CHARS: Final = 200


class Session(Value, frozen=True):
    id: str
    person_id: str
    created_at: datetime
    authenticated_at: datetime  # when a password or a provider last vouched for the person
    last_seen_at: datetime  # kept at most once a minute
    expires_at: datetime
    user_agent: str  # as the browser calls itself, for its person to recognise it
    address: str


class NewSession(Value, frozen=True):
    person_id: str
    lasts: timedelta
    user_agent: str
    address: str


class Sessions:
    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    async def open(self, new: NewSession) -> tuple[Session, str]:
        """And its secret for the cookie. The person must be active; raises `NotFound`."""
        return await self._writer.run(lambda db: _open(db, new))

    async def authenticate(self, secret: str, idle: timedelta) -> tuple[Session, Standing] | None:
        """None when it is unknown, expired, unused for longer than `idle`, or its person is not active."""
        found = await self._readers.run(lambda db: _find(db, secret))
        at = now()
        if found is None or at >= found[0].expires_at or at - found[0].last_seen_at >= idle:
            return None
        session = found[0]
        if at - session.last_seen_at >= SEEN_EVERY:
            self._writer.post(lambda db: _touch(db, session.id, at))
        return found

    async def list(self, person_id: str) -> tuple[Session, ...]:
        """The newest first."""
        found = await self._readers.run(
            lambda db: rows(db, "SELECT * FROM sessions WHERE person_id = ? ORDER BY created_at DESC, id", (person_id,))
        )
        return tuple(map(_read, found))

    async def close(self, person_id: str, session_id: str) -> None:
        """Raises `NotFound`, also for somebody else's."""
        await self._writer.run(lambda db: _close(db, person_id, session_id))

    async def close_others(self, person_id: str, kept_id: str) -> None:
        await self._writer.run(lambda db: end_sessions(db, person_id, kept_id))

    async def confirm(self, session_id: str) -> None:
        """The person proved again who they are."""
        update = "UPDATE sessions SET authenticated_at = ? WHERE id = ?"
        await self._writer.run(lambda db: db.conn.execute(update, (time_text(now()), session_id)))


def end_sessions(db: Database, person_id: str, kept_id: str = "") -> None:
    """Part of the transaction that changes what the person may do."""
    db.conn.execute("DELETE FROM sessions WHERE person_id = ? AND id IS NOT ?", (person_id, kept_id))


def _open(db: Database, new: NewSession) -> tuple[Session, str]:
    if read_standing(db, new.person_id) is None:
        raise NotFound("person who may sign in with that id")
    secret, at = secrets.token_urlsafe(32), now()
    session = Session(
        id=f"session_{secrets.token_hex(8)}",
        person_id=new.person_id,
        created_at=at,
        authenticated_at=at,
        last_seen_at=at,
        expires_at=at + new.lasts,
        user_agent=new.user_agent[:MAX_ABOUT_CHARS].encode(errors="replace").decode(),
        address=new.address,
    )
    times = (session.created_at, session.authenticated_at, session.last_seen_at, session.expires_at)
    values = (session.id, _digest(secret), session.person_id, *map(time_text, times), session.user_agent, session.address)
    db.conn.execute("DELETE FROM sessions WHERE expires_at <= ?", (time_text(at),))
    db.conn.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    db.conn.execute("UPDATE people SET last_sign_in_at = ? WHERE id = ?", (time_text(at), session.person_id))
    return session, secret


def _find(db: Database, secret: str) -> tuple[Session, Standing] | None:
    row = first(db, "SELECT * FROM sessions WHERE sha256 = ?", (_digest(secret),))
    standing = None if row is None else read_standing(db, row["person_id"])
    return None if row is None or standing is None else (_read(row), standing)


def _close(db: Database, person_id: str, session_id: str) -> None:
    delete = "DELETE FROM sessions WHERE person_id = ? AND id = ?"
    if not db.conn.execute(delete, (person_id, session_id.encode(errors="replace").decode())).rowcount:
        raise NotFound("session of yours with that id")


def _touch(db: Database, session_id: str, at: datetime) -> None:
    db.conn.execute("UPDATE sessions SET last_seen_at = ? WHERE id = ?", (time_text(at), session_id))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()


def _read(row: Row) -> Session:
    return Session(
        id=row["id"],
        person_id=row["person_id"],
        created_at=datetime.fromisoformat(row["created_at"]),
        authenticated_at=datetime.fromisoformat(row["authenticated_at"]),
        last_seen_at=datetime.fromisoformat(row["last_seen_at"]),
        expires_at=datetime.fromisoformat(row["expires_at"]),
        user_agent=row["user_agent"],
        address=row["address"],
    )
