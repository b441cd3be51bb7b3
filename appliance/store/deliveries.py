"""The durable queue of webhook messages: what must still be told to whom. Sending them is left to others.

A delivery is queued in the same transaction that ends its transcript, so none is forgotten by a crash. It holds ids
and states only, never text.
"""

from __future__ import annotations

from datetime import datetime

from appliance.domain import JobState, Value


class Delivery(Value, frozen=True):
    id: str  # "msg_…", the webhook-id, the same on every attempt
    transcript_id: int
    slug: str
    url: str
    event: str  # "transcript.completed", "transcript.failed", "transcript.cancelled", "transcript.interrupted"
    state: JobState
    created_at: datetime
    attempts: int  # made so far
    next_attempt_at: datetime


class Deliveries:
    async def due(self, now: datetime, limit: int = 20) -> tuple[Delivery, ...]:
        """Deliveries whose time has come, the oldest first."""
        raise NotImplementedError

    async def next_due_at(self) -> datetime | None:
        """When the next delivery is due; None: the queue is empty."""
        raise NotImplementedError

    async def retry(self, delivery_id: str, at: datetime) -> None:
        """The attempt failed: count it, and try again at `at`."""
        raise NotImplementedError

    async def finish(self, delivery_id: str) -> None:
        """It arrived, or its 24 hours are over: forget it."""
        raise NotImplementedError

    async def switch_off(self, url: str) -> None:
        """The target answered 410 Gone: forget all that is queued for it, and queue nothing for it again."""
        raise NotImplementedError
