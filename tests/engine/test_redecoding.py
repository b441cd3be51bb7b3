"""What a job decodes again: speech without words until it has some or none come, and loops at other temperatures.

The job is real; its model, voice detector and batcher say what a test wants.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from appliance.audio.pcm import SAMPLE_RATE_HZ, PcmLayout
from appliance.audio.speech import FRAME_S, SpeechDetector
from appliance.domain import Segment, TranscribeOptions, Transcript, Word
from appliance.engine.pipeline import WindowLane, _Job
from appliance.engine.protocol import DecodedWindow, RecognizeRequest, Window
from appliance.engine.whisper import WhisperModel, WhisperTask

LENGTH_S = 28.0
SPEECH = (1.0, 27.5)

Hears = Callable[[Window, float], DecodedWindow]


class Model:
    multilingual = True

    def encode_text(self, text: str) -> tuple[int, ...]:
        return tuple(text.encode())


class Detector:
    def probabilities(self, samples: np.ndarray[Any, Any], *_: object) -> np.ndarray[Any, np.dtype[np.float32]]:
        heard = np.zeros(int(len(samples) / SAMPLE_RATE_HZ / FRAME_S) + 1, np.float32)
        heard[int(SPEECH[0] / FRAME_S) : int(SPEECH[1] / FRAME_S)] = 1.0
        return heard


class Batcher:
    """Answers at once; `asked` is what it was asked for."""

    def __init__(self, hears: Hears) -> None:
        self.hears = hears
        self.asked: list[tuple[Window, float]] = []

    def submit(self, *tasks: WhisperTask, first: bool = False) -> list[Future[DecodedWindow]]:
        return [self._answered(task) for task in tasks]

    def _answered(self, task: WhisperTask) -> Future[DecodedWindow]:
        answer: Future[DecodedWindow] = Future()
        self.asked.append((task.window, task.options.temperature))
        decoded = self.hears(task.window, task.options.temperature)
        if task.choose_language and task.window.language is None:
            task.choose_language(task.window, dict(decoded.language_probabilities))
        answer.set_result(decoded)
        return answer


def decoded(
    window: Window, *words: tuple[float, str], language: str = "en", temperature: float = 0.0, **facts: Any
) -> DecodedWindow:
    """Words of half a second each, from their starts."""
    timed = tuple(Word(start, start + 0.5, text, 0.9, None, True) for start, text in words)
    text = " ".join(word.text for word in timed)
    start, end = (timed[0].start, timed[-1].end) if timed else (0.0, 0.0)
    segment = Segment(id=0, start=start, end=end, text=text, words=timed, language=language, avg_logprob=-0.2)
    evidence = {"avg_logprob": -0.2, "no_speech_prob": 0.1, "compression_ratio": 1.0} | facts
    return DecodedWindow(
        window=window, language=language, segments=(segment,) if words else (), temperature=temperature, **evidence
    )


def running_speech(start: float, end: float) -> list[tuple[float, str]]:
    return [(start + i * 0.5, f"w{round(2 * start) + i}") for i in range(int(2 * (end - start)))]


def transcribe(batcher: Batcher, language: str | None = "en") -> Transcript:
    samples = np.zeros((round(LENGTH_S * SAMPLE_RATE_HZ), 1), np.int16)
    options = TranscribeOptions(model="none", language=language)
    request = RecognizeRequest("1", "none", Path("none"), options, PcmLayout(len(samples), 1))
    job = _Job(
        request,
        samples,
        model=cast("WhisperModel", Model()),
        detector=cast("SpeechDetector", Detector()),
        lane=cast("WindowLane", batcher),
        on_event=lambda event: None,
        check=lambda: None,
    )
    return job.run()


def test_a_gap_that_is_filled_in_part_is_decoded_on() -> None:
    """Whisper stops in the middle where a script needs many tokens: each decoding goes eight seconds further."""
    batcher = Batcher(lambda window, _: decoded(window, *running_speech(window.start + 0.3, min(window.start + 8.3, 27.4))))
    transcript = transcribe(batcher)
    spoken = [word.start for segment in transcript.segments for word in segment.words]
    assert max(b - a for a, b in pairwise(spoken)) <= 1.0
    assert spoken[-1] > 26.0
    assert transcript.warnings == ()


def test_what_stays_without_words_in_a_gap_is_told() -> None:
    def hears(window: Window, _: float) -> DecodedWindow:
        first = window.start < 2
        return decoded(window, *running_speech(1.0, 9.0)) if first else decoded(window, (window.start + 0.4, "one"))

    warnings = transcribe(Batcher(hears)).warnings
    assert {warning.code for warning in warnings} == {"speech_without_words"}
    assert warnings[-1].end == pytest.approx(SPEECH[1], abs=0.3)
    assert sum((w.end or 0) - (w.start or 0) for w in warnings) > 15


def test_silence_after_silence_ends() -> None:
    batcher = Batcher(lambda window, _: decoded(window))
    assert transcribe(batcher).segments == ()
    assert len(batcher.asked) == 1


def test_a_loop_in_an_unclear_language_is_tried_at_other_temperatures_too() -> None:
    def hears(window: Window, temperature: float) -> DecodedWindow:
        language = window.language or "en"
        heard = {} if window.language else {"en": 0.5, "de": 0.45}
        loop = [(1.0 + i * 0.5, "la") for i in range(50)]
        words, ratio = (loop, 9.0) if temperature == 0.0 else (running_speech(1.0, 27.0), 1.1)
        return decoded(
            window, *words, language=language, temperature=temperature, compression_ratio=ratio, language_probabilities=heard
        )

    batcher = Batcher(hears)
    assert "la" not in transcribe(batcher, language=None).text.split()
    assert max(temperature for _, temperature in batcher.asked) == 0.2
