"""What was erased or revoked, so that a restored backup forgets it too: a digest or an id and a time, never what it was.

A transcript is remembered by the SHA-256 of its slug: 128 random bits that nobody can guess back from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from sqlite_utils import Database

from appliance.domain import Value
from appliance.store.database import first, rows
from appliance.store.rows import now, time_text


class Tombstone(Value, frozen=True):
    subject: str  # "transcript:<hex>", or the id of a person, a workspace, a key, a share
    erased_at: str  # UTC, ISO 8601


def transcript_subject(slug: str) -> str:
    return f"transcript:{hashlib.sha256(slug.encode()).hexdigest()}"


def bury(db: Database, *subjects: str) -> None:
    """Part of the transaction that erases or revokes them."""
    at = time_text(now())
    db.conn.executemany("INSERT OR IGNORE INTO tombstones VALUES (?, ?)", ((subject, at) for subject in subjects))


def is_buried(db: Database, subject: str) -> bool:
    return first(db, "SELECT 1 AS found FROM tombstones WHERE subject = ?", (subject,)) is not None


def read_tombstones(db: Database) -> tuple[Tombstone, ...]:
    return tuple(Tombstone(**row) for row in rows(db, "SELECT subject, erased_at FROM tombstones ORDER BY subject"))


def add_tombstones(db: Database, tombstones: Iterable[Tombstone]) -> None:
    """From another copy of this database; part of a transaction."""
    db.conn.executemany(
        "INSERT OR IGNORE INTO tombstones VALUES (?, ?)", ((stone.subject, stone.erased_at) for stone in tombstones)
    )


def buried_transcripts(db: Database) -> list[int]:
    """Ids of transcripts that are here although they were erased: this database is an older copy."""
    buried = {row["subject"] for row in rows(db, "SELECT subject FROM tombstones WHERE subject LIKE 'transcript:%'")}
    found = rows(db, "SELECT id, slug FROM transcripts WHERE erased_at IS NULL") if buried else []
    return [row["id"] for row in found if transcript_subject(row["slug"]) in buried]
