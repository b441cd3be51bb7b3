"""Who may call what. The rule of every route is walked, so that none can be forgotten."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from appliance.api.access_log import AccessLog
from appliance.api.auth import SCOPE_OF_RULE
from appliance.app import create_app
from appliance.store import Scope
from tests.api.conftest import Api, settings_for

PUBLIC_PATHS = {"/health", "/healthz", "/readyz", "/openapi", "/openapi/openapi.json", "/openapi/{path:str}", "/broken"}
BY_SCOPE = {
    "GET /v1/models": "transcribe",
    "GET /v1/models/whisper-base": "transcribe",
    "GET /v1/languages": "transcribe",
    "POST /v1/transcribe": "transcribe",
    "POST /v1/audio/transcriptions": "transcribe",
    "POST /v1/audio/translations": "transcribe",
    "POST /api/v1/transcripts/": "transcribe",
    "GET /api/v1/transcripts/": "read",
    "GET /api/v1/transcripts/1/": "read",
    "GET /api/v1/transcripts/1/events/": "read",
    "GET /api/v1/transcripts/1/revisions/": "read",
    "GET /api/v1/transcripts/1/export/srt/": "read",
    "PATCH /api/v1/transcripts/1/": "write",
    "PATCH /api/v1/transcripts/1/segments/0/": "write",
    "POST /api/v1/transcripts/1/cancel/": "write",
    "DELETE /api/v1/transcripts/1/": "write",
    "DELETE /api/v1/transcripts/": "write",
    "GET /api/v1/retention/": "read",
    "PUT /api/v1/retention/key_0a/": "write",
    "GET /api/v1/audit/": "admin",
    "GET /api/v1/audit/head/": "admin",
    "GET /api/v1/usage/": "admin",
    "GET /api/v1/usage/head/": "admin",
    "GET /v1/licence": "read",
    "POST /v1/licence": "admin",
    "GET /metrics": "admin",
}


def handlers(app: Litestar) -> list[tuple[str, HTTPRouteHandler]]:
    """Every route with its handler, without the OPTIONS handlers that Litestar adds; those have no rule and so are closed."""
    found = [(route.path, handler) for route in app.routes for handler in getattr(route, "route_handlers", [])]
    return [(path, handler) for path, handler in found if handler.http_methods != {"OPTIONS"} and path != "/forgotten"]


def test_every_route_says_who_may_call_it(api: Api) -> None:
    for path, handler in handlers(api.app):
        rule = handler.opt.get("access")
        assert rule in {"public", *SCOPE_OF_RULE}, f"{path} does not say who may call it"
        assert (rule == "public") == (path in PUBLIC_PATHS), f"{path} is {rule}"


def test_every_route_is_tried_below(api: Api) -> None:
    closed = {path for path, handler in handlers(api.app) if handler.opt["access"] != "public"}
    tried = {line.split()[1].rstrip("/").replace("/1", "/{key:str}").replace("/0", "/{n:int}") for line in BY_SCOPE}
    tried = {path.replace("/export/srt", "/export/{file_format:str}").replace("whisper-base", "{name:path}") for path in tried}
    tried = {path.replace("key_0a", "{owner:str}") for path in tried}
    assert tried == closed


def test_every_route_of_the_whole_appliance_says_who_may_call_it(tmp_path: Path) -> None:
    """Pages included: the application as it is wired for real, not started."""
    app = create_app(settings_for(tmp_path))
    assert isinstance(app, AccessLog)
    assert isinstance(app.wrapped, Litestar)
    for path, handler in handlers(app.wrapped):
        assert handler.opt.get("access") in {"public", *SCOPE_OF_RULE}, f"{path} does not say who may call it"


@pytest.mark.parametrize("line", BY_SCOPE)
def test_nothing_is_answered_without_a_key(api: Api, line: str) -> None:
    method, path = line.split()
    answer = httpx.request(method, api.url + path)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("line", BY_SCOPE)
def test_a_key_without_the_scope_is_refused_and_told_which_it_lacks(api: Api, line: str) -> None:
    method, path = line.split()
    others = [scope for scope in Scope if scope not in (BY_SCOPE[line], Scope.ADMIN)]
    _, secret = api.new_key(*others)
    with api.client(secret) as client:
        answer = client.request(method, path)
    assert answer.status_code == 403
    assert f"'{BY_SCOPE[line]}'" in answer.text


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
