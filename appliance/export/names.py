"""What things are called in a document: speakers, and the file itself."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from appliance.domain import Transcript

MAX_NAME_BYTES: Final = 180  # most file systems take 255; the rest is for "(1)" and the like
FORBIDDEN: Final = re.compile(r'[<>:"/\\|?*]')  # by Windows
RESERVED: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # by Windows, with any extension


def speaker_names(transcript: Transcript) -> dict[str, str]:
    """By label: the name a person gave, or the label."""
    return {speaker.label: speaker.name or speaker.label for speaker in transcript.speakers}


def document_name(recording_name: str, extension: str) -> str:
    """`interview.mp3` becomes `interview.srt`: a name that Windows, macOS and Linux all take, in any script."""
    last = re.split(r"[/\\]", recording_name)[-1]
    stem = last.rpartition(".")[0] or last
    clean = "".join(char for char in unicodedata.normalize("NFC", stem) if unicodedata.category(char) not in ("Cc", "Cf", "Cs"))
    clean = FORBIDDEN.sub("_", clean).strip(" .")
    clean = clean.encode()[:MAX_NAME_BYTES].decode(errors="ignore").strip(" .") or "transcript"
    return f"{'_' if RESERVED.fullmatch(clean) else ''}{clean}.{extension}"
