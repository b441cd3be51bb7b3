"""In front of the application: refuses requests that were meant for another host, and says HSTS over TLS. Plain ASGI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from appliance.errors import WrongHost
from appliance.tls.door import Door

# ASGI's; every framework has types of its own for them.
Scope = Any
Message = Any
Receive = Any
Send = Any
Asgi = Any


class Front:
    """TRAPS 27, 29."""

    def __init__(self, app: Asgi, door: Door) -> None:
        self.wrapped = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.wrapped(scope, receive, send)
        elif self._is_for_us(scope):
            await self.wrapped(scope, receive, self._with_strict_transport(send))
        else:
            await refuse_host(send)

    def _is_for_us(self, scope: Scope) -> bool:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        return len(hosts) == 1 and self._door.admits(hosts[0].decode("latin-1"))

    def _with_strict_transport(self, send: Send) -> Send:
        seconds = self._door.strict_transport_s
        if not seconds:
            return send

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                header = (b"strict-transport-security", f"max-age={seconds}".encode())
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        return send_more


async def refuse_host(send: Send) -> None:
    error = WrongHost()
    body = msgspec.json.encode({"error": error.message, "code": error.code, "hint": error.hint})
    await answer(send, error.status, {b"content-type": b"application/json", b"cache-control": b"no-store"}, body)


_ALWAYS = {
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"cross-origin-resource-policy": b"same-origin",
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}


async def answer(send: Send, status: int, headers: Mapping[bytes, bytes], body: bytes = b"") -> None:
    fields = [*_ALWAYS.items(), *headers.items(), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
