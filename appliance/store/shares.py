"""Links that show one transcript to whoever holds them: 256 random bits, kept only as a SHA-256.

A view is one opening, good for half an hour of reading and downloading; opening is counted in the same transaction that
checks the limit. A link ends when it expires or is withdrawn, with the transcript or the account that made it, and when whoever
made it may not change the transcript any more.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from math import ceil
from typing import Final

from sqlite_utils import Database

from appliance.domain import JobState, Value
from appliance.errors import (
    InvalidField,
    NotFound,
    NotReady,
    PrivateTranscript,
    ShareBusy,
    ShareExpired,
    ShareNotOpened,
    SharePasswordPaused,
    SharePasswordWrong,
    ShareRevoked,
    ShareUsedUp,
    TooManyShares,
)
from appliance.store.audit import append_audit
from appliance.store.database import first, rows
from appliance.store.passwords import MAX_CHARS, Passwords
from appliance.store.reach import Reach, Right
from appliance.store.rows import Row, now, read_options, read_time, time_text
from appliance.store.threads import Readers, Writer
from appliance.store.tombstones import bury
from appliance.store.transcripts import find_row

VIEW_LASTS: Final = timedelta(minutes=30)
MAX_VIEWS: Final = 10_000
MAX_SHARES: Final = 50  # that still open, of one transcript
OPEN_AT_ONCE: Final = 100  # views of one link; whoever opens it in a loop fills neither table nor audit log
MIN_PASSWORD_CHARS: Final = 8  # attempts are few, and the link itself cannot be guessed
FREE_ATTEMPTS: Final = 5
FIRST_PAUSE: Final = timedelta(seconds=30)  # doubled with every further wrong password
LONGEST_PAUSE: Final = timedelta(minutes=15)
NOBODY: Final = "nobody"  # the actor, in the audit log, of whoever holds a link


class NewShare(Value, frozen=True):
    expires_at: datetime | None  # None: until it is withdrawn
    max_views: int | None = None
    password: str | None = None


class Share(Value, frozen=True):
    id: str
    transcript_id: int
    transcript_owner: str
    made_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    max_views: int | None
    views: int
    last_viewed_at: datetime | None
    has_password: bool
    stands: bool  # whoever made it is still somebody who could make it

    @property
    def reach(self) -> Reach:
        """With which the one transcript is read, and nothing is changed."""
        return Reach(actor=self.made_by, reads=frozenset((self.transcript_owner,)))


class View(Value, frozen=True):
    share: Share
    secret: str  # of whoever opened it; kept only as a SHA-256
    expires_at: datetime


class Shares:
    """`token` is what stands in the link. A token that never was is `NotFound`; one that was, `ShareEnded`."""

    def __init__(self, writer: Writer, readers: Readers, passwords: Passwords) -> None:
        self._writer = writer
        self._readers = readers
        self._passwords = passwords

    async def create(self, key: int | str, reach: Reach, new: NewShare) -> tuple[Share, str]:
        """And its token, which nobody can show again.

        Raises `NotFound`, `RoleTooLow`, `PrivateTranscript`, `NotReady`, `TooManyShares`, `InvalidField`.
        """
        _check(new)
        await self._readers.run(lambda db: _find_shareable(db, key, reach))  # before a password is hashed for nothing
        hashed = None if new.password is None else await self._passwords.hash(new.password)
        return await self._writer.run(lambda db: _insert(db, _find_shareable(db, key, reach), reach.actor, new, hashed))

    async def list(self, key: int | str, reach: Reach) -> tuple[Share, ...]:
        """Withdrawn and expired ones too, the newest first. Raises `NotFound`, `RoleTooLow`."""

        def fetch(db: Database) -> tuple[Share, ...]:
            transcript_id = find_row(db, key, reach, Right.CHANGE)["id"]
            found = rows(db, f"{_SELECT} WHERE transcript_id = ? ORDER BY shares.created_at DESC, shares.id", (transcript_id,))
            return tuple(_read(row, stands=_stands(db, row)) for row in found)

        return await self._readers.run(fetch)

    async def revoke(self, key: int | str, reach: Reach, share_id: str) -> None:
        """Whoever is reading reads no further. Raises `NotFound`, `RoleTooLow`."""
        await self._writer.run(lambda db: _revoke(db, key, reach, share_id))

    async def look(self, token: str) -> Share:
        """Whether it is good, before it is opened; nothing is counted. Raises `NotFound`, `ShareEnded`."""
        return await self._readers.run(lambda db: _read(_find_opening(db, token)))

    async def open(self, token: str, password: str | None) -> View:
        """Raises `NotFound`, `ShareEnded`, `SharePasswordWrong`, `SharePasswordPaused`, `ShareBusy`."""
        share = await self.look(token)
        if share.has_password:
            await self._prove(token, password)
        return await self._writer.run(lambda db: _open(db, token))

    async def find_view(self, token: str, secret: str) -> Share:
        """Of a view that is open. Raises `NotFound`, `ShareEnded`, `ShareNotOpened`."""
        return await self._readers.run(lambda db: _find_view(db, token, secret))

    async def _prove(self, token: str, password: str | None) -> None:
        """The attempt is counted before the password is looked at: many at the same time are as few as one after another."""
        if not password or len(password) > MAX_CHARS:
            raise SharePasswordWrong(was_sent=bool(password))
        share_id, stored = await self._writer.run(lambda db: _claim_attempt(db, token))
        if not await self._passwords.verify(stored, password):
            await self._writer.run(lambda db: append_audit(db, "share.refused", NOBODY, share_id, reason="password"))
            raise SharePasswordWrong(was_sent=True)


_SELECT: Final = """
    SELECT shares.*, transcripts.owner AS transcript_owner FROM shares
    JOIN transcripts ON transcripts.id = shares.transcript_id AND transcripts.erased_at IS NULL
