"""One line per answered request: method, route, status, bytes, time. Wraps the application from the outside.

Never a body, a header, a cookie, a query string or a transcript's address: the route's template stands for the path, and a
path without a route is not repeated (TRAPS 3).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from appliance.domain import Value

log = logging.getLogger("appliance.access")

NO_ROUTE = "(no such address)"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})  # a client may invent any


class Exchange(Value, frozen=True):
    """One request and its answer."""

    method: str
    route: str  # the template: "/api/v1/transcripts/{key}"
    status: int  # 499: the client left before there was an answer
    received_bytes: int
    sent_bytes: int
    seconds: float  # until the last byte of the answer


class AccessLog:
    def __init__(self, app: ASGIApp, observe: Callable[[Exchange], None]) -> None:
        self.wrapped = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.wrapped(scope, receive, send)
            return
        counter = _Counter(receive, send)
        started = time.monotonic()
        try:
            await self.wrapped(scope, counter.receive, counter.send)
        finally:
            self._write(
                Exchange(
                    method=scope["method"] if scope["method"] in METHODS else "OTHER",
                    route=str(scope.get("path_template") or NO_ROUTE),
                    status=counter.status,
                    received_bytes=counter.received_bytes,
                    sent_bytes=counter.sent_bytes,
                    seconds=time.monotonic() - started,
                )
            )

    def _write(self, exchange: Exchange) -> None:
        self._observe(exchange)
        log.info(
            "%s %s %d in=%d out=%d %.0f ms",
            exchange.method,
            exchange.route,
            exchange.status,
            exchange.received_bytes,
            exchange.sent_bytes,
            exchange.seconds * 1000,
        )


class _Counter:
    """Counts what passes through one request's channels."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.received_bytes = 0
        self.sent_bytes = 0
        self.status = 499

    async def receive(self) -> Any:  # noqa: ANN401 (Litestar has two types for it)
        message = await self._receive()
        if message["type"] == "http.request":
            self.received_bytes += len(message["body"])
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.sent_bytes += len(message["body"])
        await self._send(message)
