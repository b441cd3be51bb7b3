"""How long a client may keep a connection waiting: for the head of its request, for the rest of a body that was answered already,
and for taking what it asked for. A body that a handler reads has limits of its own (`api/whole_body.py`, `audio/upload.py`).
"""

from __future__ import annotations

import asyncio
import socket

from uvicorn.protocols.http.h11_impl import H11Protocol

from appliance.tls.front import Asgi, Message, Receive, Scope, Send

OWED_S = 30.0
PIECE_BYTES = 2**16
NOTHING_TAKEN_S = 120  # of what waits to be sent; also of the kernel's own questions whether anybody is there
ASKED_AFTER_S = 60  # of silence: a long wait for a text is one, too, and goes on when the other side answers


class PromptProtocol(H11Protocol):
    """uvicorn's own has a limit between two requests, and none once a byte of the next has come."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def _watch(self) -> None:
        """The client owes a head, or the rest of a body, whenever no answer is owed to it."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(OWED_S, self.timeout_keep_alive_handler)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class InPieces:
    """Hands a large answer over no faster than it is taken. Plain ASGI.

    uvicorn takes an answer that it was given for one that has arrived, and closes the connection soon after; with TLS, what the
    client has not taken half a minute later is then lost. Only `bytes` are cut: pieces are copies, and what
    is wiped must not have any.
    """

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_pieces(message: Message) -> None:
            if message["type"] != "http.response.body" or not isinstance(message.get("body"), bytes):
                await send(message)
                return
            body = message["body"]
            last = max(0, len(body) - 1) // PIECE_BYTES * PIECE_BYTES
            for start in range(0, last, PIECE_BYTES):
                await send({"type": "http.response.body", "body": body[start : start + PIECE_BYTES], "more_body": True})
            await send({**message, "body": body[last:]})

        await self._app(scope, receive, send_pieces)


def let_go_of_the_absent(listener: socket.socket) -> None:
    """Connections inherit it: one whose other side is gone, or takes nothing of what it asked for, is closed by the kernel."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, ASKED_AFTER_S)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ASKED_AFTER_S // 4)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, NOTHING_TAKEN_S * 1000)
