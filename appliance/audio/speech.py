"""Where somebody speaks: Silero VAD v6, the ONNX file in faster-whisper's wheel, run by onnxruntime directly.

Streams over int16 in blocks, so an 8-hour recording needs a few MiB here. What to do with the answer (windows, evidence
against invented text) is the engine's business. Runs in worker processes only.
"""

from __future__ import annotations

import importlib.resources
import math
from collections.abc import Callable, Iterator

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from appliance.audio.pcm import SAMPLE_RATE_HZ
from appliance.domain import Span, Value

FRAME_SAMPLES = 512  # what the model was trained on at 16 kHz
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ  # 32 ms
_CONTEXT_SAMPLES = 64  # of the frame before, which the model wants in front of each frame
_BLOCK_FRAMES = 512  # 16 s at a time; larger blocks are no faster and cost memory, which onnxruntime keeps
_STATE_SIZE = 128


class SpeechOptions(Value, frozen=True):
    """How probabilities become spans; the names and meanings are Silero's."""

    threshold: float = 0.5
    min_silence_ms: int = 500  # a shorter pause does not end a span
    min_speech_ms: int = 100  # a shorter sound is no speech: clicks, pops
    pad_ms: int = 200  # kept on both sides: soft onsets and endings

    @property
    def release_threshold(self) -> float:
        """Speech goes on until it falls below this (Silero's own hysteresis)."""
        return max(self.threshold - 0.15, 0.01)


class SpeechDetector:
    """Loaded once per process; may be called from several threads, each call has its own state."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # beside a decoder that has all cores; frames depend on each other anyway
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        model = importlib.resources.files("faster_whisper.assets").joinpath("silero_vad_v6.onnx").read_bytes()
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def probabilities(
        self,
        samples: NDArray[np.int16],
        on_fraction: Callable[[float], None] = lambda fraction: None,
        check: Callable[[], None] = lambda: None,
    ) -> NDArray[np.float32]:
        """The probability of speech in each frame of 32 ms; the last frame is padded with zeros.

        `samples` has shape (n,), 16 kHz, and may be a strided view of interleaved audio. `check` is called before each
        block of 16 s and may raise.
        """
        frames = math.ceil(len(samples) / FRAME_SAMPLES)
        result = np.empty(frames, np.float32)
        h = c = np.zeros((1, 1, _STATE_SIZE), np.float32)
        for first, block in _blocks(samples, frames):
            check()
            result[first : first + len(block)], h, c = self._session.run(None, {"input": block, "h": h, "c": c})
            on_fraction((first + len(block)) / frames)
        return result


def _blocks(samples: NDArray[np.int16], frames: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """(number of the first frame, frames with their context, shape (frames, 576)) for each block."""
    context = np.zeros(_CONTEXT_SAMPLES, np.float32)
    for first in range(0, frames, _BLOCK_FRAMES):
        count = min(_BLOCK_FRAMES, frames - first)
        flat = np.zeros(_CONTEXT_SAMPLES + count * FRAME_SAMPLES, np.float32)
        piece = samples[first * FRAME_SAMPLES : (first + count) * FRAME_SAMPLES]
        flat[:_CONTEXT_SAMPLES] = context
        flat[_CONTEXT_SAMPLES : _CONTEXT_SAMPLES + len(piece)] = piece
        flat[_CONTEXT_SAMPLES:] /= 32768.0
        context = flat[-_CONTEXT_SAMPLES:].copy()
        view = np.lib.stride_tricks.sliding_window_view(flat, _CONTEXT_SAMPLES + FRAME_SAMPLES)[::FRAME_SAMPLES]
        yield first, np.ascontiguousarray(view)


def speech_spans(probabilities: NDArray[np.float32], duration: float, options: SpeechOptions | None = None) -> tuple[Span, ...]:
    """Stretches of speech in order, not overlapping, padded, within 0..duration seconds."""
    options = options or SpeechOptions()
    runs = _hysteresis(probabilities, options.threshold, options.release_threshold)
    joined = _join(runs, math.ceil(options.min_silence_ms / 1000 / FRAME_S))
    least = options.min_speech_ms / 1000 / FRAME_S
    return _pad([run for run in joined if run[1] - run[0] >= least], options.pad_ms / 1000, duration)


def _hysteresis(probabilities: NDArray[np.float32], on: float, off: float) -> list[tuple[int, int]]:
    """Runs of frames that reach `on` somewhere and stay at or above `off`, each from its first frame at `on`."""
    loud = np.flatnonzero(np.diff(np.concatenate(([False], probabilities >= off, [False])).astype(np.int8)))
    runs: list[tuple[int, int]] = []
    for start, end in zip(loud[::2], loud[1::2], strict=True):
        reached = np.flatnonzero(probabilities[start:end] >= on)
        if len(reached):
            runs.append((int(start + reached[0]), int(end)))
    return runs


def _join(runs: list[tuple[int, int]], min_silence_frames: int) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in runs:
        if joined and start - joined[-1][1] < min_silence_frames:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _pad(runs: list[tuple[int, int]], pad_s: float, duration: float) -> tuple[Span, ...]:
    """Widen each run, at most to the middle of the silence beside it."""
    edges = [(start * FRAME_S, min(end * FRAME_S, duration)) for start, end in runs]
    spans = []
    for i, (start, end) in enumerate(edges):
        before = (edges[i - 1][1] + start) / 2 if i else 0.0
        after = (end + edges[i + 1][0]) / 2 if i + 1 < len(edges) else duration
        spans.append(Span(start=max(start - pad_s, before), end=min(end + pad_s, after)))
    return tuple(spans)
