"""The unmodified `sttai` package against a served appliance with real models."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sttai import AuthError, STTClient, STTError

from tests.recordings import telephone_call
from tests.served import Served

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[STTClient]:
    client = STTClient(served.key, base_url=served.url)
    yield client
    client._session.close()


def test_transcribe_with_the_client_s_own_defaults(client: STTClient) -> None:
    """The stock client asks for model large-v3-turbo with diarization; a bare appliance answers with its own model."""
    result = client.transcribe(str(telephone_call()))
    assert "New Jersey" in result["text"]
    assert result["language"] == "en"
    assert result["duration"] == pytest.approx(30, abs=0.1)
    assert result["model"] == "whisper-base"
    assert len(result["speakers"]) == 2
    assert all(segment["speaker"] for segment in result["segments"])
    assert isinstance(result["warnings"], list)
    assert isinstance(result["id"], int)
    assert isinstance(result["slug"], str)


@pytest.mark.parametrize(("response_format", "sign"), [("srt", "-->"), ("vtt", "WEBVTT"), ("text", "Jersey")])
def test_a_document_stands_beside_the_text(client: STTClient, response_format: str, sign: str) -> None:
    result = client.transcribe(str(telephone_call()), model="base", diarize=False, response_format=response_format)
    assert sign in result[response_format]
    assert "Jersey" in result["text"]


def test_transcribe_url(client: STTClient) -> None:
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(telephone_call().parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{site.server_port}/{telephone_call().name}"
        result = client.transcribe_url(url, model="base", language="en", diarize=False)
        site.shutdown()
    assert "Jersey" in result["text"]


def test_models_languages_health(client: STTClient) -> None:
    assert any(model["id"] == "whisper-base" for model in client.models()["models"])
    assert {"code": "en", "name": "English"} in client.languages()["languages"]
    assert client.health()["status"] == "ok"


def test_errors_become_the_client_s_own_exceptions(served: Served, client: STTClient, tmp_path: Path) -> None:
    with pytest.raises(AuthError):
        STTClient("wrong", base_url=served.url).models()
    with pytest.raises(STTError, match="whisper-base") as unknown:
        client.transcribe(str(telephone_call()), model="no-such-model")
    assert unknown.value.status_code == 404
    text = tmp_path / "notes.mp3"
    text.write_text("this is no recording " * 100)
    with pytest.raises(STTError) as wrong:
        client.transcribe(str(text), diarize=False)
    assert wrong.value.status_code == 415
