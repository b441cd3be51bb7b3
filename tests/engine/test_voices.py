"""Voice prints that are known, paired with those that were heard."""

from __future__ import annotations

import numpy as np

from appliance.engine.voices import ALIKE, Print, name_voices

EAST, NORTH = np.array([1.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32)


def between(cosine: float) -> Print:
    """As alike to EAST as `cosine` says, and of another length."""
    return np.array([cosine, (1 - cosine**2) ** 0.5], np.float32) * 7


def test_who_sounds_like_a_sample_has_its_name() -> None:
    assert name_voices({"a": EAST, "b": NORTH}, {"Ada": NORTH * 3, "Bo": EAST}) == {"a": "Bo", "b": "Ada"}


def test_who_sounds_like_nobody_has_none() -> None:
    assert name_voices({"a": EAST}, {"Ada": between(ALIKE - 0.01)}) == {}
    assert name_voices({"a": EAST}, {"Ada": between(ALIKE + 0.01)}) == {"a": "Ada"}


def test_a_person_is_one_speaker_only() -> None:
    """The likelier one, though the other would do, too."""
    assert name_voices({"a": between(0.8), "b": between(0.95)}, {"Ada": EAST}) == {"b": "Ada"}


def test_nobody_known_or_nobody_heard() -> None:
    assert name_voices({}, {"Ada": EAST}) == {}
    assert name_voices({"a": EAST}, {}) == {}
