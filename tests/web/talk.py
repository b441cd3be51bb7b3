"""Transcripts to look at: a short ward round with doubt and a gap in it, and one as long as asked for."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

LINES = (
    ("SPEAKER_00", "Good morning. Let us begin with the patient in room four."),
    ("SPEAKER_01", "She slept well and had no fever during the night. The blood pressure was a hundred and thirty over eighty."),
    ("SPEAKER_00", "And the wound?"),
    ("SPEAKER_01", "Dry and closed. The drain can come out today, I would say, and Dr. Aydın agrees."),
    (
        "SPEAKER_02",
        "I looked at it at seven. There is a little redness on the left side, nothing that worries me, but we should look "
        "at it again this evening.",
    ),
    (
        "SPEAKER_00",
        "Then we keep the metoprolol as it is and repeat the blood count tomorrow morning. If the C-reactive protein is "
        "below twenty she may go home on Thursday.",
    ),
    ("SPEAKER_01", "Her daughter asked whether she could pick her up in the afternoon. I told her that we would call."),
)
DOUBTFUL = {"metoprolol", "Aydın", "redness"}


def segment(n: int, start: float, text: str, speaker: str | None) -> Json:
    words, at = [], start
    for word in text.split():
        length = 0.08 + 0.055 * len(word)
        sure = 0.31 if word.strip(",.") in DOUBTFUL else 0.93
        words.append({"start": round(at, 2), "end": round(at + length, 2), "word": word, "probability": sure, "space_before": True})
        at += length + 0.06
    return {"id": n, "start": start, "end": round(at, 2), "text": text, "speaker": speaker, "language": "en", "words": words}


def segments(count: int, speakers: bool = True) -> list[Json]:
    made: list[Json] = []
    at = 0.4
    for n in range(count):
        speaker, text = LINES[n % len(LINES)]
        made.append(segment(n, round(at, 2), text, speaker if speakers else None))
        at = made[-1]["end"] + 0.7
    return made


def record(slug: str, title: str, count: int = 7, **changes: Any) -> Json:
    parts = segments(count)
    labels = sorted({part["speaker"] for part in parts})
    return {
        "id": 1,
        "slug": slug,
        "title": title,
        "status": "completed",
        "created_at": "2026-11-22T08:12:00Z",
        "duration": parts[-1]["end"] + 8.2,
        "language": "en",
        "languages": ["en"],
        "model": "whisper-base",
        "revision": 0,
        "segments": parts,
        "speakers": [{"label": label, "name": None} for label in labels],
        "warnings": [],
        "text": " ".join(part["text"] for part in parts),
    } | changes


def gap(start: float, end: float) -> Json:
    return {
        "code": "speech_without_words",
        "message": "Speech was heard here, but no words were found.",
        "start": start,
        "end": end,
    }
