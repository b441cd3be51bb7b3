"""Plain text to read: a paragraph for each turn of a speaker, with times where they are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from appliance.domain import Segment, Transcript
from appliance.export.names import speaker_names
from appliance.writing import join_texts, width

PARAGRAPH_PAUSE_S: Final = 2.0
PARAGRAPH_COLUMNS: Final = 800  # a monologue is broken after the sentence that passes this


def render_txt(transcript: Transcript, *, times: bool = False) -> str:
    names = speaker_names(transcript)
    spoken = [segment for segment in transcript.segments if segment.text.strip()]
    return "\n".join(_render(paragraph, names, times) for paragraph in paragraphs(spoken))


def paragraphs(segments: Iterable[Segment]) -> Iterator[list[Segment]]:
    held: list[Segment] = []
    columns = 0
    for segment in segments:
        if held and (_is_new_turn(held[-1], segment) or columns > PARAGRAPH_COLUMNS):
            yield held
            held, columns = [], 0
        held.append(segment)
        columns += width(segment.text)
    if held:
        yield held


def _is_new_turn(before: Segment, segment: Segment) -> bool:
    return before.speaker != segment.speaker or segment.start - before.end > PARAGRAPH_PAUSE_S


def _render(paragraph: list[Segment], names: Mapping[str, str], times: bool) -> str:
    first = paragraph[0]
    time = f"[{clock(first.start)}] " if times else ""
    name = f"{names.get(first.speaker, first.speaker)}: " if first.speaker else ""
    return f"{time}{name}{join_texts(segment.text for segment in paragraph)}\n"


def clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
