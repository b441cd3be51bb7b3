"""Opens the database and hands out one object per entity."""

from __future__ import annotations

from pathlib import Path

from appliance.store.deliveries import Deliveries
from appliance.store.idempotency import IdempotencyKeys
from appliance.store.keys import ApiKeys
from appliance.store.transcripts import Transcripts


class Store:
    """Every method of the entities is async; SQL runs on one writer thread and on reader threads, never on the event loop."""

    def __init__(self) -> None:
        self.transcripts = Transcripts()
        self.keys = ApiKeys()
        self.idempotency = IdempotencyKeys()
        self.webhooks = Deliveries()

    @classmethod
    async def open(cls, path: Path) -> Store:
        """Raises `StartRefused`: SQLite too old, a database of a newer version, or a file that cannot be used."""
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
