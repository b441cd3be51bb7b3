"""Private transcripts over HTTP: what is handed over, what is kept, and what is refused."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.crypto.encoding import to_base64url
from appliance.crypto.envelope import MIN_ITERATIONS, lock, read_envelope, unlock, write_envelope
from appliance.crypto.sealing import Recipient, result_info
from appliance.store import Scope
from tests.api.conftest import Api, settings_for, start, until
from tests.api.standins import HOLD

PATH = "/api/v1/transcripts/"
PASSWORD = "not stored anywhere"
PRIVATE = {"private": "true", "diarize": "true"}


def send(client: httpx.Client, wav: bytes, **fields: str) -> Any:
    sent = client.post(PATH, data=PRIVATE | fields, files={"file": ("Ward round.wav", wav)})
    assert sent.status_code == 202, sent.text
    return sent.json()


def finished(client: httpx.Client, slug: str) -> Any:
    assert until(lambda: client.get(f"{PATH}{slug}/").json()["status"] not in ("queued", "processing"), 20)
    return client.get(f"{PATH}{slug}/").json()


def made(client: httpx.Client, wav: bytes, **fields: str) -> str:
    """The slug of a private transcript whose result waits in memory."""
    slug = str(send(client, wav, **fields)["slug"])
    record = finished(client, slug)
    assert record["status"] == "completed", record
    return slug


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def envelope_for(client: httpx.Client, slug: str, *, version: int = 1, **changes: Any) -> bytes:
    owner = client.get(f"{PATH}{slug}/private/").json()["owner"]
    about = {"transcript": slug, "owner": owner, "version": version, "iterations": MIN_ITERATIONS} | changes
    return write_envelope(lock(b'{"text": "Good morning."}', PASSWORD, **about))


def put(client: httpx.Client, slug: str, envelope: bytes) -> httpx.Response:
    return client.put(f"{PATH}{slug}/envelope", content=envelope, headers={"Content-Type": "application/json"})


def test_the_result_is_the_document_that_an_export_would_be(client: httpx.Client, wav: bytes) -> None:
    slug = made(client, wav, title="Ward round 4")
    answer = client.get(f"{PATH}{slug}/result/")
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert document["transcript"]["text"] == "Good morning. Who is there?"
    assert [speaker["label"] for speaker in document["transcript"]["speakers"]] == ["SPEAKER_00", "SPEAKER_01"]
    assert (document["slug"], document["title"], document["audio"]["filename"]) == (slug, "Ward round 4", "Ward round.wav")


def test_nothing_of_the_text_is_stored(api: Api, client: httpx.Client, wav: bytes) -> None:
    slug = made(client, wav, hotwords="quinsy", prompt="A round of the ward.")
    record = client.get(f"{PATH}{slug}/").json()
    assert (record["private"], record["text"], record["segments"], record["speakers"]) == (True, None, [], [])
    assert record["options"]["hotwords"] == []
    assert record["options"]["initial_prompt"] is None
    assert record["recording"]["sha256"] == ""
    assert (record["filename"], record["duration"], record["model"]) == ("Ward round.wav", 2.0, "whisper-base")
    assert client.get(f"{PATH}{slug}/private/").json()["language"] == "en"
    data_dir = api.services.settings.database_path.parent
    stored = b"".join(path.read_bytes() for path in data_dir.glob(f"{api.services.settings.database_path.name}*"))
    assert slug.encode() in stored  # it is the right place
    for word in (b"quinsy", b"A round of the ward"):
        assert word not in stored


def test_the_name_is_hidden_on_request(client: httpx.Client, wav: bytes) -> None:
    slug = made(client, wav, hide_name="true", title="Ayşe")
    record = client.get(f"{PATH}{slug}/").json()
    assert (record["filename"], record["title"]) == ("Private recording", "Private recording")
    document = client.get(f"{PATH}{slug}/result/").json()
    assert (document["title"], document["audio"]["filename"]) == ("Ayşe", "Ward round.wav")


def test_nothing_is_told_while_it_is_made(api: Api, client: httpx.Client, wav: bytes) -> None:
    slug = send(client, wav, prompt=HOLD)["slug"]
    assert api.pool.holding.acquire(timeout=20)
    api.pool.release()
    events = client.get(f"{PATH}{slug}/events/").text
    assert "event: done" in events
    assert "morning" not in events
    assert "event: segments" not in events


def test_an_acknowledged_result_is_gone_at_once(api: Api, client: httpx.Client, wav: bytes) -> None:
    slug = made(client, wav)
    record_id = client.get(f"{PATH}{slug}/").json()["id"]
    result = api.services.jobs.held_results.find(record_id)
    assert result is not None
    client.get(f"{PATH}{slug}/result/")
    chunks = list(result.chunks())
    assert b"morning" in chunks[0]
    assert client.post(f"{PATH}{slug}/result/ack").status_code == 204
    assert bytes(chunks[0]).strip(b"\0") == b""
    assert client.post(f"{PATH}{slug}/result/ack").status_code == 204
    assert refusal(client.get(f"{PATH}{slug}/result/")) == (410, "result_gone")
    assert client.get(f"{PATH}{slug}/").json()["status"] == "completed"
    assert client.get(f"{PATH}{slug}/private/").json()["result"] == "gone"


def test_a_result_is_sealed_to_the_browser(client: httpx.Client, wav: bytes) -> None:
    browser = Recipient()
    slug = made(client, wav, seal_to=to_base64url(browser.public_key))
    answer = client.get(f"{PATH}{slug}/result/")
    assert answer.headers["content-type"] == "application/vnd.appliance.sealed-transcript"
    assert b"morning" not in answer.content
    assert json.loads(browser.open(answer.content, result_info(slug)))["transcript"]["text"] == "Good morning. Who is there?"


def test_the_envelope_is_kept_as_it_was_sent(client: httpx.Client, wav: bytes) -> None:
    slug = made(client, wav)
    sent = envelope_for(client, slug)
    assert put(client, slug, sent).json()["envelope_version"] == 1
    got = client.get(f"{PATH}{slug}/envelope/").content
    assert got == sent
    assert unlock(read_envelope(got), PASSWORD) == b'{"text": "Good morning."}'


def test_two_edits_of_one_version_do_not_overwrite_each_other(client: httpx.Client, wav: bytes) -> None:
    slug = made(client, wav)
    first = envelope_for(client, slug)
    assert put(client, slug, first).status_code == 200
    assert refusal(put(client, slug, envelope_for(client, slug))) == (409, "stale_envelope")
    assert refusal(put(client, slug, envelope_for(client, slug, version=3))) == (409, "stale_envelope")
    assert client.get(f"{PATH}{slug}/envelope/").content == first
    assert put(client, slug, envelope_for(client, slug, version=2)).json()["envelope_version"] == 2


def test_an_envelope_that_was_replaced_is_in_no_file(api: Api, client: httpx.Client, wav: bytes) -> None:
    """TRAPS 24: it may have been locked with a password that others know by now."""
    slug = made(client, wav)
    first = envelope_for(client, slug)
    put(client, slug, first)
    put(client, slug, envelope_for(client, slug, version=2))
    ciphertext = read_envelope(first).ciphertext.encode()[:200]
    path = api.services.settings.database_path

    def is_gone() -> bool:
        return not any(ciphertext in file.read_bytes() for file in path.parent.glob(f"{path.name}*"))

    assert until(is_gone)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"transcript": "another"}, {"owner": "person_0000000000000000"}])
def test_an_envelope_bound_to_something_else_is_refused(client: httpx.Client, wav: bytes, changes: dict[str, Any]) -> None:
    slug = made(client, wav)
    assert refusal(put(client, slug, envelope_for(client, slug, **changes))) == (422, "invalid_envelope")


def test_what_is_no_envelope_is_refused(client: httpx.Client, wav: bytes) -> None:
    slug = made(client, wav)
    fields = json.loads(envelope_for(client, slug))
    fields["kdf"]["iterations"] = 1
    for body in (b"", b"{}", json.dumps(fields).encode(), b'{"text": "Good morning."}'):
        assert refusal(put(client, slug, body)) == (422, "invalid_envelope")
    assert refusal(client.get(f"{PATH}{slug}/envelope/")) == (404, "not_found")


def test_a_strangers_envelope_is_refused_before_it_is_received(api: Api) -> None:
    """Else anybody could fill the memory with what is stored nowhere."""
    head = f"PUT {PATH}0123456789abcdefghijkl/envelope HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.secret}\r\n"
    with socket.create_connection(("127.0.0.1", httpx.URL(api.url).port or 0), timeout=5) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {60 * 2**20}\r\n\r\n".encode())
        assert connection.recv(12) == b"HTTP/1.1 404"


def test_nobody_else_comes_near_it(api: Api, client: httpx.Client, wav: bytes) -> None:
    slug = made(client, wav)
    put(client, slug, envelope_for(client, slug))
    for scopes in ((Scope.READ, Scope.WRITE), (Scope.ADMIN,)):
        with api.client(api.new_key(*scopes)[1]) as stranger:
            for path in ("result", "envelope", "private"):
                assert stranger.get(f"{PATH}{slug}/{path}/").status_code == 404
            assert stranger.post(f"{PATH}{slug}/result/ack").status_code == 404
            assert put(stranger, slug, envelope_for(client, slug, version=2)).status_code in (404, 422)
    assert client.get(f"{PATH}{slug}/result/").status_code == 200


def test_what_needs_the_text_is_refused_with_a_reason(client: httpx.Client, wav: bytes) -> None:
    slug = made(client, wav)
    for answer in (
        client.get(f"{PATH}{slug}/export/txt/"),
        client.patch(f"{PATH}{slug}/", json={"revision": 0, "title": "x"}),
        client.patch(f"{PATH}{slug}/", json={"revision": 0, "speakers": {"SPEAKER_00": "Ayşe"}}),
        client.patch(f"{PATH}{slug}/segments/0/", json={"revision": 0, "text": "x"}),
    ):
        assert refusal(answer) == (409, "private_transcript")
    assert client.get(PATH, params={"q": "morning"}).json()["count"] == 0
    assert client.get(PATH, params={"q": "ward"}).json()["count"] == 1  # by its name it is found


def test_calls_that_would_answer_with_the_text_refuse_it(client: httpx.Client, wav: bytes) -> None:
    answer = client.post("/v1/transcribe", data=PRIVATE, files={"file": ("a.wav", wav)})
    assert refusal(answer) == (422, "private_transcript")
    both = {"models": "whisper-base,whisper-tiny.en", "language": "en"}
    answer = client.post(PATH, data=PRIVATE | both, files={"file": ("a.wav", wav)})
    assert refusal(answer) == (422, "not_available")


@pytest.mark.parametrize(
    "fields",
    [{"seal_to": "AAAA"}, {"hide_name": "true"}, {"private": "true", "seal_to": "AAAA"}, {"private": "true", "seal_to": "?"}],
)
def test_fields_that_make_no_sense_are_refused(client: httpx.Client, wav: bytes, fields: dict[str, str]) -> None:
    answer = client.post(PATH, data=fields, files={"file": ("a.wav", wav)})
    assert refusal(answer) == (422, "invalid_field")


def test_an_ordinary_transcript_has_no_private_side(client: httpx.Client, wav: bytes) -> None:
    slug = client.post(PATH, files={"file": ("a.wav", wav)}).json()["slug"]
    finished(client, slug)
    for path in ("result", "envelope", "private"):
        assert refusal(client.get(f"{PATH}{slug}/{path}/")) == (409, "not_private")
    assert refusal(client.post(f"{PATH}{slug}/result/ack")) == (409, "not_private")


def test_sending_twice_gives_the_same_transcript(client: httpx.Client, wav: bytes) -> None:
    def again() -> Any:
        answer = client.post(PATH, data=PRIVATE, files={"file": ("a.wav", wav)}, headers={"Idempotency-Key": "one"})
        assert answer.status_code == 202, answer.text
        return answer.json()["slug"]

    first = again()
    assert again() == first
    assert finished(client, first)["status"] == "completed"
    assert again() == first


def test_erasing_it_wipes_the_result_too(api: Api, client: httpx.Client, wav: bytes) -> None:
    slug = made(client, wav)
    result = api.services.jobs.held_results.find(client.get(f"{PATH}{slug}/").json()["id"])
    assert result is not None
    chunk = result.chunks()[0]
    assert client.delete(f"{PATH}{slug}/").status_code == 204
    assert bytes(chunk).strip(b"\0") == b""


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Api]:
    """Results wait two seconds only."""
    server, api = start(settings_for(tmp_path, private_result_minutes=2 / 60), "whisper-base", "speaker-diarization")
    key, secret = api.new_key()
    yield replace(api, key=key, secret=secret)
    server.stop()


@pytest.mark.slow
def test_a_result_nobody_fetches_ends_plainly(hasty: Api, wav: bytes) -> None:
    with hasty.client() as client:
        kept = made(client, wav)
        assert put(client, kept, envelope_for(client, kept)).status_code == 200
        lost = made(client, wav)
        assert until(lambda: len(hasty.services.jobs.held_results) == 0)
        assert until(lambda: client.get(f"{PATH}{lost}/").json()["status"] == "failed")
        assert client.get(f"{PATH}{lost}/").json()["failure"]["code"] == "result_not_fetched"
        assert refusal(client.get(f"{PATH}{lost}/result/")) == (409, "not_ready")
        assert client.get(f"{PATH}{kept}/").json()["status"] == "completed"  # its envelope is here


@pytest.mark.slow
def test_a_result_that_was_lost_with_the_process_has_failed_after_the_restart(tmp_path: Path, wav: bytes) -> None:
    settings = settings_for(tmp_path)
    server, api = start(settings, "whisper-base", "speaker-diarization")
    with api.client() as client:
        slug = made(client, wav)
    secret, key = api.secret, api.key
    server.stop()
    server, api = start(settings)
    try:
        with api.client(secret) as client:
            assert client.get(f"{PATH}{slug}/").json()["failure"]["code"] == "result_not_fetched", key
    finally:
        server.stop()


def test_it_is_counted_like_any_other(api: Api, client: httpx.Client, wav: bytes) -> None:
    """A licence allows hours of audio; that nobody can read the text makes no difference."""
    before = api.run(api.services.store.usage.head()).sequence
    slug = made(client, wav)
    [entry] = api.run(api.services.store.usage.page(after=before))
    assert (entry.actor, entry.subject) == (api.key.id, str(client.get(f"{PATH}{slug}/").json()["id"]))
    assert entry.facts["audio_ms"] == 2000


def test_erasing_everything_of_mine_wipes_results_that_nobody_fetched(api: Api, client: httpx.Client, wav: bytes) -> None:
    slug = made(client, wav)
    transcript_id = client.get(f"{PATH}{slug}/").json()["id"]
    assert api.services.jobs.held_results.find(transcript_id) is not None
    assert client.delete(PATH, params={"confirm": 1}).status_code == 204
    assert until(lambda: api.services.jobs.held_results.find(transcript_id) is None)
