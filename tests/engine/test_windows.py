"""Cutting into windows: at most 30 s, in order, apart, and no speech outside them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.audio.speech import FRAME_S, speech_spans
from appliance.domain import Span
from appliance.engine.protocol import Window
from appliance.engine.windows import LONG_SILENCE_S, WINDOW_S, plan_windows, split_window, whole_windows


def _probabilities(*runs: tuple[float, float]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """(seconds, probability) after each other."""
    return np.concatenate([np.full(round(seconds / FRAME_S), value, np.float32) for seconds, value in runs])


@given(st.lists(st.tuples(st.floats(0.1, 50.0), st.floats(0.0, 9.0)), max_size=12))
def test_windows_hold_all_speech_and_never_overlap(runs: list[tuple[float, float]]) -> None:
    probabilities = _probabilities((0.5, 0.0), *(part for speech, pause in runs for part in ((speech, 0.9), (pause, 0.0))))
    duration = len(probabilities) * FRAME_S
    spans = speech_spans(probabilities, duration)
    windows = plan_windows(spans, probabilities, duration)
    assert all(0 <= w.start < w.end <= duration + 1e-6 and w.end - w.start <= WINDOW_S + 1e-6 for w in windows)
    assert all(a.end <= b.start + 1e-9 for a, b in itertools.pairwise(windows))
    assert {type(edge) for w in windows for edge in (w.start, w.end)} <= {float}, "NumPy's numbers do not reach other processes"
    for span in spans:
        held = sum(max(0.0, min(w.end, span.end) - max(w.start, span.start)) for w in windows)
        assert held == pytest.approx(span.duration, abs=1e-6)


def test_neighbouring_speech_shares_a_window_with_its_real_silence() -> None:
    """PAINS 4: nothing is cut out between them, so times need no translation."""
    spans = [Span(start=2.0, end=5.0), Span(start=7.0, end=9.0)]
    assert plan_windows(spans, np.zeros(400, np.float32), 12.8) == (Window(start=1.0, end=10.0),)


def test_long_silence_is_left_out() -> None:
    spans = [Span(start=2.0, end=5.0), Span(start=6.0 + LONG_SILENCE_S, end=15.0)]
    first, second = plan_windows(spans, np.zeros(500, np.float32), 16.0)
    assert (first.end, second.start) == (6.0, 5.0 + LONG_SILENCE_S)


def test_running_speech_is_cut_in_a_pause() -> None:
    probabilities = _probabilities((24.0, 0.9), (0.6, 0.0), (20.0, 0.9))
    first, second = plan_windows([Span(start=0.0, end=44.0)], probabilities, len(probabilities) * FRAME_S)
    assert first.end == second.start
    assert 24.0 <= first.end <= 24.7


def test_speech_without_a_pause_is_cut_where_it_is_faintest() -> None:
    probabilities = _probabilities((27.0, 0.9), (0.2, 0.5), (20.0, 0.9))
    first, _ = plan_windows([Span(start=0.0, end=47.0)], probabilities, len(probabilities) * FRAME_S)
    assert first.end == pytest.approx(27.1, abs=0.2)


def test_without_voice_detection_everything_is_decoded() -> None:
    windows = whole_windows(np.zeros(2000, np.float32), 64.0)
    assert (windows[0].start, windows[-1].end) == (0.0, 64.0)
    assert all(w.end - w.start <= WINDOW_S for w in windows)
    assert whole_windows(np.zeros(0, np.float32), 0.0) == ()


def test_a_window_is_split_between_its_pauses() -> None:
    probabilities = _probabilities((5.0, 0.9), (0.5, 0.0), (5.0, 0.9), (1.0, 0.0), (5.0, 0.9))
    parts = split_window(Window(start=0.0, end=16.5), probabilities, min_part_s=3.0)
    assert [round(part.end) for part in parts[:-1]] == [5, 11]
