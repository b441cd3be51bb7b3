"""SubRip: numbered cues, `HH:MM:SS,mmm`. It has no way to name a speaker and no escaping."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

from appliance.export.subtitles import Cue

RIGHT_TO_LEFT: Final = "\u202b{}\u202c"  # players assume left to right and would put the full stop on the wrong side
LETTERS: Final = ("Lu", "Ll", "Lt", "Lo")


def render_srt(cues: Iterable[Cue]) -> str:
    return "".join(f"{number}\n{_cue(cue)}\n\n" for number, cue in enumerate(cues, 1))


def srt_time(ms: int) -> str:
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"


def _cue(cue: Cue) -> str:
    return "\n".join((f"{srt_time(cue.start_ms)} --> {srt_time(cue.end_ms)}", *map(_line, cue.lines)))


def _line(text: str) -> str:
    text = text.replace("-->", "→")  # would be read as a time line
    return RIGHT_TO_LEFT.format(text) if _is_right_to_left(text) else text


def _is_right_to_left(text: str) -> bool:
    """By its first letter."""
    letters = (char for char in text if unicodedata.category(char) in LETTERS)
    return unicodedata.bidirectional(next(letters, " ")) in ("R", "AL")