"""
_STANDS: Final = """
    SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM tombstones WHERE subject = ?1) AND (
        EXISTS (SELECT 1 FROM people WHERE id = ?2 AND state = 'active' AND (id = ?3 OR EXISTS (
            SELECT 1 FROM members WHERE person_id = ?2 AND workspace_id = ?3 AND role IN ('editor', 'owner')
        )))
        OR EXISTS (SELECT 1 FROM keys WHERE id = ?2 AND id = ?3 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?4))
    )
"""


def _check(new: NewShare) -> None:
    if new.expires_at is not None and new.expires_at <= now():
        raise InvalidField("expires_at", "lies in the past")
    if new.max_views is not None and not 1 <= new.max_views <= MAX_VIEWS:
        raise InvalidField("max_views", f"must be between 1 and {MAX_VIEWS}")
    if new.password is not None and not MIN_PASSWORD_CHARS <= len(new.password) <= MAX_CHARS:
        raise InvalidField("password", f"must have {MIN_PASSWORD_CHARS} to {MAX_CHARS} characters")
    if any("\ud800" <= char <= "\udfff" for char in new.password or ""):
        raise InvalidField("password", "holds characters that are no text")


def _find_shareable(db: Database, key: int | str, reach: Reach) -> Row:
    row = find_row(db, key, reach, Right.CHANGE)
    if read_options(row["options"]).private:
        raise PrivateTranscript("there is nothing a link could show", "Export it in the browser and hand that on.")
    if row["state"] != JobState.COMPLETED:
        raise NotReady("transcript", row["state"])
    return row


def _insert(db: Database, transcript: Row, actor: str, new: NewShare, hashed: str | None) -> tuple[Share, str]:
    at = time_text(now())
    open_ones = "SELECT 1 FROM shares WHERE transcript_id = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)"
    if len(rows(db, open_ones, (transcript["id"], at))) >= MAX_SHARES:
        raise TooManyShares(MAX_SHARES)
    token, share_id = secrets.token_urlsafe(32), f"share_{secrets.token_hex(8)}"
    values = {
        "id": share_id,
        "sha256": _digest(token),
        "transcript_id": transcript["id"],
        "made_by": actor,
        "created_at": at,
        "expires_at": None if new.expires_at is None else time_text(new.expires_at),
        "max_views": new.max_views,
        "password": hashed,
    }
    marks = ", ".join("?" * len(values))
    db.conn.execute(f"INSERT INTO shares ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))  # noqa: S608
    append_audit(db, "share.created", actor, share_id, transcript=transcript["id"], has_password=hashed is not None)
    return _read(_find(db, token)), token


def _revoke(db: Database, key: int | str, reach: Reach, share_id: str) -> None:
    transcript_id = find_row(db, key, reach, Right.CHANGE)["id"]
    known = share_id.encode(errors="replace").decode()
    update = "UPDATE shares SET revoked_at = ? WHERE id = ? AND transcript_id = ? AND revoked_at IS NULL"
    if not db.conn.execute(update, (time_text(now()), known, transcript_id)).rowcount:
        raise NotFound("link of this transcript with that id that could be withdrawn")
    db.conn.execute("DELETE FROM share_views WHERE share_id = ?", (known,))
    bury(db, known)  # a restored backup does not bring it back
    append_audit(db, "share.revoked", reach.actor, known, transcript=transcript_id)


def _find(db: Database, token: str) -> Row:
    found = first(db, f"{_SELECT} WHERE shares.sha256 = ?", (_digest(token),))
    if found is None:
        raise NotFound("transcript at this link")
    return found


def _find_good(db: Database, token: str) -> Row:
    """One that shows something to those who have opened it."""
    row = _find(db, token)
    at = time_text(now())
    if row["revoked_at"] is not None or not _stands(db, row):
        raise ShareRevoked
    if row["expires_at"] is not None and row["expires_at"] <= at:
        raise ShareExpired
    return row


def _stands(db: Database, row: Row) -> bool:
    """Of a row that `_SELECT` gave."""
    return first(db, _STANDS, (row["id"], row["made_by"], row["transcript_owner"], time_text(now()))) is not None


def _find_opening(db: Database, token: str) -> Row:
    """One that may be opened once more."""
    row = _find_good(db, token)
    if row["max_views"] is not None and row["views"] >= row["max_views"]:
        raise ShareUsedUp
    return row


def _claim_attempt(db: Database, token: str) -> tuple[str, str]:
    """The link's id, and the hash of the password to compare with."""
    row, at = _find_opening(db, token), now()
    allowed_at = read_time(row["next_attempt_at"])
    if allowed_at is not None and at < allowed_at:
        raise SharePasswordPaused(ceil((allowed_at - at).total_seconds()))
    attempts = row["attempts"] + 1
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempts - FREE_ATTEMPTS, 10)) if attempts >= FREE_ATTEMPTS else None
    next_attempt_at = None if pause is None else time_text(at + pause)
    db.conn.execute("UPDATE shares SET attempts = ?, next_attempt_at = ? WHERE id = ?", (attempts, next_attempt_at, row["id"]))
    return row["id"], row["password"]


