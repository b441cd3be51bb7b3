"""Segments as they are, one cue each: what OpenAI's `srt`, `vtt` and `text` show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from appliance.domain import Segment
from appliance.export.srt import render_srt
from appliance.export.subtitles import make_plain_cues
from appliance.export.vtt import render_vtt
from appliance.writing import join_texts

SUBTITLE_FORMATS = ("text", "srt", "vtt")


def render_segments(segments: Sequence[Segment], format: Literal["text", "srt", "vtt"]) -> str:
    """Plain text, SRT or WebVTT of the segments, one cue per segment, cues in order and never overlapping."""
    if format == "text":
        return join_texts(segment.text for segment in segments) + "\n"
    cues = make_plain_cues(segments)
    return render_srt(cues) if format == "srt" else render_vtt(cues)
