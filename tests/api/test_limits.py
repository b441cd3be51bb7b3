"""Inputs at and past every limit: too deep, too large, too long or no text at all is refused with a sentence, never with 500."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from appliance.store import Scope
from tests.api.conftest import Api
from tests.api.people import new_person, signed_in

pytestmark = pytest.mark.slow

HUGE = "9" * 40
DEEP = "[" * 100_000 + "]" * 100_000
LONE_SURROGATE = '"\\ud800"'


@pytest.fixture
def admin(api: Api) -> Iterator[httpx.Client]:
    _, secret = api.new_key(*Scope)
    with api.client(secret) as client:
        yield client


def assert_refused(answer: httpx.Response) -> None:
    assert 400 <= answer.status_code < 500, answer.text[:300]
    assert answer.json()["code"]


@pytest.mark.parametrize(
    "path",
    [
        f"/api/v1/transcripts/{HUGE}",
        f"/api/v1/transcripts/-{HUGE}",
        "/api/v1/transcripts/%00",
        "/api/v1/transcripts/%ff%fe",
        "/api/v1/transcripts/" + "a" * 20_000,
        f"/api/v1/transcripts?limit={HUGE}",
        f"/api/v1/transcripts?offset={HUGE}",
        "/api/v1/transcripts?limit=-1",
        f"/api/v1/audit?after={HUGE}",
        f"/api/v1/audit?limit={HUGE}",
        f"/api/v1/usage?after=-{HUGE}",
    ],
    ids=lambda path: path[:45],
)
def test_addresses_and_queries(admin: httpx.Client, path: str) -> None:
    assert_refused(admin.get(path))


@pytest.mark.parametrize("q", ["%00", "%ff", '"', "*", "a" * 20_000, "(" * 5_000, '" OR "', "NEAR(", "-", "\u202e"])
def test_searches_are_text_whatever_they_hold(admin: httpx.Client, q: str) -> None:
    answer = admin.get(f"/api/v1/transcripts?q={q}")
    assert answer.status_code < 500, answer.text
    assert "results" in answer.json() or answer.json()["code"]


@pytest.mark.parametrize("body", [DEEP, '{"email": ' + DEEP[:90_000], "{", "", "null", "\x00", '{"email": NaN}', '"\udcff"'])
@pytest.mark.parametrize(
    "path", ["/api/v1/session", "/api/v1/setup", "/api/v1/links/look", "/api/v1/password", "/api/v1/shared/x", "/v1/licence"]
)
def test_bodies_that_are_no_json_object(admin: httpx.Client, path: str, body: str) -> None:
    sent = body.encode("utf-8", "surrogateescape")
    assert_refused(admin.post(path, content=sent, headers={"Content-Type": "application/json"}))


@pytest.mark.parametrize("value", [LONE_SURROGATE, '"\\u0000"', f'"{"a" * 100_000}"', HUGE, "1e400", "true", "[]", "{}"])
@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/api/v1/session", '{"email": %s, "password": %s}'),
        ("/api/v1/workspaces", '{"name": %s}'),
        ("/api/v1/me/keys", '{"name": %s, "scopes": ["read"]}'),
        ("/api/v1/invitations", '{"email": %s, "role": "member"}'),
    ],
    ids=lambda part: part[:20],
)
def test_values_that_are_no_names(api: Api, path: str, template: str, value: str) -> None:
    browser = signed_in(api, new_person(api, is_admin=True))
    body = template.replace("%s", value)
    answer = browser.client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code < 500, answer.text
    assert answer.status_code not in (200, 201) or value == LONE_SURROGATE, answer.text
    browser.client.close()


def test_a_body_past_the_limit_is_refused_before_it_is_read(api: Api, client: httpx.Client) -> None:
    """TRAPS 27."""
    answer = client.patch("/api/v1/transcripts/1", content=b" " * (300 * 2**10), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert_refused(answer)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 200_000,
        b"GET /" + b"a" * 200_000,
        b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(20_000)),
    ],
    ids=["a long field", "a long address", "many fields"],
)
def test_a_head_without_an_end_is_cut_off(api: Api, head: bytes) -> None:
    """uvicorn stops to listen at 64 KiB; whoever goes on sending costs no more memory."""
    url = httpx.URL(api.url)
    with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
        try:
            connection.sendall(head)
            answer: Any = connection.recv(4096)
        except ConnectionError:
            return
    assert answer == b"" or b" 400 " in answer.split(b"\r\n")[0]
