"""Recordings the tests use: the shared reference set where it is present, and one that every installation carries."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

SHARED_AUDIO = Path(__file__).resolve().parent.parent.parent / "shared" / "audio"
SAMPLE_RATE_HZ = 16_000


def telephone_call() -> Path:
    """Thirty seconds, two speakers, English; comes with pyannote.audio."""
    spec = importlib.util.find_spec("pyannote")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations))) / "audio" / "sample" / "sample.wav"


def shared(name: str) -> Path:
    """A recording of the reference set; skips the test, plainly, where the set is not present."""
    path = SHARED_AUDIO / name
    if not path.exists():
        pytest.skip(f"the reference recording {name} is not on this machine (expected in ../shared/audio)")
    return path


@cache
def manifest() -> tuple[dict[str, Any], ...]:
    """Every reference recording: file, duration_s, lang, transcript, rttm, set."""
    path = shared("manifest.json")
    return tuple(json.loads(path.read_text()))


def read_samples(path: Path) -> NDArray[np.int16]:
    """Shape (n,), mono, 16 kHz."""
    resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE_HZ)
    with av.open(str(path)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])
