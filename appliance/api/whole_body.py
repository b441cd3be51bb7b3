"""Bodies that a handler reads whole: within a time, and, where they may be large, in memory that is reserved as they come.

Recordings are no such bodies: `audio/upload.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from appliance.api.services import ApiRequest, services_of
from appliance.errors import BodyTooLarge, BodyTooSlow

IN_TIME_S = 30.0
SLOWEST_BYTES_PER_S = 64 * 2**10  # what a large body takes beyond that
COPIES = 3  # as it came, as it is checked, as the database writes it


async def read_body(request: ApiRequest) -> bytes:
    """One of a form's size. Raises `BodyTooSlow`."""
    async with _in_time(IN_TIME_S):
        return await request.body()


@asynccontextmanager
async def large_body(request: ApiRequest, max_bytes: int) -> AsyncIterator[bytes]:
    """Counts as memory of recordings until the block ends. Raises `BodyTooSlow`, `BodyTooLarge`, `MemoryFull`."""
    declared = request.content_length
    if declared is not None and declared > max_bytes:
        raise BodyTooLarge
    body = bytearray()
    with services_of(request).budget.reserve(COPIES * (declared or 0)) as reservation:
        async with _in_time(IN_TIME_S + (declared or max_bytes) / SLOWEST_BYTES_PER_S):
            async for chunk in request.stream():
                body += chunk
                reservation.grow(max(0, COPIES * len(body) - reservation.n_bytes))
        yield bytes(body)


@asynccontextmanager
async def _in_time(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise BodyTooSlow(seconds) from error
