"""Bodies that are no recordings: they must arrive in time, and large ones in memory that is counted."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from appliance.api import whole_body
from tests.api.conftest import Api, until
from tests.api.test_private import PATH, envelope_for, made, put

MIB = 2**20


@contextmanager
def begun(api: Api, method: str, path: str, n_bytes: int, first: bytes = b"{") -> Iterator[socket.socket]:
    """A request whose head has arrived, and of its body the first bytes."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.secret}\r\n"
    with socket.create_connection(("127.0.0.1", httpx.URL(api.url).port or 0), timeout=10) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {n_bytes}\r\n\r\n".encode() + first)
        yield connection


def all_of(connection: socket.socket) -> bytes:
    """To the end of the connection."""
    return b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/v1/session"), ("POST", "/api/v1/links/look"), ("PATCH", PATH + "1")])
def test_a_body_that_does_not_come_is_not_waited_for(api: Api, monkeypatch: pytest.MonkeyPatch, method: str, path: str) -> None:
    monkeypatch.setattr(whole_body, "IN_TIME_S", 0.1)
    with begun(api, method, path, 100) as connection:
        answer = all_of(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in answer.lower()
    assert b'"code":"body_too_slow"' in answer
    assert b"send it again" in answer


def test_an_envelope_that_does_not_come_is_not_waited_for_and_frees_its_memory(
    api: Api, client: httpx.Client, wav: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug = made(client, wav)
    client.post(f"{PATH}{slug}/result/ack")
    assert until(lambda: api.services.budget.used_bytes == 0)
    monkeypatch.setattr(whole_body, "IN_TIME_S", 0.1)
    monkeypatch.setattr(whole_body, "SLOWEST_BYTES_PER_S", 2**30)
    with begun(api, "PUT", f"{PATH}{slug}/envelope", 20 * MIB) as connection:
        assert all_of(connection).startswith(b"HTTP/1.1 408")
    assert until(lambda: api.services.budget.used_bytes == 0)


def test_large_bodies_at_once_do_not_take_more_than_the_memory_there_is(api: Api, client: httpx.Client, wav: bytes) -> None:
    """Three copies of each are counted, and the budget of these tests has 64 MiB."""
    slug = made(client, wav)
    envelope, path = envelope_for(client, slug), f"{PATH}{slug}/envelope"
    client.post(f"{PATH}{slug}/result/ack")
    with begun(api, "PUT", path, 20 * MIB) as first:
        assert until(lambda: api.services.budget.used_bytes == 60 * MIB)
        with begun(api, "PUT", path, 20 * MIB) as second:
            answer = second.recv(4096)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: " in answer.lower()
        assert put(client, slug, envelope).status_code == 200  # a small one has room
        first.shutdown(socket.SHUT_RDWR)
    assert until(lambda: api.services.budget.used_bytes == 0)


def test_a_large_body_of_unknown_length_is_counted_as_it_comes(api: Api, client: httpx.Client, wav: bytes) -> None:
    slug = made(client, wav)
    client.post(f"{PATH}{slug}/result/ack")
    pieces = (b" " * MIB for _ in range(40))
    answer = client.put(f"{PATH}{slug}/envelope", content=pieces, headers={"Content-Type": "application/json"})
    assert answer.status_code in (413, 503)
    assert until(lambda: api.services.budget.used_bytes == 0)


def test_a_declared_length_beyond_the_limit_is_refused_unread(api: Api, client: httpx.Client, wav: bytes) -> None:
    slug = made(client, wav)
    client.post(f"{PATH}{slug}/result/ack")
    with begun(api, "PUT", f"{PATH}{slug}/envelope", 65 * MIB) as connection:
        assert connection.recv(12) == b"HTTP/1.1 413"
