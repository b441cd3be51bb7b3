"""Many channels into one, so that nothing that was said vanishes.

A plain average loses two kinds of real recording: a channel recorded with its wires swapped cancels the other out, and
a silent channel halves the one that speaks. So each half second a channel that moves against the loudest one is
turned over, and a channel counts from the first time that something is heard on it. It decodes nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from appliance.audio.pcm import SAMPLE_RATE_HZ

_BLOCK = SAMPLE_RATE_HZ // 2  # samples looked at together
_FADE = SAMPLE_RATE_HZ // 50  # samples over which weights change, so that nothing clicks
_HEARD = 10 ** (-66 / 20)  # root mean square, full scale 1, from which a channel is not silent
_AGAINST = -0.6  # correlation with the loudest channel from which on a channel is turned over
_FADE_IN: NDArray[np.float32] = np.linspace(0, 1, _FADE, dtype=np.float32)[:, None]


class Mixdown:
    """Mixes blocks in the order they come. `emphasis`: one weight per channel, e.g. more for the centre of 5.1."""

    def __init__(self, emphasis: NDArray[np.float32]) -> None:
        channels = len(emphasis)
        self._emphasis = emphasis
        self._signs = np.ones(channels, dtype=np.float32)
        self._heard = np.zeros(channels, dtype=bool)
        self._weights: NDArray[np.float32] | None = None  # of the block before
        self._waiting: list[NDArray[np.float32]] = []
        self._waiting_samples = 0

    def push(self, samples: NDArray[np.float32]) -> bytes:
        """`samples`: (samples, channels), full scale 1. Returns int16 of what could be mixed so far."""
        self._waiting.append(samples)
        self._waiting_samples += len(samples)
        return self.flush() if self._waiting_samples >= _BLOCK else b""

    def flush(self) -> bytes:
        """Mix what still waits."""
        if not self._waiting_samples:
            return b""
        block = np.concatenate(self._waiting)
        self._waiting, self._waiting_samples = [], 0
        return b"".join(self._mix(block[start : start + _BLOCK]) for start in range(0, len(block), _BLOCK))

    def _mix(self, block: NDArray[np.float32]) -> bytes:
        weights = self._weigh(block)
        before = weights if self._weights is None else self._weights
        self._weights = weights
        mixed = block @ weights
        if not np.array_equal(before, weights):
            head = block[:_FADE]
            ramp = _FADE_IN[: len(head)]
            mixed[: len(head)] = (head * (before + (weights - before) * ramp)).sum(axis=1)
        return bytes(np.clip(np.rint(mixed * 32768), -32768, 32767).astype("<i2"))

    def _weigh(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        products = block.T.astype(np.float64) @ block
        energy = np.diagonal(products)
        self._heard |= energy > len(block) * _HEARD**2
        loudest = int(np.argmax(energy))
        correlation = products[loudest] / (np.sqrt(energy * energy[loudest]) + 1e-12)
        turned = np.sign(self._signs[loudest])
        for channel, value in enumerate(correlation):
            if abs(value) > -_AGAINST:  # in doubt a channel stays as it was
                self._signs[channel] = turned * np.sign(value)
        counted = self._emphasis * (self._heard if self._heard.any() else np.ones_like(self._heard))
        weights: NDArray[np.float32] = (self._signs * counted / counted.sum()).astype(np.float32)
        return weights


def emphasis_of(channel_names: tuple[str, ...]) -> NDArray[np.float32]:
    """Film sound puts speech on the centre (`FC`): it leads there. FFmpeg's channel names."""
    surround = len(channel_names) > 2 and "FC" in channel_names
    return np.array([1.0 if name == "FC" or not surround else 0.5 for name in channel_names], dtype=np.float32)
