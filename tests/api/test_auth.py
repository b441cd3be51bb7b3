"""Keys, and how they are sent. Who may call which route stands in `test_authorisation`."""

from __future__ import annotations

import httpx
import pytest

from appliance.store import Scope
from tests.api.conftest import Api


@pytest.mark.parametrize("header", [None, ""])
def test_nothing_is_answered_without_a_key(api: Api, header: str | None) -> None:
    answer = httpx.get(f"{api.url}/v1/models", headers={} if header is None else {"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_key_without_the_scope_is_refused_and_told_which_it_lacks(api: Api) -> None:
    _, secret = api.new_key(Scope.READ)
    with api.client(secret) as client:
        answer = client.delete("/api/v1/transcripts/1/")
    assert answer.status_code == 403
    assert "'write'" in answer.text


def test_a_route_without_a_rule_is_closed_even_to_administrators(api: Api) -> None:
    _, secret = api.new_key(Scope.ADMIN)
    assert httpx.get(f"{api.url}/forgotten").status_code == 401
    assert httpx.get(f"{api.url}/forgotten", headers={"Authorization": f"Bearer {secret}"}).status_code == 403


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer", "Basic eDp5", "stt_", "Bearer stt_" + "x" * 300])
def test_a_wrong_key_is_refused(api: Api, header: str) -> None:
    answer = httpx.get(f"{api.url}/v1/models", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthorized"


def test_token_works_like_bearer(api: Api) -> None:
    assert httpx.get(f"{api.url}/v1/models", headers={"Authorization": f"Token {api.secret}"}).status_code == 200


def test_a_revoked_key_is_refused_at_once(api: Api) -> None:
    key, secret = api.new_key()
    with api.client(secret) as client:
        assert client.get("/v1/models").status_code == 200
        api.run(api.services.store.keys.revoke(key.id))
        assert client.get("/v1/models").status_code == 401


def test_a_key_in_the_query_is_no_key(api: Api) -> None:
    assert httpx.get(f"{api.url}/v1/models?token={api.secret}").status_code == 401


def test_a_stranger_sees_nothing_and_an_administrator_may_only_erase(api: Api, wav: bytes) -> None:
    with api.client() as client:
        made = client.post("/v1/transcribe", files={"file": ("a.wav", wav)}).json()
    _, stranger = api.new_key()
    _, admin = api.new_key(Scope.ADMIN)
    for secret in (stranger, admin):
        with api.client(secret) as client:
            for address in (made["id"], made["slug"]):
                assert client.get(f"/api/v1/transcripts/{address}/").status_code == 404
                assert client.get(f"/api/v1/transcripts/{address}/export/txt/").status_code == 404
                assert client.post(f"/api/v1/transcripts/{address}/cancel/").status_code == 404
            assert client.get("/api/v1/transcripts/").json()["count"] == 0
    with api.client(stranger) as client:
        assert client.delete(f"/api/v1/transcripts/{made['id']}/").status_code == 404
    with api.client(admin) as client:
        assert client.delete(f"/api/v1/transcripts/{made['id']}/").status_code == 204
