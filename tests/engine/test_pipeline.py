"""Real recordings through the real recogniser on the CPU: words, times, languages, channels, options, silence, cancelling."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_whisper import decode_audio
from numpy.typing import NDArray

from appliance.audio.pcm import SAMPLE_RATE_HZ, PcmLayout
from appliance.domain import ChannelMode, TranscribeOptions, Transcript
from appliance.engine.batch_size import BatchLimits
from appliance.engine.pipeline import Recognizer
from appliance.engine.protocol import EngineEvent, EngineProgress, RecognizeRequest, SegmentsDecided
from appliance.errors import Cancelled, LanguageUnsupported, ModelDamaged, NotAvailable
from appliance.settings import Settings
from tests.recordings import shared, telephone_call

pytestmark = pytest.mark.engine

Samples = NDArray[np.int16]


def _model_dir(model: str) -> Path:
    path = Settings().models_dir / model  # type: ignore[call-arg]  # every setting has a default
    if not (path / "model.bin").exists():
        pytest.skip(f"the model {model} is not installed; 'appliance models fetch {model}' installs it")
    return path


@pytest.fixture(scope="module")
def recognizer() -> Iterator[Recognizer]:
    made = Recognizer(compute_type="int8")
    yield made
    made.close()


def _nothing() -> None:
    pass


def _recognize(
    recognizer: Recognizer,
    samples: Samples,
    *,
    model: str = "whisper-base",
    on_event: Callable[[EngineEvent], None] = lambda event: None,
    check: Callable[[], None] = _nothing,
    **options: Any,
) -> Transcript:
    request = RecognizeRequest(
        job_id="test",
        model=model,
        model_dir=_model_dir(model),
        options=TranscribeOptions(model=model, **options),
        pcm=PcmLayout(samples=len(samples), channels=samples.shape[1]),
    )
    return recognizer.recognize(request, samples, on_event, check)


def _int16(audio: NDArray[Any]) -> Samples:
    return np.clip(np.round(audio * 32768.0), -32768, 32767).astype(np.int16)


def _read(path: Path) -> Samples:
    return _int16(decode_audio(str(path), sampling_rate=SAMPLE_RATE_HZ))[:, None]


@pytest.fixture(scope="module")
def call() -> Samples:
    return _read(telephone_call())


@pytest.fixture(scope="module")
def call_transcript(recognizer: Recognizer, call: Samples) -> Transcript:
    return _recognize(recognizer, call)


def test_a_telephone_call_becomes_sentences_with_words(call_transcript: Transcript) -> None:
    assert "This is Diane in New Jersey" in call_transcript.text
    assert call_transcript.language == "en"
    assert call_transcript.language_probability > 0.9
    assert 8 <= len(call_transcript.segments) <= 20


def test_words_make_up_the_text_in_order_and_within_the_recording(call_transcript: Transcript) -> None:
    words = [word for segment in call_transcript.segments for word in segment.words]
    assert " ".join(word.text for word in words) == call_transcript.text
    assert all(0 <= w.start <= w.end <= call_transcript.duration for w in words)
    assert all(a.start <= b.start for a, b in pairwise(words))
    assert all(segment.tokens and segment.id == i for i, segment in enumerate(call_transcript.segments))


def test_words_after_long_silence_have_their_own_time(recognizer: Recognizer) -> None:
    """PAINS 4: times wrong after silence."""
    speech = _read(shared("misc/jfk.flac"))
    silence = np.zeros((40 * SAMPLE_RATE_HZ, 1), np.int16)
    alone = _recognize(recognizer, speech, language="en")
    later = _recognize(recognizer, np.concatenate([silence, speech, silence]), language="en")
    assert later.segments[0].start - alone.segments[0].start == pytest.approx(40.0, abs=0.5)
    assert later.segments[-1].end - alone.segments[-1].end == pytest.approx(40.0, abs=0.5)


def test_progress_rises_to_one_and_segments_come_in_order(
    recognizer: Recognizer, call: Samples, call_transcript: Transcript
) -> None:
    events: list[EngineEvent] = []
    _recognize(recognizer, np.concatenate([call, call]), on_event=events.append, word_timestamps=False)
    fractions = [event.fraction for event in events if isinstance(event, EngineProgress)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    shown = [segment for event in events if isinstance(event, SegmentsDecided) for segment in event.segments]
    assert [s.start for s in shown] == sorted(s.start for s in shown)


def test_without_word_times_the_text_is_the_same(recognizer: Recognizer, call: Samples, call_transcript: Transcript) -> None:
    transcript = _recognize(recognizer, call, word_timestamps=False)
    assert transcript.text == call_transcript.text
    assert all(not segment.words and segment.start < segment.end for segment in transcript.segments)


def test_two_languages_in_one_recording_are_both_kept(recognizer: Recognizer) -> None:
    """PAINS 3: later languages translated or garbled."""
    events: list[EngineEvent] = []
    transcript = _recognize(recognizer, _read(shared("faster_whisper/multilingual.mp3")), on_event=events.append)
    assert set(transcript.languages) == {"en", "de"}
    shown = [segment for event in events if isinstance(event, SegmentsDecided) for segment in event.segments]
    assert all(first.end <= second.start for first, second in pairwise(shown)), "a stretch was shown twice"
    assert "Permission is hereby granted" in transcript.text
    assert "Genehmigung" in transcript.text


def test_recordings_in_different_languages_share_a_batch(call: Samples, call_transcript: Transcript) -> None:
    """TRAPS 19: languages may differ in a batch; each gets the text it gets alone."""
    german = _read(shared("picovoice/test_de.wav"))
    together = Recognizer(compute_type="int8")
    started = threading.Barrier(2)

    def hear(samples: Samples) -> Transcript:
        def on_event(event: EngineEvent) -> None:
            if isinstance(event, EngineProgress) and event.fraction == 0.0:
                started.wait(30)

        return _recognize(together, samples, on_event=on_event)

    try:
        together.warm(_model_dir("whisper-base"))
        with ThreadPoolExecutor(2) as pool:
            english, other = pool.map(hear, (call, german))
    finally:
        together.close()
    assert english.text == call_transcript.text
    assert (english.language, other.language) == ("en", "de")
    assert "Leichenhal" in other.text


def test_a_device_without_room_decodes_one_window_at_a_time(call: Samples) -> None:
    cramped = Recognizer(compute_type="int8", limits=BatchLimits(memory_bytes=2**30))
    try:
        _recognize(cramped, np.concatenate([call, call]), model="whisper-tiny.en")
        assert [size for size, _ in cramped.statistics().sizes] == [1]
    finally:
        cramped.close()


def test_each_channel_is_heard_by_itself(recognizer: Recognizer) -> None:
    """PAINS 24: stereo calls mixed down or one channel lost."""
    left, right = decode_audio(
        str(shared("faster_whisper/stereo_diarization.wav")), sampling_rate=SAMPLE_RATE_HZ, split_stereo=True
    )
    samples = np.stack([_int16(left), _int16(right)], axis=1)
    transcript = _recognize(recognizer, samples, channels=ChannelMode.SEPARATE, language="en")
    said = {c: " ".join(s.text for s in transcript.segments if s.channel == c) for c in (0, 1)}
    assert "wizard" in said[0]
    assert "horizon" in said[1]
    assert [s.label for s in transcript.speakers] == ["SPEAKER_00", "SPEAKER_01"]
    assert all(word.speaker == segment.speaker for segment in transcript.segments for word in segment.words)


def test_a_silent_channel_is_reported(recognizer: Recognizer, call: Samples) -> None:
    samples = np.concatenate([call, np.zeros_like(call)], axis=1)
    transcript = _recognize(recognizer, samples, channels=ChannelMode.SEPARATE, word_timestamps=False)
    assert [c.code for c in transcript.warnings if c.code == "channel_silent"] == ["channel_silent"]


def test_hotwords_are_used(recognizer: Recognizer) -> None:
    """PAINS 23: hotwords ignored."""
    assert "ComfyUI" in _recognize(recognizer, _read(shared("faster_whisper/hotwords.mp3")), hotwords=("ComfyUI",)).text


def _tone(frequency_hz: float, seconds: float) -> NDArray[np.float64]:
    times = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    decay = np.exp(-2.5 * (times % 0.5))
    return np.asarray(0.1 * decay * sum(np.sin(2 * np.pi * frequency_hz * k * times) / k for k in range(1, 9)))


def _music(seconds: float = 12.0) -> NDArray[np.float64]:
    """Chords, a melody of half seconds, and a drum."""
    rng = np.random.default_rng(1)
    melody = np.concatenate([_tone(rng.choice([261.6, 293.7, 329.6, 392.0, 440.0]), 0.5) for _ in range(int(2 * seconds))])
    chord = sum(_tone(f, seconds) for f in (130.8, 164.8, 196.0))
    drum = np.tile(
        np.concatenate([0.2 * rng.standard_normal(1600) * np.exp(-np.arange(1600) / 200), np.zeros(6400)]), int(2 * seconds)
    )
    return np.asarray(melody + chord + drum)


NOTHING_SAID = {
    "silence": np.zeros(5 * SAMPLE_RATE_HZ),
    "white noise": 0.1 * np.random.default_rng(1).standard_normal(5 * SAMPLE_RATE_HZ),
    "hum": _tone(50, 5.0),
    "music": _music(),
    "0.2 s": np.zeros(3200),
    "one sample": np.zeros(1),
    "nothing at all": np.zeros(0),
}


@pytest.mark.parametrize("name", NOTHING_SAID)
@pytest.mark.parametrize("hotwords", [(), ("ComfyUI",)])
def test_no_word_is_invented_where_nothing_is_said(recognizer: Recognizer, name: str, hotwords: tuple[str, ...]) -> None:
    """PAINS 1 and 23: "Thank you." over silence; hotwords that leak into the text."""
    transcript = _recognize(recognizer, _int16(NOTHING_SAID[name])[:, None], hotwords=hotwords)
    assert (transcript.text, transcript.segments, transcript.language) == ("", (), "und")
    assert "silence" in [caution.code for caution in transcript.warnings]


@pytest.mark.parametrize("name", ["silence", "white noise", "music"])
def test_no_word_is_invented_when_silence_is_decoded_too(recognizer: Recognizer, name: str) -> None:
    transcript = _recognize(recognizer, _int16(NOTHING_SAID[name])[:, None], voice_activity=False)
    assert (transcript.text, transcript.language) == ("", "und")


def test_a_prompt_that_is_too_long_is_cut_with_a_warning(recognizer: Recognizer) -> None:
    speech = _read(shared("misc/jfk.flac"))
    transcript = _recognize(recognizer, speech, initial_prompt="A speech of the president. " * 80)
    assert "prompt_truncated" in [caution.code for caution in transcript.warnings]
    assert "country" in transcript.text


def test_translation_is_english(recognizer: Recognizer) -> None:
    transcript = _recognize(recognizer, _read(shared("picovoice/test_de.wav")), task="translate", language="de")
    assert transcript.task == "translate"
    assert " was " in transcript.text.lower()


def test_only_allowed_languages_are_detected(recognizer: Recognizer) -> None:
    assert _recognize(recognizer, _read(shared("picovoice/test_de.wav")), allowed_languages=("fr", "nl")).language in ("fr", "nl")


def test_an_english_model_refuses_what_it_cannot_do(recognizer: Recognizer, call: Samples) -> None:
    with pytest.raises(LanguageUnsupported):
        _recognize(recognizer, call, model="whisper-tiny.en", language="de")
    with pytest.raises(NotAvailable):
        _recognize(recognizer, call, model="whisper-tiny.en", task="translate")
    with pytest.raises(LanguageUnsupported):
        _recognize(recognizer, call, language="xx")


def test_an_english_model_recognises_english(recognizer: Recognizer, call: Samples) -> None:
    transcript = _recognize(recognizer, call, model="whisper-tiny.en")
    assert transcript.language == "en"
    assert "New Jersey" in transcript.text


def test_a_cancelled_job_stops_within_a_batch(recognizer: Recognizer, call: Samples) -> None:
    before = recognizer.statistics().batches

    def check() -> None:
        if recognizer.statistics().batches > before:
            raise Cancelled

    with pytest.raises(Cancelled):
        _recognize(recognizer, np.concatenate([call] * 20), check=check)
    assert recognizer.statistics().batches <= before + 2  # of at least three
    assert recognizer.statistics().waiting == 0


def test_a_damaged_model_is_named(recognizer: Recognizer, tmp_path: Path) -> None:
    damaged = tmp_path / "whisper-broken"
    shutil.copytree(_model_dir("whisper-tiny.en"), damaged)
    with (damaged / "model.bin").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(ModelDamaged, match=r"whisper-broken.*model\.bin"):
        recognizer.model(damaged)
    with pytest.raises(ModelDamaged, match=r"config\.json|model\.bin"):
        recognizer.model(tmp_path / "nothing")
