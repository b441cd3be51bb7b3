"""Documents of a transcript over HTTP; what is in them is tested with the exports."""

from __future__ import annotations

import json

import httpx
import pytest

from appliance.api.headers import content_disposition
from tests.api.conftest import Api, until
from tests.api.standins import HOLD
from tests.api.test_transcripts import make, send

MEDIA_TYPES = {"txt": "text/plain", "srt": "application/x-subrip", "vtt": "text/vtt", "json": "application/json", "csv": "text/csv"}


def test_every_format_as_a_download(client: httpx.Client, wav: bytes) -> None:
    made = make(client, wav)
    for file_format, media_type in MEDIA_TYPES.items():
        answer = client.get(f"/api/v1/transcripts/{made['id']}/export/{file_format}/")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith(media_type)
        assert answer.headers["Content-Disposition"].startswith(f'attachment; filename="visit.{file_format}"')
        assert "morning" in answer.text
    assert json.loads(client.get(f"/api/v1/transcripts/{made['slug']}/export/json").text)["version"]


def test_a_subtitle_profile_by_numbers(client: httpx.Client, wav: bytes) -> None:
    url = f"/api/v1/transcripts/{make(client, wav)['id']}/export/srt/"
    assert client.get(url, params={"profile": "max_line_chars=32,max_lines=1"}).status_code == 200
    assert client.get(url, params={"profile": "colour=blue"}).status_code == 422
    assert client.get(url, params={"colour": "blue"}).json()["param"] == "colour"


def test_the_result_of_another_compared_model(client: httpx.Client, wav: bytes) -> None:
    url = f"/api/v1/transcripts/{make(client, wav, models='base,whisper-tiny.en')['id']}/export/json/"
    assert "whisper-tiny.en" in client.get(url, params={"model": "whisper-tiny.en"}).text
    assert client.get(url, params={"model": "whisper-large-v3"}).json()["param"] == "model"


@pytest.mark.parametrize(("file_format", "status"), [("docx", 422), ("pdf", 422), ("exe", 404)])
def test_formats_that_are_not_there(client: httpx.Client, file_format: str, status: int) -> None:
    answer = client.get(f"/api/v1/transcripts/1/export/{file_format}/")
    assert answer.status_code == status
    assert file_format in answer.json()["error"]


def test_an_unfinished_one_has_no_documents(api: Api, client: httpx.Client, wav: bytes) -> None:
    accepted = send(client, wav, prompt=HOLD)
    answer = client.get(f"{accepted['url']}export/txt/")
    assert answer.status_code == 409
    assert answer.json()["code"] == "not_ready"
    api.pool.release()


def test_file_names_of_every_script_and_no_header_can_be_smuggled() -> None:
    assert content_disposition("会議.srt") == "attachment; filename=\"__.srt\"; filename*=UTF-8''%E4%BC%9A%E8%AD%B0.srt"
    assert content_disposition('a"; x="b.txt').startswith('attachment; filename="a_; x=_b.txt"')
    assert "\n" not in content_disposition("a\r\nSet-Cookie: x.txt")


def test_the_other_models_are_the_alternatives(client: httpx.Client, wav: bytes) -> None:
    """Each result once, whichever of them the document is about."""
    url = f"/api/v1/transcripts/{make(client, wav, models='base,whisper-tiny.en')['id']}/export/json/"
    document = client.get(url, params={"model": "whisper-tiny.en"}).json()
    assert document["transcript"]["model"] == "whisper-tiny.en"
    assert [other["model"] for other in document["alternatives"]] == ["whisper-base"]


def test_a_failed_one_has_no_documents_and_says_why(client: httpx.Client) -> None:
    accepted = send(client, b"no recording " * 100)
    assert until(lambda: client.get(accepted["url"]).json()["status"] == "failed")
    answer = client.get(f"{accepted['url']}export/txt/").json()
    assert answer["code"] == "not_ready"
    assert "not a recording in any format" in answer["error"]
    assert "Wait" not in answer["hint"]
