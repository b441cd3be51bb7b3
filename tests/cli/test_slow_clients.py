"""Whoever keeps a connection waiting loses it: within a head, within a body that was answered already, or by taking nothing."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvicorn
from uvicorn.server import ServerState

from appliance.app import create_app
from appliance.cli import slow_clients
from appliance.cli.serve import listening_socket, redirect_server, server_config
from appliance.cli.slow_clients import InPieces, PromptProtocol
from appliance.tls import open_door
from appliance.tls.front import Receive, Scope, Send, answer
from tests.tls.conftest import settings_in

GOODBYE_S = 0.3
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "OWED_S", GOODBYE_S)


async def slow_answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Longer in coming than any client may be."""
    await asyncio.sleep(GOODBYE_S * 3)
    await answer(send, 200, {}, b"the text")


async def early_answer(scope: Scope, receive: Receive, send: Send) -> None:
    """As refusals are: before the body was read."""
    await answer(send, 401, {}, b"no")


async def heard(app: object, *sent: bytes, pause_s: float = 0.0) -> tuple[bytes, float]:
    """What a client gets that sends these, with pauses, and then waits for the connection to end; and after how long it did."""
    config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_keep_alive=60)  # type: ignore[arg-type]
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(lambda: PromptProtocol(config, state, {}), "127.0.0.1", 0)
    async with server, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        began = time.monotonic()
        try:
            for piece in sent:
                writer.write(piece)
                await asyncio.sleep(pause_s)
            return await reader.read(), time.monotonic() - began
        finally:
            writer.close()
            await writer.wait_closed()


@pytest.mark.slow
@pytest.mark.parametrize("sent", [(), (b"G",), (HEAD,), (HEAD, b"A: b\r\n", b"C: d\r\n", b"E: f\r\n")], ids=len)
def test_a_head_that_does_not_end_is_not_waited_for(sent: tuple[bytes, ...]) -> None:
    """Neither does a little of it now and then help."""
    received, _ = asyncio.run(heard(early_answer, *sent, pause_s=GOODBYE_S / 3))
    assert received == b""


def test_neither_is_the_head_of_a_second_request() -> None:
    received, _ = asyncio.run(heard(early_answer, HEAD + b"\r\n", b"GET", pause_s=GOODBYE_S / 4))
    assert received.count(b"HTTP/1.1 401") == 1


def test_the_rest_of_a_body_is_not_waited_for_after_the_answer() -> None:
    body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    received, _ = asyncio.run(heard(early_answer, body, b"a", b"b", b"c", pause_s=GOODBYE_S / 4))
    assert received.startswith(b"HTTP/1.1 401")


@pytest.mark.slow
def test_a_client_may_wait_for_its_answer_as_long_as_that_takes() -> None:
    received, after_s = asyncio.run(heard(slow_answer, HEAD + b"Connection: close\r\n\r\n"))
    assert received.endswith(b"the text")
    assert after_s >= GOODBYE_S * 3


@pytest.mark.slow
def test_requests_one_after_another_are_all_answered() -> None:
    """The time for a head begins anew with each."""
    received, _ = asyncio.run(heard(early_answer, *[HEAD + b"\r\n"] * 5, pause_s=GOODBYE_S / 3))
    assert received.count(b"HTTP/1.1 401") == 5


LARGE = bytes(24 * 2**20)  # more than the kernel takes off our hands


async def large_answer(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, 200, {}, LARGE)


async def taken_late(app: object) -> bytes:
    """What comes over TLS to a client that begins to read when everything was long over for a server that does not wait."""
    authority = trustme.CA()
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(ours)
    authority.configure_trust(theirs)
    config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_keep_alive=0)  # type: ignore[arg-type]
    state, loop = ServerState(), asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: PromptProtocol(config, state, {}), "127.0.0.1", 0, ssl=ours, ssl_shutdown_timeout=GOODBYE_S / 3
    )
    async with server, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=theirs, server_hostname="localhost", limit=2**16
        )
        writer.write(HEAD + b"\r\n")
        await asyncio.sleep(GOODBYE_S * 2)
        received = await reader.read()
        writer.close()
        return received


@pytest.mark.slow
def test_a_large_answer_arrives_whole_at_a_client_that_takes_its_time() -> None:
    assert asyncio.run(taken_late(InPieces(large_answer))).endswith(LARGE)


@pytest.mark.parametrize("body", [b"", b"a", bytes(2**16), bytes(2**16 + 1), bytearray(2**17)], ids=len)
def test_pieces_are_the_whole_and_the_end_is_said_once(body: bytes | bytearray) -> None:
    sent: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(InPieces(app)({}, None, send))
    assert b"".join(message["body"] for message in sent) == body
    assert [message["more_body"] for message in sent] == [True] * (len(sent) - 1) + [False]
    assert len(sent) == (1 if isinstance(body, bytearray) else max(1, -(-len(body) // 2**16)))


def test_both_ports_keep_to_it(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, tls="off")
    door = open_door(settings)
    main, plain = server_config(create_app(settings), door), redirect_server(door, 8443).config
    main.load()
    assert main.http_protocol_class is plain.http_protocol_class is PromptProtocol


@pytest.mark.slow
def test_who_takes_nothing_of_what_was_asked_for_loses_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "NOTHING_TAKEN_S", 1)
    with listening_socket("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()) as client, closing(listener.accept()[0]) as served:
            client.settimeout(30)
            served.settimeout(30)
            with pytest.raises((ConnectionError, TimeoutError)) as caught:
                served.sendall(bytes(2**28))
            assert caught.value.errno  # it is the kernel that has given up, and not this test
