"""Mixing to one channel loses nobody."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from appliance.audio.mixdown import Mixdown, emphasis_of
from tests.audio.tones import LEVEL, loudness, pitch_hz, tone

SPEECH = tone(440, 2.0)
SILENT = np.zeros_like(SPEECH)


def mix(*channels: NDArray[np.float32], block: int = 1000, names: tuple[str, ...] = ()) -> NDArray[np.int16]:
    samples = np.stack(channels, axis=1)
    mixdown = Mixdown(emphasis_of(names or ("FL", "FR", "X", "Y", "Z", "V")[: len(channels)]))
    mixed = [mixdown.push(samples[start : start + block]) for start in range(0, len(samples), block)]
    return np.frombuffer(b"".join([*mixed, mixdown.flush()]), np.int16)


def level(samples: NDArray[np.int16]) -> float:
    return float(loudness(samples) * np.sqrt(2))


def test_equal_channels_keep_their_level() -> None:
    mixed = mix(SPEECH, SPEECH)
    assert len(mixed) == len(SPEECH)
    assert level(mixed) == pytest.approx(LEVEL, rel=0.01)


def test_a_channel_with_swapped_wires_does_not_cancel_the_other() -> None:
    mixed = mix(SPEECH, -SPEECH)
    assert level(mixed) == pytest.approx(LEVEL, rel=0.01)
    assert pitch_hz(mixed) == pytest.approx(440, abs=2)


def test_a_silent_channel_does_not_halve_the_one_that_speaks() -> None:
    for channels in ((SPEECH, SILENT), (SILENT, SPEECH), (SILENT, SILENT, SPEECH)):
        assert level(mix(*channels)) == pytest.approx(LEVEL, rel=0.01)


def test_two_people_on_two_channels_are_both_heard() -> None:
    half = len(SPEECH) // 2
    left = np.concatenate([tone(440, 1.0), SILENT[:half]])
    right = np.concatenate([SILENT[:half], tone(900, 1.0)])
    mixed = mix(left, right)
    for part, pitch in ((mixed[:half], 440), (mixed[half:], 900)):
        assert pitch_hz(part) == pytest.approx(pitch, abs=3)
        assert level(part) >= LEVEL / 2 * 0.98


def test_turning_a_channel_over_midway_does_not_click() -> None:
    half = len(SPEECH) // 2
    mixed = mix(SPEECH, np.concatenate([SPEECH[:half], -SPEECH[half:]])).astype(np.int32)
    steepest = np.abs(np.diff(mix(SPEECH, SPEECH).astype(np.int32))).max()
    assert np.abs(np.diff(mixed)).max() < 1.5 * steepest


def test_the_centre_leads_in_film_sound() -> None:
    names = ("FL", "FR", "FC", "LFE", "BL", "BR")
    music = tone(900, 2.0) * np.float32(0.5)
    mixed = mix(music, music, SPEECH, SILENT, SILENT, SILENT, names=names)
    assert pitch_hz(mixed) == pytest.approx(440, abs=2)


def test_a_person_on_any_channel_of_six_is_heard() -> None:
    names = ("FL", "FR", "FC", "LFE", "BL", "BR")
    for speaking in range(6):
        channels = [SPEECH if channel == speaking else SILENT for channel in range(6)]
        assert level(mix(*channels, names=names)) == pytest.approx(LEVEL, rel=0.01)


def test_louder_than_full_scale_is_clipped_not_wrapped() -> None:
    loud = 4 * SPEECH
    clear = np.abs(SPEECH) > 0.01
    assert np.array_equal(np.sign(mix(loud, loud)[clear]), np.sign(SPEECH[clear]).astype(int))


@settings(max_examples=40, deadline=None)
@given(
    gains=st.lists(st.floats(-1, 1), min_size=1, max_size=8).filter(lambda gains: max(map(abs, gains)) > 0.1),
    block=st.integers(1, 20_000),
)
def test_one_voice_in_any_mixture_survives(gains: list[float], block: int) -> None:
    """Whatever sign and strength a voice has on each channel, the mix is at least as loud as the average channel."""
    speech = SPEECH[:8000]
    mixed = mix(*[np.float32(gain) * speech for gain in gains], block=block, names=tuple(f"C{n}" for n in range(len(gains))))
    assert len(mixed) == len(speech)
    assert level(mixed) >= LEVEL * np.mean(np.abs(gains)) * 0.95 - 0.005
