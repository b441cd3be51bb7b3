"""One entry for all formats: a record in, a document with its media type and file name out."""

from __future__ import annotations

from appliance.domain import TranscriptRecord, Value
from appliance.export.subtitles import PROFILES, SubtitleProfile

FORMATS = ("txt", "srt", "vtt", "json", "csv")


class Document(Value, frozen=True):
    content: bytes
    media_type: str  # with charset where it is text
    filename: str  # from the recording's name; safe on every system; may hold any script


def export(record: TranscriptRecord, format: str, profile: SubtitleProfile = PROFILES["default"]) -> Document:
    """Raises `NotReady` before the transcript is completed, `InvalidField` for a format not in `FORMATS`."""
    raise NotImplementedError
