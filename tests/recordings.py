"""Recordings the tests use: the shared reference set where it is present, and one that every installation carries."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SHARED_AUDIO = Path(__file__).resolve().parent.parent.parent / "shared" / "audio"


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
