"""Server-sent events: a stream of messages that keeps the connection alive while there is nothing to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

import msgspec
from litestar.response import ServerSentEventMessage

T = TypeVar("T")

HEARTBEAT_S = 15.0  # well below the 60 s after which common proxies give up

_encode = msgspec.json.Encoder().encode


def message(data: object, *, event: str | None = None, id: str | None = None) -> ServerSentEventMessage:
    return ServerSentEventMessage(data=_encode(data), event=event, id=id)


def heartbeat() -> ServerSentEventMessage:
    return ServerSentEventMessage(data=None, comment="still here")


async def with_heartbeats(source: AsyncIterator[T], every_s: float = HEARTBEAT_S) -> AsyncGenerator[T | None, None]:
    """The items of `source`, and None whenever there was none for `every_s`. Closes `source` at the end, however it comes."""
    upcoming: asyncio.Task[T] | None = None
    try:
        while True:
            upcoming = upcoming or asyncio.ensure_future(_next(source))
            await asyncio.wait({upcoming}, timeout=every_s)
            if not upcoming.done():
                yield None
                continue
            try:
                item = upcoming.result()
            except StopAsyncIteration:
                return
            upcoming = None
            yield item
    finally:
        await _close(source, upcoming)


async def _next(source: AsyncIterator[T]) -> T:
    return await anext(source)


async def _close(source: AsyncIterator[T], upcoming: asyncio.Task[T] | None) -> None:
    if upcoming is not None and not upcoming.done():
        upcoming.cancel()
        await asyncio.wait({upcoming})
    aclose = getattr(source, "aclose", None)
    if aclose is not None:
        await aclose()
