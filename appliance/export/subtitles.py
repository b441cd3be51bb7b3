"""Subtitle cues from words: where to break, how long to show."""

from __future__ import annotations

from appliance.domain import Value


class SubtitleProfile(Value, frozen=True):
    name: str = "default"
    max_line_chars: int = 42  # columns: East Asian wide characters count two
    max_lines: int = 2
    min_duration_s: float = 1.0
    max_duration_s: float = 7.0
    max_chars_per_s: float = 20.0
    gap_s: float = 2 / 25  # two frames between cues


PROFILES: dict[str, SubtitleProfile] = {"default": SubtitleProfile()}


def parse_profile(text: str) -> SubtitleProfile:
    """A profile by its name, or by numbers: `max_line_chars=32,max_lines=1`. Raises `InvalidField`."""
    raise NotImplementedError
