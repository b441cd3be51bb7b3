"""Segments as they are, one cue each: what OpenAI's `srt` and `vtt` show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from appliance.domain import Segment
from appliance.export.srt import render_srt
from appliance.export.subtitles import make_plain_cues
from appliance.export.vtt import render_vtt


def render_segments(segments: Sequence[Segment], format: Literal["srt", "vtt"]) -> str:
    """SRT or WebVTT of the segments, one cue per segment, cues in order and never overlapping."""
    cues = make_plain_cues(segments)
    return render_srt(cues) if format == "srt" else render_vtt(cues)
