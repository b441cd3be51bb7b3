"""`POST /v1/transcribe`, with the unmodified `sttai` client and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sttai import AuthError, STTClient, STTError

from appliance.domain import ChannelMode, SpeakerCount
from tests.api.conftest import Api

TEXT = "Good morning. Who is there?"


@pytest.fixture
def stt(api: Api) -> Iterator[STTClient]:
    client = STTClient(api.secret, base_url=api.url)
    yield client
    client._session.close()


@pytest.fixture
def recording(tmp_path: Path, wav: bytes) -> str:
    path = tmp_path / "visit.wav"
    path.write_bytes(wav)
    return str(path)


def send(client: httpx.Client, wav: bytes, **fields: str) -> httpx.Response:
    return client.post("/v1/transcribe", data=fields, files={"file": ("visit.wav", wav)})


def test_the_client_s_own_defaults(stt: STTClient, recording: str) -> None:
    result = stt.transcribe(recording)
    assert result["text"] == TEXT
    assert result["language"] == "en"
    assert result["duration"] == pytest.approx(2.0)
    assert result["model"] == "whisper-base"
    assert isinstance(result["id"], int)
    assert isinstance(result["slug"], str)
    assert [speaker["label"] for speaker in result["speakers"]] == ["SPEAKER_00", "SPEAKER_01"]
    assert result["warnings"] == []
    first = result["segments"][0]
    assert first | {"words": None} == {
        "id": 0,
        "start": 0.0,
        "end": 1.0,
        "text": "Good morning.",
        "speaker": "SPEAKER_00",
        "speaker_name": None,
        "language": "en",
        "channel": None,
        "words": None,
    }
    assert [word["word"] for word in first["words"]] == ["Good", "morning."]


@pytest.mark.parametrize(("response_format", "sign"), [("srt", "-->"), ("vtt", "WEBVTT"), ("text", "Who is there?")])
def test_the_answer_is_json_for_every_format_with_the_document_beside_the_text(
    stt: STTClient, recording: str, response_format: str, sign: str
) -> None:
    result = stt.transcribe(recording, response_format=response_format)
    assert sign in result[response_format]
    assert result["text"] == TEXT


def test_verbose_json_has_the_decoder_s_evidence(stt: STTClient, recording: str) -> None:
    assert "evidence" not in stt.transcribe(recording)["segments"][0]
    assert stt.transcribe(recording, response_format="verbose_json")["segments"][0]["evidence"]["avg_logprob"] == -0.2


@pytest.mark.parametrize(
    ("accept", "media_type", "sign"),
    [
        ("text/plain", "text/plain", "Good morning."),
        ("text/vtt", "text/vtt", "WEBVTT"),
        ("application/x-subrip", "application/x-subrip", "-->"),
    ],
)
def test_a_client_that_accepts_only_a_document_gets_it(
    client: httpx.Client, wav: bytes, accept: str, media_type: str, sign: str
) -> None:
    answer = client.post("/v1/transcribe", files={"file": ("a.wav", wav)}, headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith(media_type)
    assert sign in answer.text


def test_a_browser_s_accept_header_still_means_json(client: httpx.Client, wav: bytes) -> None:
    accept = "text/html,application/xhtml+xml,*/*;q=0.8"
    assert client.post("/v1/transcribe", files={"file": ("a.wav", wav)}, headers={"Accept": accept}).json()["text"] == TEXT


def test_every_option_reaches_the_engine(api: Api, client: httpx.Client, wav: bytes) -> None:
    answer = send(
        client,
        wav,
        model="base",
        languages="en,German",
        task="translate",
        min_speakers="2",
        max_speakers="4",
        hotwords="Ockham, Eindhoven\nTAVR",
        prompt="A visit.",
        temperature="0.4",
        word_timestamps="true",
        priority="high",
        title="A visit",
    )
    assert answer.status_code == 200, answer.text
    options = api.pool.requests[0].options
    assert options.model == "whisper-base"
    assert options.allowed_languages == ("en", "de")
    assert options.task == "translate"
    assert options.diarize
    assert options.speakers == SpeakerCount(at_least=2, at_most=4)
    assert options.hotwords == ("Ockham", "Eindhoven", "TAVR")
    assert options.initial_prompt == "A visit."
    assert options.temperature == 0.4
    assert answer.json()["title"] == "A visit"
    assert answer.json()["priority"] == "high"


def test_separate_channels_and_an_audio_track(api: Api, client: httpx.Client, wav: bytes) -> None:
    assert send(client, wav, channels="separate", audio_track="0").status_code == 200
    assert api.pool.requests[0].options.channels is ChannelMode.SEPARATE
    assert api.pool.requests[0].options.audio_track == 0


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"colour": "blue"}, 422, "colour"),
        ({"diarize": "perhaps"}, 422, "diarize"),
        ({"speakers": "two"}, 422, "speakers"),
        ({"speakers": "2", "diarize": "false"}, 422, "speakers"),
        ({"speakers": "2", "min_speakers": "1"}, 422, "speakers"),
        ({"min_speakers": "5", "max_speakers": "2"}, 422, "min_speakers"),
        ({"channels": "separate", "speakers": "2"}, 422, "speakers"),
        ({"channels": "left"}, 422, "channels"),
        ({"language": "klingon"}, 422, "language"),
        ({"model": "whisper-tiny.en", "language": "de"}, 422, "language"),
        ({"model": "whisper-tiny.en", "task": "translate"}, 422, "task"),
        ({"language": "en", "languages": "de"}, 422, "languages"),
        ({"model": "no-such-model"}, 404, "model"),
        ({"models": "base,no-such-model"}, 404, "model"),
        ({"models": "base,whisper-base"}, 422, "models"),
        ({"models": "base", "model": "base"}, 422, "models"),
        ({"response_format": "docx"}, 422, "response_format"),
        ({"temperature": "2"}, 422, "temperature"),
        ({"audio_track": "-1"}, 422, "audio_track"),
        ({"priority": "urgent"}, 422, "priority"),
        ({"private": "true"}, 422, "private"),
        ({"callback_url": "https://hook.example/x"}, 422, "callback_url"),
        ({"prompt": "x" * 5000}, 422, "prompt"),
        ({"word_timestamps": "sometimes"}, 422, "word_timestamps"),
    ],
)
def test_a_field_that_cannot_be_honoured_is_refused_by_name(
    *, api: Api, client: httpx.Client, wav: bytes, fields: dict[str, str], status: int, param: str
) -> None:
    answer = send(client, wav, **fields)
    body = answer.json()
    assert answer.status_code == status, body
    assert body["param"] == param
    assert {"error", "code", "hint"} <= set(body)
    assert api.services.budget.used_bytes == 0
    assert not api.pool.requests


def test_the_names_that_work_are_said_to_whoever_names_another(stt: STTClient, recording: str) -> None:
    with pytest.raises(STTError, match="whisper-base") as unknown:
        stt.transcribe(recording, model="no-such-model")
    assert unknown.value.status_code == 404


def test_wrong_keys_and_wrong_files_become_the_client_s_exceptions(api: Api, stt: STTClient, tmp_path: Path) -> None:
    with pytest.raises(AuthError, match="not valid"):
        STTClient("wrong", base_url=api.url).models()
    text = tmp_path / "notes.mp3"
    text.write_text("this is no recording " * 100)
    with pytest.raises(STTError) as wrong:
        stt.transcribe(str(text))
    assert wrong.value.status_code == 415


def test_the_same_idempotency_key_gives_the_same_transcript(api: Api, client: httpx.Client, wav: bytes) -> None:
    def again(**more: Any) -> httpx.Response:
        return client.post("/v1/transcribe", files={"file": ("a.wav", wav)}, headers={"Idempotency-Key": "k1"}, **more)

    first, second = again().json(), again().json()
    assert first["id"] == second["id"]
    assert len(api.pool.requests) == 1
    other = again(data={"language": "de"})
    assert other.status_code == 409
    assert other.json()["code"] == "idempotency_mismatch"


def test_an_idempotency_key_must_be_printable(client: httpx.Client, wav: bytes) -> None:
    answer = client.post("/v1/transcribe", files={"file": ("a.wav", wav)}, headers={"Idempotency-Key": "k" * 300})
    assert answer.status_code == 422
    assert answer.json()["param"] == "Idempotency-Key"


def test_models_are_compared_on_one_upload(client: httpx.Client, wav: bytes) -> None:
    result = send(client, wav, models="base,whisper-tiny.en").json()
    assert result["models"] == ["whisper-base", "whisper-tiny.en"]
    assert [version["model"] for version in result["alternatives"]] == ["whisper-tiny.en"]
    assert result["comparison"]
