"""The unmodified `openai` package against a served appliance with real models."""

from __future__ import annotations

import base64
import io
import wave

import openai
import pytest
from openai import OpenAI

from tests.recordings import shared, telephone_call
from tests.served import Served

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module")
def client(served: Served) -> OpenAI:
    return OpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=0)


def test_json(client: OpenAI) -> None:
    answer = client.audio.transcriptions.create(file=telephone_call(), model="whisper-1")
    assert "New Jersey" in answer.text
    assert answer.usage is not None
    assert answer.usage.type == "duration"
    assert answer.usage.seconds == pytest.approx(30, abs=1)


@pytest.mark.parametrize(("response_format", "start"), [("text", ""), ("srt", "1\n00:00:"), ("vtt", "WEBVTT")])
def test_documents(client: OpenAI, response_format: str, start: str) -> None:
    answer = client.audio.transcriptions.create(
        file=telephone_call(),
        model="whisper-1",
        response_format=response_format,  # type: ignore[call-overload]
    )
    assert isinstance(answer, str)
    assert answer.startswith(start)
    assert "Jersey" in answer


def test_verbose_json_with_words(client: OpenAI) -> None:
    answer = client.audio.transcriptions.create(
        file=telephone_call(),
        model="whisper-1",
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert answer.language in ("en", "english")
    assert float(answer.duration) == pytest.approx(30, abs=0.1)
    assert answer.words
    assert answer.segments
    assert all(word.start <= word.end for word in answer.words)
    assert " ".join(word.word.strip() for word in answer.words).split() == answer.text.split()
    assert answer.segments[0].tokens
    assert answer.segments[0].avg_logprob < 0


def test_diarized_json(client: OpenAI) -> None:
    answer = client.audio.transcriptions.create(
        file=telephone_call(), model="gpt-4o-transcribe-diarize", response_format="diarized_json", chunking_strategy="auto"
    )
    assert {segment.speaker for segment in answer.segments} == {"A", "B"}
    assert answer.duration == pytest.approx(30, abs=0.1)


def cut_as_data_url(start_s: float, end_s: float) -> str:
    """A piece of the telephone call."""
    piece = io.BytesIO()
    with wave.open(str(telephone_call())) as call, wave.open(piece, "wb") as sample:
        sample.setparams(call.getparams())
        call.setpos(round(start_s * call.getframerate()))
        sample.writeframes(call.readframes(round((end_s - start_s) * call.getframerate())))
    return f"data:audio/wav;base64,{base64.b64encode(piece.getvalue()).decode()}"


def test_known_speakers_are_called_by_name(client: OpenAI) -> None:
    unnamed = client.audio.transcriptions.create(
        file=telephone_call(), model="gpt-4o-transcribe-diarize", response_format="diarized_json"
    )
    longest = max((s for s in unnamed.segments if s.speaker == "B"), key=lambda s: s.end - s.start)
    named = client.audio.transcriptions.create(
        file=telephone_call(),
        model="gpt-4o-transcribe-diarize",
        response_format="diarized_json",
        extra_body={
            "known_speaker_names": ["Diane"],
            "known_speaker_references": [cut_as_data_url(longest.start, min(longest.end, longest.start + 9.0))],
        },
    )
    called = {"A": "A", "B": "Diane"}
    assert [s.speaker for s in named.segments] == [called[s.speaker] for s in unnamed.segments]


def test_stream(client: OpenAI) -> None:
    stream = client.audio.transcriptions.create(file=telephone_call(), model="gpt-4o-transcribe", stream=True)
    events = list(stream)
    deltas = "".join(event.delta for event in events if event.type == "transcript.text.delta")
    done = events[-1]
    assert done.type == "transcript.text.done"
    assert deltas.split() == done.text.split()
    assert "New Jersey" in done.text


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the package's own word on this call
def test_translation(client: OpenAI) -> None:
    answer = client.audio.translations.create(file=shared("misc/aeneas_es.mp3"), model="whisper-1")
    words = set(answer.text.lower().split())
    assert {"the", "of", "and"} <= words


def test_prompt_and_language(client: OpenAI) -> None:
    answer = client.audio.transcriptions.create(
        file=shared("faster_whisper/hotwords.mp3"), model="whisper-1", language="en", prompt="ComfyUI"
    )
    assert "comfy" in answer.text.lower()


def test_models(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert "whisper-base" in names
    assert client.models.retrieve("whisper-base").id == "whisper-base"
    assert client.models.retrieve("whisper-1").id


def test_errors_become_the_client_s_own_exceptions(served: Served, client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.audio.transcriptions.create(file=telephone_call(), model="no-such-model")
    assert unknown.value.param == "model"
    assert "whisper-base" in str(unknown.value)
    with pytest.raises(openai.AuthenticationError):
        OpenAI(base_url=f"{served.url}/v1", api_key="wrong", max_retries=0).models.list()
    with pytest.raises(openai.UnprocessableEntityError) as field:
        client.audio.transcriptions.create(file=telephone_call(), model="whisper-1", extra_body={"colour": "blue"})
    assert field.value.param == "colour"
    with pytest.raises(openai.APIStatusError) as empty:
        client.audio.transcriptions.create(file=("empty.wav", b""), model="whisper-1")
    assert empty.value.status_code == 422
