"""Retention rules are seen and set by who may erase what they are about."""

from __future__ import annotations

from datetime import datetime, timedelta

import httpx
import pytest

from appliance.store import Scope
from tests.api.conftest import Api


def test_without_rules_everything_is_kept(client: httpx.Client, wav: bytes) -> None:
    client.post("/v1/transcribe", files={"file": ("a.wav", wav)})
    assert client.get("/api/v1/retention").json() == {"site_days": 0, "results": []}
    [found] = client.get("/api/v1/transcripts").json()["results"]
    assert found["erase_after"] is None


def test_a_rule_shows_in_every_answer_when_its_transcripts_go(api: Api, client: httpx.Client, wav: bytes) -> None:
    client.post("/v1/transcribe", files={"file": ("a.wav", wav)})
    answer = client.put(f"/api/v1/retention/{api.key.id}", json={"days": 30})
    assert answer.status_code == 200
    assert answer.json()["results"] == [{"owner": api.key.id, "days": 30}]
    assert client.get("/api/v1/retention").json()["results"] == [{"owner": api.key.id, "days": 30}]
    [found] = client.get("/api/v1/transcripts").json()["results"]
    whole = client.get(f"/api/v1/transcripts/{found['id']}").json()
    finished_at = datetime.fromisoformat(whole["finished_at"])
    assert datetime.fromisoformat(whole["erase_after"]) == finished_at + timedelta(days=30)
    assert found["erase_after"] == whole["erase_after"]
    assert client.put(f"/api/v1/retention/{api.key.id}", json={"days": None}).json()["results"][0]["days"] == 0
    assert client.get("/api/v1/retention").json()["results"] == []


def test_what_is_due_goes(api: Api, client: httpx.Client, wav: bytes) -> None:
    slug = client.post("/v1/transcribe", files={"file": ("a.wav", wav)}).json()["slug"]
    client.put(f"/api/v1/retention/{api.key.id}", json={"days": 1})
    retention = api.services.store.retention
    assert api.run(retention.erase_due(0)) == 0
    later = datetime.now().astimezone() + timedelta(days=1, seconds=5)
    assert api.run(retention.erase_due(0, later)) == 1
    assert client.get(f"/api/v1/transcripts/{slug}").status_code == 404


@pytest.mark.parametrize("body", [{"days": -1}, {"days": 36_501}, {"days": "soon"}, {}, {"days": 1, "hours": 2}])
def test_a_rule_that_is_none_is_refused(api: Api, client: httpx.Client, body: dict[str, object]) -> None:
    assert client.put(f"/api/v1/retention/{api.key.id}", json=body).status_code == 422


def test_nobody_sets_the_rule_of_somebody_else_but_an_administrator(api: Api, client: httpx.Client) -> None:
    other, _ = api.new_key()
    assert client.put(f"/api/v1/retention/{other.id}", json={"days": 1}).status_code == 404
    _, secret = api.new_key(Scope.READ, Scope.WRITE, Scope.ADMIN)
    with api.client(secret) as admin:
        assert admin.put("/api/v1/retention/key_0000", json={"days": 1}).status_code == 404
        assert admin.put(f"/api/v1/retention/{other.id}", json={"days": 1}).status_code == 200
        assert {"owner": other.id, "days": 1} in admin.get("/api/v1/retention").json()["results"]
        admin.put(f"/api/v1/retention/{other.id}", json={"days": None})
    assert client.get("/api/v1/retention").json()["results"] == []
