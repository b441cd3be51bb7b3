"""The smallest pieces a subtitle may be broken between: words with their times, in reading order, cut into runs of one voice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from appliance.domain import Segment, Value, Word
from appliance.writing import is_unspaced, needs_space, width

RUN_PAUSE_S: Final = 1.0  # after a longer silence nobody expects the sentence to go on in the same cue
OPENING: Final = frozenset("([{«“‘「『（【《〈¿¡")
SMALL_KANA: Final = frozenset("ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶー々")


class Unit(Value, frozen=True):
    """Text that stays together on a line."""

    text: str
    start: float
    end: float
    space_before: bool
    columns: int  # on the screen, without the space


class Run(Value, frozen=True):
    """Consecutive speech of one voice; no unit starts before the one before it."""

    speaker: str | None
    units: tuple[Unit, ...]


def make_unit(text: str, start: float, end: float, space_before: bool) -> Unit:
    return Unit(text, start, max(start, end), space_before, width(text))


def split_runs(segments: Iterable[Segment], max_columns: int) -> list[Run]:
    """Segments in order of time (two channels may overlap), joined as long as the same voice goes on without a pause.

    Words wider than `max_columns` are cut only in scripts without spaces, where a line may end after most characters.
    """
    runs: list[tuple[Segment, list[Unit]]] = []
    before: Segment | None = None
    for segment in sorted(segments, key=lambda segment: (segment.start, segment.id)):
        units = list(_units(segment, max_columns))
        if not units:
            continue
        if before is not None and _goes_on(before, segment):
            so_far = runs[-1][1]
            so_far += (_joined_to(so_far[-1], units[0]), *units[1:])
        else:
            runs.append((segment, units))
        before = segment
    return [Run(segment.speaker, tuple(_in_order(units))) for segment, units in runs]


def _in_order(units: Iterable[Unit]) -> Iterator[Unit]:
    latest = 0.0
    for unit in units:
        latest = max(latest, unit.start)
        yield unit if unit.start == latest else make_unit(unit.text, latest, unit.end, unit.space_before)


def line_text(units: Sequence[Unit]) -> str:
    return "".join((" " if unit.space_before and index else "") + unit.text for index, unit in enumerate(units))


def columns_of(units: Sequence[Unit]) -> int:
    return sum(unit.columns + unit.space_before for unit in units) - units[0].space_before


def _goes_on(before: Segment, segment: Segment) -> bool:
    same_voice = (before.speaker, before.channel) == (segment.speaker, segment.channel)
    return same_voice and before.end <= segment.start <= before.end + RUN_PAUSE_S


def _joined_to(last: Unit, first: Unit) -> Unit:
    return make_unit(first.text, first.start, first.end, needs_space(last.text[-1], first.text[0]))


def _units(segment: Segment, max_columns: int) -> Iterator[Unit]:
    """Words, where what cannot be parted (`well` + `-known`) is one unit."""
    held: Unit | None = None
    for word in _words(segment):
        for unit in _pieces(word, max_columns):
            if held is None:
                held = unit
            elif unit.space_before or _may_break(held.text[-1], unit.text[0]):
                yield held
                held = unit
            else:
                held = make_unit(held.text + unit.text, min(held.start, unit.start), max(held.end, unit.end), held.space_before)
    if held is not None:
        yield held


def _words(segment: Segment) -> Iterator[Word]:
    """The segment's words; where word times were not asked for, its text spread over its time."""
    if segment.words:
        words = ((" ".join(word.text.split()), word) for word in segment.words)
        yield from (Word(word.start, max(word.start, word.end), text, 1.0, None, word.space_before) for text, word in words if text)
        return
    texts = segment.text.split()
    total = sum(map(len, texts))
    pace = max(0.0, segment.end - segment.start) / max(1, total)
    at = 0
    for text in texts:
        yield Word(segment.start + at * pace, segment.start + (at + len(text)) * pace, text, 1.0)
        at += len(text)


def _pieces(word: Word, max_columns: int) -> Iterator[Unit]:
    parts = _cut(word.text) if width(word.text) > max_columns else [word.text]
    pace = (word.end - word.start) / len(word.text)
    at = 0
    for part in parts:
        start, end = word.start + at * pace, word.start + (at + len(part)) * pace
        at += len(part)
        yield make_unit(part, start, word.end if at == len(word.text) else end, word.space_before and at == len(part))


def _cut(text: str) -> list[str]:
    parts = [text[0]]
    for left, right in pairwise(text):
        if _may_break(left, right):
            parts.append(right)
        else:
            parts[-1] += right
    return parts


def _may_break(left: str, right: str) -> bool:
    """Whether a line may end between two characters that stand without a space (a small part of UAX 14)."""
    if not (is_unspaced(left) or is_unspaced(right)):
        return False
    if left in OPENING or right in SMALL_KANA:
        return False
    return right.isalnum() or right in OPENING
