"""One-time links: 256 random bits kept only as a SHA-256, for one purpose, until they expire. Sending them is people's work."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlite_utils import Database

from appliance.domain import Value
from appliance.errors import LinkSpent
from appliance.store.database import first
from appliance.store.rows import now, time_text


class Purpose(StrEnum):
    SETUP = "setup"  # makes the first administrator
    INVITATION = "invitation"
    PASSWORD = "password"  # noqa: S105


LASTS: Final = {
    Purpose.SETUP: timedelta(days=1),
    Purpose.INVITATION: timedelta(days=7),
    Purpose.PASSWORD: timedelta(days=1),
}


class Link(Value, frozen=True):
    purpose: Purpose
    person_id: str | None  # none for setup
    expires_at: datetime
    token: str  # what stands in the address; shown once


def offer_link(db: Database, purpose: Purpose, person_id: str | None = None) -> Link:
    """Replaces an earlier one for the same. Part of a transaction."""
    token, expires_at = secrets.token_urlsafe(32), now() + LASTS[purpose]
    withdraw_links(db, purpose, person_id)
    db.conn.execute("INSERT INTO links VALUES (?, ?, ?, ?)", (_digest(token), purpose, person_id, time_text(expires_at)))
    return Link(purpose, person_id, expires_at, token)


def withdraw_links(db: Database, purpose: Purpose, person_id: str | None) -> None:
    db.conn.execute("DELETE FROM links WHERE purpose = ? AND person_id IS ?", (purpose, person_id))


def read_link(db: Database, token: str) -> Link:
    """Raises `LinkSpent`: used, expired, replaced or never made."""
    found = first(db, "SELECT * FROM links WHERE sha256 = ? AND expires_at > ?", (_digest(token), time_text(now())))
    if found is None:
        raise LinkSpent
    return Link(Purpose(found["purpose"]), found["person_id"], datetime.fromisoformat(found["expires_at"]), token)


def spend_link(db: Database, token: str, purpose: Purpose) -> Link:
    """It works once. Part of the transaction that does what it is for. Raises `LinkSpent`."""
    link = read_link(db, token)
    if link.purpose is not purpose:
        raise LinkSpent
    db.conn.execute("DELETE FROM links WHERE sha256 = ?", (_digest(token),))
    return link


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
