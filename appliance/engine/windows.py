"""Where to cut a channel: windows of at most 30 s, from silence to silence, with the real silence between their speech.

Silence inside a window is kept as it is, so times are right by construction; only long silence falls between windows. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from appliance.audio.speech import FRAME_S
from appliance.domain import Span
from appliance.engine.protocol import Window

WINDOW_S = 30.0
EDGE_S = 1.0  # silence kept before and after: the model hears better with it, and soft onsets are not cut off
LONG_SILENCE_S = 4.0  # more than this is left out: it costs time and invites invented text
_EARLIEST_CUT_S = 20.0  # a window of running speech is not cut before this: a short one costs as much to encode as a long one
_GOOD_PAUSE_S = 1.0  # a longer pause is no better a place to cut
_PREFER_LATE_PER_S = 0.05  # what a second more in the window is worth, in seconds of pause
_SMOOTHING_FRAMES = 5
_SHORTEST_PAUSE_FRAMES = 3


def plan_windows(spans: Sequence[Span], probabilities: NDArray[np.float32], duration: float) -> tuple[Window, ...]:
    """Windows in order, not overlapping, each at most 30 s, that together hold all of `spans`.

    `spans` are ordered and do not overlap; `probabilities` of speech (per frame of 32 ms) tell where to cut inside a span
    that has no pause.
    """
    windows: list[Window] = []
    for block in _blocks(spans):
        low = windows[-1].end if windows else 0.0
        windows += _cut_block(block, probabilities, low, duration)
    return tuple(_apart(windows))


def whole_windows(probabilities: NDArray[np.float32], duration: float) -> tuple[Window, ...]:
    """Windows that cover everything, silence too, for callers that switched voice detection off."""
    return tuple(_cut_block([Span(start=0.0, end=duration)], probabilities, 0.0, duration)) if duration > 0 else ()


def _blocks(spans: Sequence[Span]) -> list[list[Span]]:
    """Spans with no long silence between them."""
    blocks: list[list[Span]] = []
    for span in spans:
        if blocks and span.start - blocks[-1][-1].end <= LONG_SILENCE_S:
            blocks[-1].append(span)
        else:
            blocks.append([span])
    return blocks


def _cut_block(block: Sequence[Span], probabilities: NDArray[np.float32], low: float, duration: float) -> list[Window]:
    start = max(block[0].start - EDGE_S, low, 0.0)
    end = min(block[-1].end + EDGE_S, duration)
    windows: list[Window] = []
    while end - start > WINDOW_S:
        # The last window's trailing silence may be given up; its speech may not.
        if block[-1].end - start <= WINDOW_S:
            end = start + WINDOW_S
            break
        cut = _best_cut(probabilities, start + _EARLIEST_CUT_S, start + WINDOW_S)
        windows.append(Window(start=start, end=cut))
        start = cut
    if end > start:
        windows.append(Window(start=start, end=end))
    return windows


def _best_cut(probabilities: NDArray[np.float32], earliest: float, latest: float) -> float:
    """The middle of the best pause between two times; where there is none, where speech is least likely."""
    first, last = int(earliest / FRAME_S), int(latest / FRAME_S)
    pauses = _pauses(probabilities, first, last)
    if pauses:
        best = max(pauses, key=lambda pause: min(pause[1] - pause[0], _GOOD_PAUSE_S) + pause[1] * _PREFER_LATE_PER_S)
        return min((best[0] + best[1]) / 2, latest)
    part = probabilities[first:last]
    smooth = np.convolve(part, np.ones(_SMOOTHING_FRAMES) / _SMOOTHING_FRAMES, mode="same")
    half = len(part) // 2  # late enough to be worth a window
    return min((first + half + int(np.argmin(smooth[half:])) + 0.5) * FRAME_S, latest)


def _pauses(probabilities: NDArray[np.float32], first: int, last: int) -> list[tuple[float, float]]:
    """(start, end) in seconds of each run of silent frames within [first, last)."""
    silent = probabilities[first:last] < 0.35
    edges = np.flatnonzero(np.diff(np.concatenate(([False], silent, [False])).astype(np.int8)))
    runs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    return [((first + a) * FRAME_S, (first + b) * FRAME_S) for a, b in runs if b - a >= _SHORTEST_PAUSE_FRAMES]


def _apart(windows: Sequence[Window]) -> list[Window]:
    """Windows of neighbouring blocks may want the same silence: it is divided in the middle."""
    result = list(windows)
    for i in range(1, len(result)):
        if result[i].start < result[i - 1].end:
            middle = (result[i].start + result[i - 1].end) / 2
            result[i - 1] = Window(start=result[i - 1].start, end=middle)
            result[i] = Window(start=middle, end=result[i].end)
    return result


def split_window(window: Window, probabilities: NDArray[np.float32], min_part_s: float) -> tuple[Window, ...]:
    """Parts of a window between its longest pauses, each at least `min_part_s` long; the window alone when it has none."""
    first, last = int(window.start / FRAME_S), int(window.end / FRAME_S)
    pauses = sorted(_pauses(probabilities, first, last), key=lambda p: p[0] - p[1])
    cuts: list[float] = []
    for start, end in pauses:
        middle = (start + end) / 2
        if all(abs(middle - other) >= min_part_s for other in (window.start, window.end, *cuts)):
            cuts.append(middle)
    edges = [window.start, *sorted(cuts), window.end]
    return tuple(Window(start=a, end=b) for a, b in pairwise(edges))
