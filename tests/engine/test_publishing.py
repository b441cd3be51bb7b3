"""What the caller sees of a recording while it is worked on: each stretch once, and not before its language is clear."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from appliance.domain import Segment, Span, TranscribeOptions
from appliance.engine import guard
from appliance.engine.pipeline import _Channel, _channel_cautions, _Job, _Progress, _WindowWork
from appliance.engine.protocol import DecodedWindow, EngineEvent, SegmentsDecided, Window

WINDOWS = tuple(Window(start=i * 20.0, end=i * 20.0 + 20.0) for i in range(4))


class Publishing(_Job):
    """A job without model and sound; what it publishes is in `seen`."""

    def __init__(self, language: str | None = None) -> None:
        self.seen: list[str] = []
        self._options = TranscribeOptions(model="none")
        self._language = language
        self._progress = _Progress("test", self._note)

    def _note(self, event: EngineEvent) -> None:
        assert isinstance(event, SegmentsDecided)
        self.seen += [segment.text for segment in event.segments]

    publish = _Job._publish
    publish_steady = _Job._publish_steady


def channel() -> _Channel:
    voice = guard.Voice(np.ones(2500, np.float32), [Span(start=0.0, end=80.0)])
    return _Channel(np.zeros(1, np.int16), None, voice, WINDOWS, ())


def decide(item: _WindowWork, probabilities: dict[str, float]) -> None:
    """As if the window had been decoded in the language that is likeliest by now."""
    code = item.channel.choose_language(item.window, probabilities)
    text = f"{code} {item.window.start:.0f}"
    segment = Segment(id=0, start=item.window.start, end=item.window.end, text=text)
    facts: dict[str, Any] = {"avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.0, "temperature": 0.0}
    item.attempts = [
        DecodedWindow(window=item.window, segments=(segment,), language=code, language_probabilities=probabilities, **facts)
    ]
    item.segments, item.final = [segment], True


@pytest.fixture
def work() -> list[_WindowWork]:
    shared = channel()
    return [_WindowWork(shared, window) for window in WINDOWS]


def test_a_window_in_a_clear_language_is_shown_at_once(work: list[_WindowWork]) -> None:
    job = Publishing()
    decide(work[0], {"en": 0.98, "es": 0.02})
    job.publish_steady(work)
    job.publish_steady(work)
    assert job.seen == ["en 0"]


def test_a_window_waits_for_those_before_it(work: list[_WindowWork]) -> None:
    job = Publishing()
    decide(work[1], {"en": 0.98})
    job.publish_steady(work)
    assert job.seen == []
    decide(work[0], {"en": 0.98})
    job.publish_steady(work)
    assert job.seen == ["en 0", "en 20"]


def test_text_in_a_doubtful_language_is_held_back_until_it_is_settled(work: list[_WindowWork]) -> None:
    job = Publishing()
    decide(work[0], {"es": 0.5, "en": 0.45})
    job.publish_steady(work)
    assert job.seen == []
    for item in work[1:]:
        decide(item, {"en": 0.98, "es": 0.02})
        job.publish_steady(work)
    assert job.seen == []
    work[0].reset()
    decide(work[0], {"es": 0.5, "en": 0.45})
    job.publish(work)
    assert job.seen == ["en 0", "en 20", "en 40", "en 60"]


def test_a_stretch_is_shown_once_whatever_becomes_of_it(work: list[_WindowWork]) -> None:
    job = Publishing()
    decide(work[0], {"en": 0.98})
    job.publish_steady(work)
    work[0].reset()
    for item in work:
        decide(item, {"es": 0.98})
    job.publish(work)
    job.publish(work)
    assert job.seen == ["en 0", "es 20", "es 40", "es 60"]


def test_a_language_that_was_asked_for_is_never_in_doubt(work: list[_WindowWork]) -> None:
    job = Publishing(language="es")
    decide(work[0], {"es": 0.3})
    job.publish_steady(work)
    assert job.seen == ["es 0"]


def test_separate_channels_of_a_recording_with_one_are_said() -> None:
    assert [caution.code for caution in _channel_cautions([channel()], separate=True)] == ["single_channel"]
    assert _channel_cautions([channel()], separate=False) == []
    assert _channel_cautions([channel(), channel()], separate=True) == []
