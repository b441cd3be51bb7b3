"""A table for spreadsheets: one row for each segment, by RFC 4180, with a byte order mark so that Excel reads it as UTF-8.

A cell that a spreadsheet would take for a formula gets an apostrophe in front; plain numbers such as -5 do not.
"""

from __future__ import annotations

import csv
import io
import re
from typing import Final

from appliance.domain import Transcript
from appliance.export.names import speaker_names

COLUMNS: Final = ("segment", "start", "end", "speaker", "language", "text")
FORMULA: Final = re.compile(r"\s*[=+\-@\t\r\n＝＋－＠]")
NUMBER: Final = re.compile(r"[+-]?\d+([.,]\d+)?%?")


def render_csv(transcript: Transcript) -> str:
    """Times in seconds from the start of the recording."""
    names = speaker_names(transcript)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for segment in transcript.segments:
        speaker = names.get(segment.speaker, segment.speaker) if segment.speaker else ""
        times = (f"{segment.start:.3f}", f"{segment.end:.3f}")
        writer.writerow((segment.id, *times, safe_cell(speaker), segment.language or "", safe_cell(segment.text)))
    return "\ufeff" + file.getvalue()


def safe_cell(text: str) -> str:
    text = text.replace("\0", "")
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text
