"""Uploads: in memory only, refused before they are read where that is possible, and gone without a trace when they fail."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from appliance.api.intake import clean_filename, title_of
from tests.api.conftest import Api, settings_for, start, until

MIB = 2**20


def nothing_is_held(api: Api) -> bool:
    return api.services.budget.used_bytes == 0


def open_files() -> list[str]:
    return [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink() and os.path.lexists(link)]


def test_a_large_upload_never_becomes_a_temporary_file(api: Api, client: httpx.Client) -> None:
    """TRAPS 1: Litestar's own parser would have spooled it to `/tmp` after 1 MiB."""
    before = set(open_files())
    during: set[str] = set()

    def body() -> Iterator[bytes]:
        for _ in range(64):
            yield bytes(MIB // 4)
        during.update(open_files())

    answer = client.post("/api/v1/transcripts/", content=body(), headers={"Content-Type": "audio/wav"})
    assert answer.status_code == 202
    opened = {name for name in during if name.startswith("/") and (name not in before or "memfd" in name)}
    assert any(name.startswith("/memfd:") for name in opened)
    assert not [name for name in opened if not name.startswith(("/memfd:", str(api.services.settings.data_dir)))]
    assert until(lambda: nothing_is_held(api))


def test_no_upload_route_has_a_body_parameter(api: Api) -> None:
    """TRAPS 1 and 2: nothing that Litestar would parse itself, and so spool."""
    for route in api.app.routes:
        for handler in getattr(route, "route_handlers", []):
            parameters = handler.parsed_fn_signature.parameters
            assert not {"data", "body"} & set(parameters), f"{route.path} lets Litestar read the body"


def test_uploads_have_no_small_limit_and_other_bodies_do(api: Api, client: httpx.Client) -> None:
    """TRAPS 27: Litestar's default limit is 10 MB."""
    assert client.post("/api/v1/transcripts/", content=bytes(11 * MIB), headers={"Content-Type": "audio/wav"}).status_code == 202
    edit = client.patch("/api/v1/transcripts/1/", content=b" " * MIB, headers={"Content-Type": "application/json"})
    assert edit.status_code == 413
    assert edit.json()["code"] == "body_too_large"
    assert until(lambda: nothing_is_held(api))


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(api: Api) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    head = (
        "POST /v1/transcribe HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {api.secret}\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000000\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    )
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + bytes(MIB))
        assert until(lambda: api.services.budget.used_bytes >= MIB)
    assert until(lambda: nothing_is_held(api))
    assert not api.pool.requests


def test_an_upload_larger_than_all_memory_is_refused_before_it_is_read(api: Api) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    head = (
        "POST /api/v1/transcripts/ HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {api.secret}\r\nContent-Type: audio/wav\r\nContent-Length: {80 * MIB}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")
    assert nothing_is_held(api)


def test_a_full_memory_is_503_with_a_time_to_come_back(api: Api, client: httpx.Client, wav: bytes) -> None:
    budget = api.services.budget
    with budget.reserve(budget.total_bytes - 1000):
        for path in ("/v1/transcribe", "/v1/audio/transcriptions"):
            answer = client.post(path, files={"file": ("a.wav", wav)})
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert "memory_full" in answer.text
    assert client.post("/v1/transcribe", files={"file": ("a.wav", wav)}).status_code == 200
    assert until(lambda: nothing_is_held(api))


@pytest.mark.parametrize("query", ["?colour=blue", "?model=no-such-model", "?language=klingon", "?workspace=workspace_00"])
def test_what_the_query_gives_away_is_refused_before_the_body_is_read(api: Api, query: str) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    head = (
        f"POST /api/v1/transcripts/{query} HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {api.secret}\r\nContent-Type: audio/wav\r\nContent-Length: 1000000\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode())  # and not one byte of the body
        status = connection.recv(100).split()[1]
    assert status in (b"404", b"422")


def test_a_raw_body_is_a_recording_with_its_options_in_the_query(api: Api, client: httpx.Client, wav: bytes) -> None:
    query = {"language": "German", "filename": "visit.wav", "title": "A visit"}
    answer = client.post("/api/v1/transcripts/", params=query, content=wav, headers={"Content-Type": "audio/wav"})
    made = client.get(f"/api/v1/transcripts/{answer.json()['id']}/").json()
    assert made["title"] == "A visit"
    assert made["recording"]["filename"] == "visit.wav"
    assert made["options"]["language"] == "de"


def test_a_body_of_unknown_length_is_taken(client: httpx.Client, wav: bytes) -> None:
    answer = client.post("/v1/transcribe", content=iter([wav[:1000], wav[1000:]]), headers={"Content-Type": "audio/wav"})
    assert answer.status_code == 200


def test_a_recording_sent_as_curl_sends_it_by_default_is_taken(client: httpx.Client, wav: bytes) -> None:
    answer = client.post("/api/v1/transcripts/", content=wav, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status_code == 202


def test_a_body_of_another_kind_is_415_and_says_what_to_send(client: httpx.Client) -> None:
    answer = client.post("/v1/transcribe", json={"model": "base"})
    assert answer.status_code == 415
    assert "multipart/form-data" in answer.json()["hint"]


def test_a_form_without_a_file(api: Api, client: httpx.Client) -> None:
    answer = client.post("/v1/transcribe", files={"model": (None, "base")})
    assert answer.status_code == 422
    assert answer.json()["code"] == "missing_file"
    assert nothing_is_held(api)


def test_an_empty_file(api: Api, client: httpx.Client) -> None:
    answer = client.post("/v1/transcribe", files={"file": ("a.wav", b"")})
    assert answer.status_code == 422
    assert answer.json()["code"] == "empty_file"
    assert nothing_is_held(api)


def test_text_that_is_called_mp3(api: Api, client: httpx.Client) -> None:
    answer = client.post("/v1/transcribe", files={"file": ("talk.mp3", b"this is no recording " * 100)})
    assert answer.status_code == 415
    assert answer.json()["code"] == "unsupported_media"
    assert until(lambda: nothing_is_held(api))


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("talk.mp3", "talk.mp3"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\me\\talk.mp3", "talk.mp3"),
        ("../../x.wav", "x.wav"),
        ("a\r\nSet-Cookie: b.wav", "aSet-Cookie: b.wav"),
        ("", "recording"),
        ("..", "recording"),
        ("会議.m4a", "会議.m4a"),
        ("x" * 500, "x" * 200),
    ],
)
def test_file_names_are_bare_names(name: str, kept: str) -> None:
    assert clean_filename(name) == kept


def test_a_title_is_the_file_name_without_its_ending() -> None:
    assert title_of("Board meeting 2026-11-22.m4a") == "Board meeting 2026-11-22"
    assert title_of(".wav") == ".wav"


@pytest.fixture
def without_default(tmp_path: Path) -> Iterator[Api]:
    """A site whose own default model is not installed."""
    server, api = start(settings_for(tmp_path, default_model="whisper-tiny.en"), "whisper-base")
    yield api
    server.stop()


def test_the_default_model_does_not_matter_to_a_form_that_names_another(without_default: Api, wav: bytes) -> None:
    """Neither whether it is installed, nor which languages it knows."""
    with without_default.client() as client:
        for path in ("/v1/transcribe", "/v1/audio/transcriptions"):
            query = {"language": "de"}
            answer = client.post(path, params=query, data={"model": "whisper-base"}, files={"file": ("a.wav", wav)})
            assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("query", ["?colour=blue", "?model=no-such-model", "?language=klingon"])
def test_a_form_is_not_read_either_when_its_query_is_wrong(api: Api, query: str) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/transcribe{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.secret}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode())  # and not one byte of the body
        assert connection.recv(100).split()[1] in (b"404", b"422")
