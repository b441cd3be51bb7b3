"""Transcripts as documents: pure functions from a transcript to text."""

from appliance.export.document import FORMATS, Document, export
from appliance.export.segments import render_segments
from appliance.export.subtitles import PROFILES, SubtitleProfile, parse_profile

__all__ = ["FORMATS", "PROFILES", "Document", "SubtitleProfile", "export", "parse_profile", "render_segments"]
