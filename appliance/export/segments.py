"""Segments as they are, one cue each: what OpenAI's `srt`, `vtt` and `text` show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from appliance.domain import Segment

SUBTITLE_FORMATS = ("text", "srt", "vtt")


def render_segments(segments: Sequence[Segment], format: Literal["text", "srt", "vtt"]) -> str:
    """Plain text, SRT or WebVTT of the segments, one cue per segment, cues in order and never overlapping."""
    raise NotImplementedError
