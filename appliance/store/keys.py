"""API keys: 256 random bits shown once, kept only as a SHA-256."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from appliance.domain import Value


class Scope(StrEnum):
    TRANSCRIBE = "transcribe"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class KeyRecord(Value, frozen=True):
    id: str  # the owner of what was sent with it
    name: str
    prefix: str  # the first characters, to recognise a key by
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None  # kept at most once a minute
    revoked_at: datetime | None = None


class ApiKeys:
    async def create(self, name: str, scopes: Sequence[Scope], expires_at: datetime | None = None) -> tuple[KeyRecord, str]:
        """A new key and its secret `stt_…`, which nobody can show again."""
        raise NotImplementedError

    async def list(self) -> tuple[KeyRecord, ...]:
        """All keys, revoked and expired ones too, the oldest first."""
        raise NotImplementedError

    async def revoke(self, id_or_prefix: str) -> KeyRecord:
        """Raises `NotFound`; `InvalidField` when the prefix fits several keys."""
        raise NotImplementedError

    async def authenticate(self, secret: str) -> KeyRecord | None:
        """The key of this secret; None when it is unknown, expired or revoked."""
        raise NotImplementedError
