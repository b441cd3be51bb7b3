"""The voice detector: streaming gives what the whole would, spans are ordered and inside, noise is no speech."""

from __future__ import annotations

import itertools
import tracemalloc
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from appliance.audio.pcm import SAMPLE_RATE_HZ
from appliance.audio.speech import FRAME_S, FRAME_SAMPLES, SpeechDetector, SpeechOptions, speech_spans
from appliance.errors import Cancelled
from tests.recordings import telephone_call


@pytest.fixture(scope="module")
def detector() -> SpeechDetector:
    return SpeechDetector()


@pytest.fixture(scope="module")
def call() -> NDArray[np.int16]:
    with wave.open(str(telephone_call())) as file:
        assert file.getframerate() == SAMPLE_RATE_HZ
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def test_speech_in_a_telephone_call_is_found(detector: SpeechDetector, call: NDArray[np.int16]) -> None:
    spans = speech_spans(detector.probabilities(call), 30.0)
    assert sum(span.duration for span in spans) > 18
    assert all(span.start > 6 for span in spans)  # nobody speaks before


def test_blocks_give_what_the_whole_gives(detector: SpeechDetector, call: NDArray[np.int16]) -> None:
    """Frames know their context and state across the 16-s blocks: a shifted start changes only the first frames."""
    whole = detector.probabilities(call)
    later = detector.probabilities(call[20 * FRAME_SAMPLES :])
    assert np.abs(whole[20 + 60 :] - later[60:]).mean() < 0.02


def test_interleaved_channels_may_be_read_in_place(detector: SpeechDetector, call: NDArray[np.int16]) -> None:
    stereo = np.stack([np.zeros_like(call), call], axis=1)
    assert np.array_equal(detector.probabilities(stereo[:, 1]), detector.probabilities(call))
    assert not speech_spans(detector.probabilities(stereo[:, 0]), 30.0)


@pytest.mark.parametrize("samples", [0, 1, 511, 512, 513, 3200])
def test_every_length_has_its_frames(detector: SpeechDetector, samples: int) -> None:
    assert len(detector.probabilities(np.zeros(samples, np.int16))) == -(-samples // FRAME_SAMPLES)


def test_noise_hum_and_silence_are_no_speech(detector: SpeechDetector) -> None:
    noise = np.random.default_rng(1).normal(0, 3000, 10 * SAMPLE_RATE_HZ)
    hum = 6000 * np.sin(2 * np.pi * 50 * np.arange(10 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ)
    for sound in (noise, hum, np.zeros(10 * SAMPLE_RATE_HZ)):
        assert speech_spans(detector.probabilities(sound.astype(np.int16)), 10.0) == ()


def test_memory_does_not_grow_with_the_recording(detector: SpeechDetector) -> None:
    """TRAPS 21: int16 stays int16; floats exist for one block at a time."""
    samples = np.zeros(SAMPLE_RATE_HZ * 240, np.int16)  # as float32: 15 MB
    tracemalloc.start()
    detector.probabilities(samples)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


def test_a_job_no_longer_wanted_stops_listening(detector: SpeechDetector) -> None:
    def check() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        detector.probabilities(np.zeros(SAMPLE_RATE_HZ, np.int16), check=check)


def test_a_dip_between_the_thresholds_does_not_end_speech() -> None:
    probabilities = np.array([0.0] * 20 + [0.9] * 20 + [0.4] * 40 + [0.9] * 20 + [0.0] * 40, np.float32)
    (span,) = speech_spans(probabilities, 140 * FRAME_S, SpeechOptions(pad_ms=0))
    assert span.start == pytest.approx(20 * FRAME_S)
    assert span.end == pytest.approx(100 * FRAME_S)


@given(
    st.lists(st.floats(0, 1, width=32), max_size=300),
    st.integers(0, 2000),
    st.integers(0, 1000),
    st.floats(0.1, 0.9),
)
def test_spans_are_ordered_apart_and_inside(values: list[float], min_silence_ms: int, pad_ms: int, threshold: float) -> None:
    duration = len(values) * FRAME_S
    options = SpeechOptions(threshold=threshold, min_silence_ms=min_silence_ms, pad_ms=pad_ms)
    spans = speech_spans(np.array(values, np.float32), duration, options)
    assert all(0 <= span.start < span.end <= duration for span in spans)
    assert all(a.end <= b.start for a, b in itertools.pairwise(spans))
