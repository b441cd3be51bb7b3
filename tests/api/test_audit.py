"""The audit log and the usage journal over HTTP: for administrators, as JSON lines that verify without the appliance."""

from __future__ import annotations

import json

import httpx

from appliance.store import Head, Scope, verify
from tests.api.conftest import Api


def administrator(api: Api) -> httpx.Client:
    return api.client(api.new_key(Scope.ADMIN)[1])


def test_what_was_done_stands_in_the_log_without_a_word_of_text(api: Api, client: httpx.Client, wav: bytes) -> None:
    with administrator(api) as admin:
        head = Head.parse(admin.get("/api/v1/audit/head").json()["head"])
        sent = client.post("/v1/transcribe", files={"file": ("secret plans.wav", wav)}).json()
        client.get(f"/api/v1/transcripts/{sent['id']}/export/srt")
        client.delete(f"/api/v1/transcripts/{sent['id']}")
        export = admin.get("/api/v1/audit", params={"after": head.sequence})
    assert export.headers["content-type"].startswith("application/jsonl")
    entries = [json.loads(line) for line in export.text.splitlines()]
    mine = [(entry["event"], entry["actor"]) for entry in entries if entry["subject"] == str(sent["id"])]
    assert mine == [(f"transcript.{verb}", api.key.id) for verb in ("created", "exported", "erased")]
    assert entries[-1]["event"] == "audit.exported"
    assert "secret" not in export.text
    assert "morning" not in export.text
    found = verify(export.content.splitlines(keepends=True))
    assert (found.first, found.head.sequence) == (head.sequence + 1, head.sequence + len(entries))


def test_seconds_are_journalled_for_kept_and_unkept_recordings(api: Api, client: httpx.Client, wav: bytes) -> None:
    with administrator(api) as admin:
        before = admin.get("/api/v1/usage/head").json()["sequence"]
        kept = client.post("/v1/transcribe", files={"file": ("a.wav", wav)}).json()
        client.post("/v1/audio/transcriptions", files={"file": ("a.wav", wav)}, data={"model": "whisper-1"})
        lines = admin.get("/api/v1/usage", params={"after": before}).text.splitlines()
        assert len(admin.get("/api/v1/usage", params={"after": before, "limit": 1}).text.splitlines()) == 1
    entries = [json.loads(line) for line in lines]
    assert [(entry["actor"], entry["subject"]) for entry in entries] == [(api.key.id, str(kept["id"])), (api.key.id, "")]
    assert [entry["facts"]["audio_ms"] for entry in entries] == [2000, 2000]
    assert {entry["facts"]["model"] for entry in entries} == {"whisper-base"}


def test_an_empty_part_is_empty(api: Api) -> None:
    with administrator(api) as admin:
        assert admin.get("/api/v1/usage", params={"after": 999_999_999}).text == ""
        assert admin.get("/api/v1/audit", params={"after": "x"}).status_code == 422
