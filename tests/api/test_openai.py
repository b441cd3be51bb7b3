"""OpenAI's audio interface with the unmodified `openai` package, and field by field without it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from msgspec.structs import replace
from openai import OpenAI

from appliance.api.openai_answers import speakers_called, word_logprobs
from appliance.domain import Speaker, Transcript, Word
from appliance.engine.protocol import OnEvent, RecognizeRequest, SegmentsDecided
from appliance.errors import WorkerCrashed
from tests.api.conftest import Api, settings_for, start, tone
from tests.api.standins import HOLD, sentence

TEXT = "Good morning. Who is there?"


@pytest.fixture
def ai(api: Api) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{api.url}/v1", api_key=api.secret, max_retries=0) as client:
        yield client


def send(client: httpx.Client, wav: bytes, **fields: str | list[str]) -> httpx.Response:
    return client.post("/v1/audio/transcriptions", data=fields, files={"file": ("a.wav", wav)})


def test_json(ai: OpenAI, wav: bytes) -> None:
    answer = ai.audio.transcriptions.create(file=("a.wav", wav), model="whisper-1")
    assert answer.text == TEXT
    assert answer.usage is not None
    assert answer.usage.type == "duration"
    assert answer.usage.seconds == pytest.approx(2.0)


@pytest.mark.parametrize(("response_format", "start"), [("text", "Good morning."), ("srt", "1\n00:00:"), ("vtt", "WEBVTT")])
def test_documents(ai: OpenAI, wav: bytes, response_format: Any, start: str) -> None:
    answer: Any = ai.audio.transcriptions.create(file=("a.wav", wav), model="whisper-1", response_format=response_format)
    assert isinstance(answer, str)
    assert answer.startswith(start)


def test_verbose_json(ai: OpenAI, wav: bytes) -> None:
    answer = ai.audio.transcriptions.create(
        file=("a.wav", wav), model="whisper-1", response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert answer.language == "english"
    assert answer.duration == pytest.approx(2.0)
    assert answer.usage is not None
    assert answer.usage.seconds == pytest.approx(2.0)
    assert [word.word for word in answer.words or []] == TEXT.split()
    assert answer.segments is not None
    assert answer.segments[0].tokens == [50364, 1042, 2446, 50464]
    assert answer.segments[0].avg_logprob == -0.2


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ({}, {"segments"}),
        ({"timestamp_granularities[]": "word"}, {"words"}),
        ({"timestamp_granularities": ["word", "segment"]}, {"words", "segments"}),
    ],
)
def test_granularities_by_both_spellings(
    client: httpx.Client, wav: bytes, fields: dict[str, str | list[str]], keys: set[str]
) -> None:
    answer = send(client, wav, response_format="verbose_json", **fields).json()
    assert {"words", "segments"} & set(answer) == keys
    assert answer["task"] == "transcribe"


def test_diarized_json(ai: OpenAI, wav: bytes) -> None:
    answer = ai.audio.transcriptions.create(
        file=("a.wav", wav), model="gpt-4o-transcribe-diarize", response_format="diarized_json", chunking_strategy="auto"
    )
    assert [segment.speaker for segment in answer.segments] == ["A", "B"]
    assert all(isinstance(segment.id, str) for segment in answer.segments)
    assert {segment.type for segment in answer.segments} == {"transcript.text.segment"}
    assert answer.task == "transcribe"


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # says the package of this call
def test_translation(api: Api, ai: OpenAI, wav: bytes) -> None:
    assert ai.audio.translations.create(file=("a.wav", wav), model="whisper-1").text == TEXT
    verbose: Any = ai.audio.translations.create(file=("a.wav", wav), model="whisper-1", response_format="verbose_json")
    assert verbose.language == "english"
    assert {request.options.task for request in api.pool.requests} == {"translate"}


def test_every_field_reaches_the_engine(api: Api, ai: OpenAI, wav: bytes) -> None:
    ai.audio.transcriptions.create(
        file=("a.wav", wav),
        model="gpt-4o-transcribe",
        languages=["en", "de"],
        keywords=["Ockham", "TAVR"],
        prompt="A visit.",
        temperature=0.3,
        chunking_strategy={"type": "server_vad", "prefix_padding_ms": 200, "silence_duration_ms": 700, "threshold": 0.6},
    )
    options = api.pool.requests[0].options
    assert options.allowed_languages == ("en", "de")
    assert options.hotwords == ("Ockham", "TAVR")
    assert options.initial_prompt == "A visit."
    assert options.temperature == 0.3
    assert (options.vad_speech_pad_ms, options.vad_min_silence_ms, options.vad_threshold) == (200, 700, 0.6)


def test_temperature_zero_means_the_ladder(api: Api, ai: OpenAI, wav: bytes) -> None:
    ai.audio.transcriptions.create(file=("a.wav", wav), model="whisper-1", temperature=0, language="en")
    assert api.pool.requests[0].options.temperature is None
    assert api.pool.requests[0].options.language == "en"


def test_the_vad_object_as_json(api: Api, client: httpx.Client, wav: bytes) -> None:
    assert send(client, wav, chunking_strategy=json.dumps({"type": "server_vad", "threshold": 0.7})).status_code == 200
    assert api.pool.requests[0].options.vad_threshold == 0.7


def test_logprobs_are_one_per_word_and_spell_the_text(ai: OpenAI, wav: bytes) -> None:
    answer = ai.audio.transcriptions.create(file=("a.wav", wav), model="gpt-4o-transcribe", include=["logprobs"])
    assert answer.logprobs is not None
    assert "".join(entry.token or "" for entry in answer.logprobs) == TEXT
    assert all(entry.logprob is not None and entry.logprob < 0 for entry in answer.logprobs)
    assert bytes(int(byte) for entry in answer.logprobs for byte in entry.bytes or []).decode() == TEXT


def test_a_probability_of_zero_has_a_finite_logarithm() -> None:
    assert word_logprobs([Word(0.0, 1.0, "x", 0.0)])[0]["logprob"] < -20


def speaking_in_turn(count: int, **names: str) -> Transcript:
    segments = tuple(replace(sentence(n, ("x",), n, n + 1), speaker=f"S{n}") for n in range(count))
    speakers = tuple(Speaker(f"S{n}", names.get(f"S{n}")) for n in range(count))
    return Transcript("", "en", 1.0, ("en",), 1.0, "m", segments, speakers)


def test_speakers_are_lettered_in_order_of_speaking() -> None:
    letters = speakers_called(speaking_in_turn(28))
    assert list(letters.values())[:2] == ["A", "B"]
    assert list(letters.values())[-3:] == ["Z", "AA", "AB"]


def test_known_speakers_have_their_names_and_the_letters_go_on_without_them() -> None:
    assert list(speakers_called(speaking_in_turn(3, S1="Ada")).values()) == ["A", "Ada", "B"]


def as_data_url(media: bytes) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(media).decode()}"


def test_a_known_speaker_is_called_by_name(api: Api, ai: OpenAI, wav: bytes) -> None:
    answer = ai.audio.transcriptions.create(
        file=("a.wav", wav),
        model="gpt-4o-transcribe-diarize",
        response_format="diarized_json",
        extra_body={"known_speaker_names": ["Ada"], "known_speaker_references": [as_data_url(wav)]},
    )
    assert [segment.speaker for segment in answer.segments] == ["A", "Ada"]
    (voice,) = api.pool.diarizations[0].voices
    assert voice.name == "Ada"
    assert len(voice.pcm) == 2 * 16_000 * 2, "two seconds of int16 at 16 kHz"


def test_without_the_model_that_tells_speakers_apart_diarized_json_is_refused(tmp_path: Path, wav: bytes) -> None:
    server, api = start(settings_for(tmp_path), "whisper-base")
    try:
        with api.client() as client:
            answers = [
                send(client, wav, response_format="diarized_json", **more)
                for more in ({}, {"known_speaker_names": "Ada", "known_speaker_references": as_data_url(wav)})
            ]
            assert send(client, wav, response_format="json", model="gpt-4o-transcribe-diarize").json()["text"] == TEXT
    finally:
        server.stop()
    for answer in answers:
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert (error["param"], error["code"]) == ("response_format", "not_available")
        assert "appliance models fetch speaker-diarization" in error["message"]
    assert len(api.pool.requests) == 1


@pytest.mark.parametrize("stream", ["false", "true"])
def test_speakers_that_cannot_be_told_apart_are_an_error_and_nobody_called_a(
    api: Api, client: httpx.Client, wav: bytes, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    async def diarize(*_: Any, **__: Any) -> Any:
        raise WorkerCrashed(2)

    monkeypatch.setattr(api.pool, "diarize", diarize)
    answer = send(client, wav, response_format="diarized_json", stream=stream)
    assert '"code":"diarization_failed"' in answer.text.replace(" ", "")
    assert "transcript.text.segment" not in answer.text
    assert "transcript.text.done" not in answer.text
    assert (answer.status_code == 200) == (stream == "true")
    native = client.post("/v1/transcribe", files={"file": ("a.wav", wav)}, data={"diarize": "true"}).json()
    assert (native["text"], [warning["code"] for warning in native["warnings"]]) == (TEXT, ["diarization_failed"])


@pytest.mark.parametrize("sample", [b"RIFF and nothing more", bytes(9)])
def test_a_sample_of_a_voice_that_cannot_be_read_names_the_person(
    api: Api, client: httpx.Client, wav: bytes, sample: bytes
) -> None:
    fields = {"known_speaker_names[]": "Ada", "known_speaker_references[]": as_data_url(sample)}
    answer = send(client, wav, response_format="diarized_json", **fields)
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == "known_speaker_references"
    assert "'Ada'" in answer.json()["error"]["message"]
    assert api.services.budget.used_bytes == 0


@pytest.mark.parametrize("seconds", [1.0, 11.0])
def test_a_sample_of_a_voice_is_two_to_ten_seconds(client: httpx.Client, wav: bytes, seconds: float) -> None:
    sample = as_data_url(tone(seconds))
    answer = send(
        client, wav, response_format="diarized_json", **{"known_speaker_names[]": "Ada", "known_speaker_references[]": sample}
    )
    assert answer.status_code == 422
    assert f"{seconds:.1f} s" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"colour": "blue"}, 422, "colour"),
        ({"speakers": "2"}, 422, "speakers"),
        ({"model": "gpt-9"}, 404, "model"),
        ({"response_format": "docx"}, 422, "response_format"),
        ({"timestamp_granularities[]": "word"}, 422, "timestamp_granularities"),
        ({"timestamp_granularities[]": "letter", "response_format": "verbose_json"}, 422, "timestamp_granularities"),
        ({"include[]": "everything"}, 422, "include"),
        ({"include[]": "logprobs", "response_format": "verbose_json"}, 422, "include"),
        ({"stream": "true", "response_format": "srt"}, 422, "stream"),
        ({"temperature": "1.5"}, 422, "temperature"),
        ({"language": "klingon"}, 422, "language"),
        ({"language": "en", "languages[]": "de"}, 422, "languages"),
        ({"chunking_strategy": "manual"}, 422, "chunking_strategy"),
        ({"chunking_strategy": '{"type":"server_vad","colour":1}'}, 422, "chunking_strategy.colour"),
        ({"chunking_strategy": '{"type":"server_vad","threshold":7}'}, 422, "chunking_strategy"),
        ({"known_speaker_names[]": "agent"}, 422, "known_speaker_references"),
        (
            {"known_speaker_names[]": "a", "known_speaker_references[]": "data:audio/wav;base64,UklGRg=="},
            422,
            "known_speaker_names",
        ),
        (
            {"response_format": "diarized_json", "known_speaker_names[]": "a", "known_speaker_references[]": "https://x/y.wav"},
            422,
            "known_speaker_references",
        ),
        (
            {
                "response_format": "diarized_json",
                "known_speaker_names[]": ["a", "a"],
                "known_speaker_references[]": ["data:audio/wav;base64,UklGRg=="] * 2,
            },
            422,
            "known_speaker_names",
        ),
        ({"known_speaker_names[]": ["a", "b", "c", "d", "e"]}, 422, "known_speaker_names"),
    ],
)
def test_a_field_that_cannot_be_honoured_is_refused_by_name(
    *, api: Api, client: httpx.Client, wav: bytes, fields: dict[str, str], status: int, param: str
) -> None:
    answer = send(client, wav, **fields)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert answer.json()["error"]["param"] == param
    assert api.services.budget.used_bytes == 0


@pytest.mark.parametrize("name", ["language", "stream", "include[]", "keywords[]"])
def test_translations_take_fewer_fields(client: httpx.Client, wav: bytes, name: str) -> None:
    answer = client.post("/v1/audio/translations", data={name: "en"}, files={"file": ("a.wav", wav)})
    assert answer.json()["error"]["code"] == "unknown_field"


def test_errors_become_the_package_s_own_exceptions(api: Api, ai: OpenAI, wav: bytes) -> None:
    with pytest.raises(openai.NotFoundError, match="whisper-base") as unknown:
        ai.audio.transcriptions.create(file=("a.wav", wav), model="no-such-model")
    assert unknown.value.code == "model_not_found"
    with OpenAI(base_url=f"{api.url}/v1", api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError) as wrong:
            stranger.models.list()
        assert wrong.value.type == "authentication_error"
    with pytest.raises(openai.APIStatusError) as notes:
        ai.audio.transcriptions.create(file=("a.mp3", b"no recording " * 100), model="whisper-1")
    assert notes.value.status_code == 415


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/v1/models/gpt-9"])
def test_unknown_addresses_answer_in_this_dialect(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_models(ai: OpenAI) -> None:
    names = [model.id for model in ai.models.list()]
    assert {"whisper-base", "whisper-1", "base", "whisper-tiny.en"} <= set(names)
    assert "speaker-diarization" not in names
    for name in ("whisper-base", "whisper-1", "openai/whisper-base"):
        assert ai.models.retrieve(name).id == name


def test_nothing_of_it_is_kept(api: Api, client: httpx.Client, wav: bytes) -> None:
    assert send(client, wav).status_code == 200
    assert client.get("/api/v1/transcripts/").json()["count"] == 0


def test_a_client_that_leaves_cancels_its_job(api: Api, wav: bytes) -> None:
    with api.left_waiting("/v1/audio/transcriptions", wav):
        pass
    assert api.pool.cancelled.acquire(timeout=10)


# --- streaming --------------------------------------------------------------------------------------------------------


def test_a_stream_of_deltas_spells_the_text(ai: OpenAI, wav: bytes) -> None:
    events = list(ai.audio.transcriptions.create(file=("a.wav", wav), model="gpt-4o-transcribe", stream=True))
    assert [event.type for event in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == TEXT
    done = events[-1]
    assert done.type == "transcript.text.done"
    assert done.text == TEXT
    assert done.usage is not None


def test_the_first_words_come_before_the_last_are_known(api: Api, ai: OpenAI, wav: bytes) -> None:
    stream = ai.audio.transcriptions.create(file=("a.wav", wav), model="gpt-4o-transcribe", prompt=HOLD, stream=True)
    first = next(iter(stream))
    assert first.type == "transcript.text.delta"
    assert first.delta == "Good morning."
    api.pool.release()
    assert [event.type for event in stream][-1] == "transcript.text.done"


def test_a_diarized_stream_ends_with_the_speakers_segments(ai: OpenAI, wav: bytes) -> None:
    stream = ai.audio.transcriptions.create(
        file=("a.wav", wav), model="gpt-4o-transcribe-diarize", response_format="diarized_json", stream=True
    )
    events = list(stream)
    assert [event.speaker for event in events if event.type == "transcript.text.segment"] == ["A", "B"]
    assert events[-1].type == "transcript.text.done"


def test_logprobs_in_a_stream(ai: OpenAI, wav: bytes) -> None:
    stream = ai.audio.transcriptions.create(file=("a.wav", wav), model="gpt-4o-transcribe", include=["logprobs"], stream=True)
    assert all(getattr(event, "logprobs", None) for event in stream)


def test_a_failure_before_the_first_word_has_its_status(ai: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as wrong:
        ai.audio.transcriptions.create(file=("a.mp3", b"no recording " * 100), model="whisper-1", stream=True)
    assert wrong.value.status_code == 415


def test_whoever_stops_listening_cancels_the_job(api: Api, ai: OpenAI, wav: bytes) -> None:
    stream = ai.audio.transcriptions.create(file=("a.wav", wav), model="gpt-4o-transcribe", prompt=HOLD, stream=True)
    next(iter(stream))
    stream.close()
    assert api.pool.cancelled.acquire(timeout=10)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_leaves_takes_nothing_from_another_with_the_same_key(
    api: Api, ai: OpenAI, wav: bytes, streamed: bool
) -> None:
    key = {"Idempotency-Key": "shared"}

    def begun() -> Any:
        stream = ai.audio.transcriptions.create(
            file=("a.wav", wav), model="gpt-4o-transcribe", prompt=HOLD, stream=True, extra_headers=key
        )
        assert next(iter(stream)).type == "transcript.text.delta"
        return stream

    with ExitStack() as first:
        if streamed:
            first.callback(begun().close)
        else:
            first.enter_context(api.left_waiting("/v1/audio/transcriptions", wav, **key))
        second = begun()
    assert not api.pool.cancelled.acquire(timeout=0.3)
    api.pool.release()
    assert [event.type for event in second][-1] == "transcript.text.done"
    assert len(api.pool.requests) == 1


def test_a_stretch_that_was_sent_is_not_sent_again(api: Api, ai: OpenAI, wav: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine may decide a stretch anew; what was sent cannot be taken back."""
    recognize = api.pool.recognize

    async def twice(request: RecognizeRequest, pcm_fd: int, on_event: OnEvent, *, alone: bool = False) -> Transcript:
        transcript = await recognize(request, pcm_fd, on_event, alone=alone)
        on_event(SegmentsDecided(job_id=request.job_id, segments=transcript.segments))
        return transcript

    monkeypatch.setattr(api.pool, "recognize", twice)
    events = list(ai.audio.transcriptions.create(file=("a.wav", wav), model="whisper-1", stream=True))
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == TEXT