def _open(db: Database, token: str) -> View:
    row, at = _find_opening(db, token), now()
    db.conn.execute("DELETE FROM share_views WHERE expires_at <= ?", (time_text(at),))
    open_now = rows(db, "SELECT expires_at FROM share_views WHERE share_id = ? ORDER BY expires_at", (row["id"],))
    if len(open_now) >= OPEN_AT_ONCE:
        raise ShareBusy(ceil((datetime.fromisoformat(open_now[0]["expires_at"]) - at).total_seconds()))
    secret, ends_at = secrets.token_urlsafe(32), at + VIEW_LASTS
    db.conn.execute("INSERT INTO share_views VALUES (?, ?, ?)", (_digest(secret), row["id"], time_text(ends_at)))
    count = "UPDATE shares SET views = views + 1, last_viewed_at = ?, attempts = 0, next_attempt_at = NULL WHERE id = ?"
    db.conn.execute(count, (time_text(at), row["id"]))
    append_audit(db, "share.viewed", NOBODY, row["id"], transcript=row["transcript_id"])
    return View(_read(_find(db, token)), secret, ends_at)


def _find_view(db: Database, token: str, secret: str) -> Share:
    row = _find_good(db, token)
    sought = (_digest(secret), row["id"], time_text(now()))
    if first(db, "SELECT 1 FROM share_views WHERE sha256 = ? AND share_id = ? AND expires_at > ?", sought) is None:
        raise ShareNotOpened
    return _read(row)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()


def _read(row: Row, *, stands: bool = True) -> Share:
    return Share(
        id=row["id"],
        transcript_id=row["transcript_id"],
        transcript_owner=row["transcript_owner"],
        made_by=row["made_by"],
        created_at=datetime.fromisoformat(row["created_at"]),
        expires_at=read_time(row["expires_at"]),
        revoked_at=read_time(row["revoked_at"]),
        max_views=row["max_views"],
        views=row["views"],
        last_viewed_at=read_time(row["last_viewed_at"]),
        has_password=row["password"] is not None,
        stands=stands,
    )
