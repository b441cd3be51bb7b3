"""The transcripts resource: sent, listed, read, corrected, cancelled, erased."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from appliance.store import Scope
from appliance.store.database import connect
from tests.api.conftest import Api, until
from tests.api.people import new_person
from tests.api.standins import HOLD

TEXT = "Good morning. Who is there?"


def make(client: httpx.Client, wav: bytes, **fields: str) -> dict[str, Any]:
    """A finished transcript."""
    answer = client.post("/v1/transcribe", data=fields, files={"file": ("visit.wav", wav)})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def send(client: httpx.Client, wav: bytes, **fields: str) -> dict[str, Any]:
    """An accepted recording."""
    answer = client.post("/api/v1/transcripts/", data=fields, files={"file": ("visit.wav", wav)})
    assert answer.status_code == 202, answer.text
    accepted: dict[str, Any] = answer.json()
    return accepted


def test_the_answer_to_an_upload_says_where_to_look(client: httpx.Client, wav: bytes) -> None:
    accepted = send(client, wav)
    assert set(accepted) == {"id", "slug", "status", "url", "events_url"}
    assert accepted["status"] in ("queued", "processing", "completed")
    assert until(lambda: client.get(accepted["url"]).json()["status"] == "completed")
    assert client.get(accepted["url"]).json()["text"] == TEXT


@pytest.mark.parametrize("end", ["/", ""])
def test_id_and_slug_address_it_with_and_without_a_last_slash(client: httpx.Client, wav: bytes, end: str) -> None:
    made = make(client, wav)
    for key in (made["id"], made["slug"]):
        assert client.get(f"/api/v1/transcripts/{key}{end}").json()["text"] == TEXT
    assert client.get(f"/api/v1/transcripts{end}").json()["count"] == 1


def test_the_whole_transcript(client: httpx.Client, wav: bytes) -> None:
    made = client.get(f"/api/v1/transcripts/{make(client, wav, diarize='true')['id']}").json()
    assert made["status"] == "completed"
    assert made["recording"]["filename"] == "visit.wav"
    assert made["recording"]["sample_rate_hz"] == 16_000
    assert made["options"]["model"] == "whisper-base"
    assert made["segments"][1]["speaker"] == "SPEAKER_01"
    assert made["segments"][1]["words"][0] == {
        "word": "Who",
        "start": 1.0,
        "end": pytest.approx(4 / 3),
        "probability": 0.9,
        "speaker": "SPEAKER_01",
        "space_before": True,
    }
    assert made["progress"] is None
    assert made["failure"] is None
    assert made["created_at"].endswith(("Z", "+00:00"))


@pytest.mark.parametrize("key", ["999999999", "no-such-slug", "-1", "0"])
def test_what_is_not_there_is_404(client: httpx.Client, key: str) -> None:
    answer = client.get(f"/api/v1/transcripts/{key}/")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


def test_pages_have_absolute_links(client: httpx.Client, wav: bytes) -> None:
    ids = [make(client, wav)["id"] for _ in range(3)]
    first = client.get("/api/v1/transcripts/", params={"limit": 2, "status": "completed"}).json()
    assert first["count"] == 3
    assert first["previous"] is None
    assert [result["id"] for result in first["results"]] == ids[:0:-1]
    second = client.get(first["next"]).json()
    assert [result["id"] for result in second["results"]] == ids[:1]
    assert second["next"] is None
    assert client.get(second["previous"]).json()["results"] == first["results"]
    assert "text" not in first["results"][0]


def test_a_search_has_an_end(client: httpx.Client) -> None:
    """More words than the database takes in one statement."""
    assert client.get("/api/v1/transcripts/", params={"q": "a " * 490}).status_code == 200
    answer = client.get("/api/v1/transcripts/", params={"q": "a " * 1500})
    assert (answer.status_code, answer.json()["code"], answer.json()["param"]) == (422, "invalid_field", "q")


def test_search_and_status(client: httpx.Client, wav: bytes) -> None:
    made = make(client, wav, title="A visit")
    found = client.get("/api/v1/transcripts/", params={"q": "morning"}).json()
    assert [result["id"] for result in found["results"]] == [made["id"]]
    assert found["results"][0]["snippets"][0]["text"] == "Good morning."
    assert client.get("/api/v1/transcripts/", params={"q": "afternoon"}).json()["count"] == 0
    assert client.get("/api/v1/transcripts/", params={"status": "failed,cancelled"}).json()["count"] == 0


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "1000"}, {"offset": "-1"}, {"status": "done"}, {"page": "2"}])
def test_a_list_query_that_makes_no_sense_is_refused_by_name(client: httpx.Client, query: dict[str, str]) -> None:
    answer = client.get("/api/v1/transcripts/", params=query)
    assert answer.status_code == 422
    assert answer.json()["param"] == next(iter(query))


def test_a_document_is_not_waited_for_here(client: httpx.Client, wav: bytes) -> None:
    answer = client.post("/api/v1/transcripts/", data={"response_format": "srt"}, files={"file": ("a.wav", wav)})
    assert answer.status_code == 422
    assert "export/srt" in answer.json()["hint"]


# --- editing ----------------------------------------------------------------------------------------------------------


def test_titles_and_speaker_names(client: httpx.Client, wav: bytes) -> None:
    made = make(client, wav, diarize="true")
    edit = {"revision": made["revision"], "title": "Round", "speakers": {"SPEAKER_00": "Dr. Ito"}}
    edited = client.patch(f"/api/v1/transcripts/{made['id']}/", json=edit).json()
    assert edited["title"] == "Round"
    assert edited["speakers"][0] == {"label": "SPEAKER_00", "name": "Dr. Ito"}
    assert edited["segments"][0]["speaker_name"] == "Dr. Ito"
    assert edited["revision"] > made["revision"]
    unnamed = client.patch(
        f"/api/v1/transcripts/{made['id']}/", json={"revision": edited["revision"], "speakers": {"SPEAKER_00": None}}
    ).json()
    assert unnamed["speakers"][0]["name"] is None


def test_a_segment_is_corrected_and_the_revision_remembers(client: httpx.Client, wav: bytes) -> None:
    made = make(client, wav, diarize="true")
    url = f"/api/v1/transcripts/{made['slug']}"
    edited = client.patch(f"{url}/segments/0/", json={"revision": made["revision"], "text": "Good evening."}).json()
    assert edited["segments"][0]["text"] == "Good evening."
    assert edited["text"] == "Good evening. Who is there?"
    assert [word["word"] for word in edited["segments"][0]["words"]] == ["Good", "evening."]
    moved = client.patch(f"{url}/segments/0/", json={"revision": edited["revision"], "speaker": "SPEAKER_01"}).json()
    assert moved["segments"][0]["speaker"] == "SPEAKER_01"
    revisions = client.get(f"{url}/revisions/").json()["results"]
    assert revisions[0]["segment"]["text"] == "Good morning."
    assert len(revisions) == 2


def test_an_edit_of_an_older_revision_is_409(client: httpx.Client, wav: bytes) -> None:
    made = make(client, wav)
    url = f"/api/v1/transcripts/{made['id']}/"
    assert client.patch(url, json={"revision": made["revision"], "title": "One"}).status_code == 200
    stale = client.patch(url, json={"revision": made["revision"], "title": "Two"})
    assert stale.status_code == 409
    assert stale.json()["code"] == "stale_revision"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("", {"revision": 0, "colour": "blue"}, "colour"),
        ("", {"title": "x"}, "revision"),
        ("", {"revision": "one", "title": "x"}, "revision"),
        ("", {"revision": 0}, "body"),
        ("", {"revision": 0, "title": "x" * 500}, "title"),
        ("segments/0/", {"revision": 0, "txt": "x"}, "txt"),
        ("segments/0/", {"revision": 0, "text": 5}, "text"),
    ],
)
def test_an_edit_that_is_not_understood_is_refused_by_name(
    client: httpx.Client, path: str, body: dict[str, Any], param: str
) -> None:
    answer = client.patch(f"/api/v1/transcripts/1/{path}", json=body)
    assert answer.status_code == 422
    assert answer.json()["param"] == param


def test_an_edit_must_be_json(client: httpx.Client) -> None:
    assert client.patch("/api/v1/transcripts/1/", data={"title": "x"}).status_code == 415
    broken = client.patch("/api/v1/transcripts/1/", content=b"{", headers={"Content-Type": "application/json"})
    assert broken.status_code == 422


# --- ending -----------------------------------------------------------------------------------------------------------


def test_a_running_one_is_cancelled(api: Api, client: httpx.Client, wav: bytes) -> None:
    accepted = send(client, wav, prompt=HOLD)
    assert api.pool.holding.acquire(timeout=10)
    running = client.get(accepted["url"]).json()
    assert running["status"] == "processing"
    assert running["text"] is None
    assert running["segments"] == []
    assert 0 <= running["progress"]["fraction"] < 1
    cancelled = client.post(f"{accepted['url']}cancel/")
    assert cancelled.status_code == 202
    assert cancelled.json()["status"] == "cancelled"
    assert api.pool.cancelled.acquire(timeout=10)
    assert client.post(f"{accepted['url']}cancel/").json()["status"] == "cancelled"
    assert until(lambda: api.services.budget.used_bytes == 0)


def test_who_may_write_and_not_read_learns_nothing_of_what_was_sent(api: Api, client: httpx.Client, wav: bytes) -> None:
    """A key for a program that cancels and erases: what its answers hold is no way around the scope."""
    person = new_person(api)
    keys = api.services.store.keys
    _, sends = api.run(keys.create("sends", (Scope.TRANSCRIBE, Scope.READ), None, person.id))
    _, writes = api.run(keys.create("writes", (Scope.WRITE,), None, person.id))
    with api.client(sends) as sender, api.client(writes) as writer:
        done = sender.post("/v1/transcribe", files={"file": ("Budget.wav", wav)}).json()
        path = f"/api/v1/transcripts/{done['id']}"
        for answer in (
            writer.patch(path, json={"revision": 1, "title": "Mine"}),
            writer.patch(f"{path}/segments/0", json={"revision": 1, "text": "Hello."}),
            writer.post(f"{path}/shares", json={}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
            assert "'read'" in answer.json()["error"]
        sent = sender.post("/api/v1/transcripts/", data={"prompt": HOLD}, files={"file": ("Budget.wav", wav)}).json()
        assert api.pool.holding.acquire(timeout=10)
        cancelled = writer.post(f"{sent['url']}cancel")
        assert (cancelled.status_code, cancelled.json()["title"], cancelled.json()["filename"]) == (202, "", "")
        assert "Budget" not in cancelled.text
        assert sender.get(sent["url"]).json()["title"] == "Budget"
        assert writer.delete(path).status_code in (202, 204)


def test_a_finished_one_cannot_be_cancelled(client: httpx.Client, wav: bytes) -> None:
    answer = client.post(f"/api/v1/transcripts/{make(client, wav)['id']}/cancel/")
    assert answer.status_code == 409
    assert answer.json()["code"] == "already_ended"


def test_erasing(client: httpx.Client, wav: bytes) -> None:
    url = f"/api/v1/transcripts/{make(client, wav)['id']}/"
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404
    assert client.delete(url).status_code == 404
    assert client.get("/api/v1/transcripts/", params={"q": "morning"}).json()["count"] == 0


def test_erasing_a_running_one_cancels_it(api: Api, client: httpx.Client, wav: bytes) -> None:
    accepted = send(client, wav, prompt=HOLD)
    assert api.pool.holding.acquire(timeout=10)
    assert client.delete(accepted["url"]).status_code == 204
    assert api.pool.cancelled.acquire(timeout=10)
    assert client.get(accepted["url"]).status_code == 404


def test_a_client_that_stops_waiting_finds_its_transcript_later(api: Api, client: httpx.Client, wav: bytes) -> None:
    with api.left_waiting("/v1/transcribe", wav):
        pass
    api.pool.release()
    assert until(lambda: client.get("/api/v1/transcripts/", params={"status": "completed"}).json()["count"] == 1)


def test_a_failed_one_keeps_its_reason(client: httpx.Client) -> None:
    answer = client.post("/api/v1/transcripts/", files={"file": ("talk.mp3", b"no recording " * 100)})
    url = answer.json()["url"]
    assert until(lambda: client.get(url).json()["status"] == "failed")
    assert client.get(url).json()["failure"]["code"] == "unsupported_media"


def test_everything_of_mine_goes_when_i_know_how_much_that_is(api: Api, client: httpx.Client, wav: bytes) -> None:
    """A number instead of a word: what was sent in meanwhile is not erased unseen."""
    for _ in range(2):
        client.post("/v1/transcribe", files={"file": ("a.wav", wav)})
    _, other_secret = api.new_key()
    with api.client(other_secret) as other:
        kept = other.post("/v1/transcribe", files={"file": ("a.wav", wav)}).json()["id"]
        for wrong in ({}, {"confirm": 1}, {"confirm": 3}):
            refusal = client.delete("/api/v1/transcripts", params=wrong)
            assert (refusal.status_code, refusal.json()["code"]) == (409, "not_confirmed")
        assert "?confirm=2" in refusal.json()["hint"]
        assert client.get("/api/v1/transcripts").json()["count"] == 2
        assert client.delete("/api/v1/transcripts", params={"confirm": 2}).status_code == 204
        assert client.get("/api/v1/transcripts").json()["count"] == 0
        assert other.get(f"/api/v1/transcripts/{kept}").status_code == 200
    assert client.delete("/api/v1/transcripts", params={"confirm": 0}).status_code == 204


def test_erasing_everything_ends_what_runs(api: Api, client: httpx.Client, wav: bytes) -> None:
    sent = client.post("/api/v1/transcripts/", files={"file": ("a.wav", wav)}, data={"prompt": HOLD}).json()
    assert api.pool.holding.acquire(timeout=10)
    assert client.delete("/api/v1/transcripts", params={"confirm": 1}).status_code == 204
    assert api.pool.cancelled.acquire(timeout=10)
    assert client.get(f"/api/v1/transcripts/{sent['id']}").status_code == 404


@pytest.mark.slow
def test_a_reader_of_the_database_delays_the_end_of_an_erasure(api: Api, client: httpx.Client, wav: bytes) -> None:
    """TRAPS 24: 204 only when no word is left; until then 202, and out of sight."""
    sent = client.post("/v1/transcribe", files={"file": ("a.wav", wav)}).json()
    reader = connect(api.services.settings.database_path, read_only=True)
    reader.conn.execute("BEGIN")
    reader.conn.execute("SELECT count(*) FROM transcripts").fetchone()
    answer = client.delete(f"/api/v1/transcripts/{sent['id']}")
    assert (answer.status_code, answer.json()) == (202, {"status": "erasing"})
    assert client.get(f"/api/v1/transcripts/{sent['id']}").status_code == 404
    reader.close()
    assert until(lambda: api.run(api.services.store.erasures.finish()))
