"""From timed tokens to words, and from words to segments about a sentence long. Nothing is lost and nothing said twice.

Pure; knows nothing of the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec

from appliance.domain import Segment, Span, Value, Word
from appliance.writing import join_words

_OPENING = "\"'“‘¿¡([{«-–"  # belongs to the word after it
_CLOSING = "\"'”’.。,，!！?？:：;；)]}»、…%"  # belongs to the word before it
_SENTENCE_END = (".", "!", "?", "。", "！", "？", "…", "।", "؟", "۔")
_CLAUSE_END = (",", ";", ":", "，", "、", "；", "：", "،", "–", "—")
_ABBREVIATIONS = frozenset(
    (
        "mr.",
        "mrs.",
        "ms.",
        "dr.",
        "st.",
        "prof.",
        "vs.",
        "etc.",
        "no.",
        "sr.",
        "sra.",
        "ud.",
        "m.",
        "mme.",
        "z.b.",
        "d.h.",
        "bzw.",
        "hr.",
        "fr.",
    )
)
MAX_SEGMENT_S = 15.0
MAX_SEGMENT_CHARACTERS = 220
LONG_PAUSE_S = 1.2  # ends a segment even in the middle of a sentence
_STRETCHED_S = 0.8  # few words take longer
_INNER_PAUSE_S = 0.3
_SOFT_EDGE_S = 0.06
_REACH_S = 0.3  # word times are this inexact
_MIN_PART_S = 3.0  # a long sentence is not cut closer to its ends than this


class TimedToken(Value, frozen=True):
    """A text token and when it is said, in seconds from the start of the window."""

    token: int
    start: float
    end: float
    probability: float


class _Unit(Value, frozen=True):
    """Tokens of one word, before punctuation is attached."""

    text: str  # with its leading space
    start: float
    end: float
    probability: float
    spoken: float  # weight: tokens that make sound


def group_words(
    timed: Sequence[TimedToken], groups: Sequence[Sequence[int]], decode: Callable[[list[int]], str], offset: float
) -> tuple[Word, ...]:
    """Words in recording time from tokens in window time, divided as `groups` says; punctuation joins its word."""
    units, first = [], 0
    for group in groups:
        part = timed[first : first + len(group)]
        first += len(group)
        if part:
            units.append(_unit(part, decode([t.token for t in part]), offset))
    return tuple(_word(unit) for unit in _attach_closing(_attach_opening(units)) if unit.text.strip())


def _unit(part: Sequence[TimedToken], text: str, offset: float) -> _Unit:
    return _Unit(
        text=text,
        start=offset + part[0].start,
        end=offset + max(part[-1].end, part[0].start),
        probability=sum(t.probability for t in part) / len(part),
        spoken=len(part),
    )


def _is_only(unit: _Unit, characters: str) -> bool:
    text = unit.text.strip()
    return bool(text) and all(c in characters for c in text)


def _attach_opening(units: list[_Unit]) -> list[_Unit]:
    """A quote, bracket or dash that stands after a space goes to the word that follows, which keeps its own time."""
    result: list[_Unit] = []
    carried = ""
    for unit in units:
        if unit.text.startswith(" ") and _is_only(unit, _OPENING):
            carried += unit.text
        else:
            result.append(_with_text(unit, carried + unit.text))
            carried = ""
    if carried:
        result.append(_with_text(units[-1], carried))
    return result


def _attach_closing(units: list[_Unit]) -> list[_Unit]:
    """Punctuation without a space goes to the word before it; its time is silence, not the word's."""
    result: list[_Unit] = []
    for unit in units:
        if result and not unit.text.startswith(" ") and _is_only(unit, _CLOSING):
            result[-1] = _with_text(result[-1], result[-1].text + unit.text)
        else:
            result.append(unit)
    return result


def _with_text(unit: _Unit, text: str) -> _Unit:
    return _Unit(text=text, start=unit.start, end=unit.end, probability=unit.probability, spoken=unit.spoken)


def _word(unit: _Unit) -> Word:
    text = unit.text.strip()
    # An opening quote carries its own space: '" Hello' is shown as '"Hello'.
    return Word(
        start=round(unit.start, 2),
        end=round(max(unit.end, unit.start), 2),
        text=text.replace(" ", ""),
        probability=round(min(max(unit.probability, 0.0), 1.0), 4),
        space_before=unit.text.startswith(" "),
    )


class Runs(Protocol):
    """Where there is voice: `guard.Voice`."""

    def runs(self, start: float, end: float) -> Sequence[Span]:
        """Stretches of voice between two times, in order."""


def tighten(segments: Sequence[Segment], voice: Runs) -> list[Segment]:
    """Words that alignment stretched over silence, cut back to the longest voice in them."""
    return [_with_words(segment, tuple(_tighten_word(word, voice) for word in segment.words)) for segment in segments]


def _tighten_word(word: Word, voice: Runs) -> Word:
    if word.end - word.start <= _STRETCHED_S:
        return word
    runs = _join_close(voice.runs(word.start, word.end))
    if not runs:
        return word
    main = max(runs, key=lambda run: run.duration)
    start, end = max(word.start, main.start - _SOFT_EDGE_S), min(word.end, main.end + _SOFT_EDGE_S)
    return msgspec.structs.replace(word, start=round(start, 2), end=round(end, 2))


def _join_close(runs: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for run in runs:
        if joined and run.start - joined[-1].end < _INNER_PAUSE_S:
            joined[-1] = Span(start=joined[-1].start, end=run.end)
        else:
            joined.append(run)
    return joined


def _with_words(segment: Segment, words: tuple[Word, ...]) -> Segment:
    if not words:
        return segment
    return msgspec.structs.replace(segment, words=words, start=words[0].start, end=words[-1].end, text=join_words(words))


def insert(segments: Sequence[Segment], found: Sequence[Segment], gap: Span) -> list[Segment]:
    """Segments with what was found in a gap between their words: only what lies in the gap, and nothing said twice.

    Without word times only whole segments can be told apart.
    """
    parts = [part for segment in segments for part in _divide_at(segment, gap)]
    before = [w for s in parts if s.start < gap.start for w in s.words]
    after = [w for s in parts if s.start >= gap.start for w in s.words]
    new = [_inside(segment, gap) for segment in found]
    fresh = [segment for segment in _without_echo([s for s in new if s is not None], before, after) if segment.text]
    return sorted([*parts, *fresh], key=lambda s: s.start) if fresh else list(segments)


def _divide_at(segment: Segment, gap: Span) -> list[Segment]:
    """A segment that reaches over the gap in two, so that the found text stands in its place."""
    middle = (gap.start + gap.end) / 2
    first = tuple(w for w in segment.words if (w.start + w.end) / 2 < middle)
    last = segment.words[len(first) :]
    if not first or not last:
        return [segment]
    return [_with_words(segment, first), _with_words(segment, last)]


def _inside(segment: Segment, gap: Span) -> Segment | None:
    if not segment.words:
        return segment
    kept = tuple(w for w in segment.words if gap.start - _REACH_S <= (w.start + w.end) / 2 <= gap.end + _REACH_S)
    return _with_words(segment, kept) if kept else None


def _without_echo(found: list[Segment], before: Sequence[Word], after: Sequence[Word]) -> list[Segment]:
    """Drop words at the edges that repeat what stands beside the gap."""
    stream = [(word, segment) for segment in found for word in segment.words]
    if not stream:
        return found
    texts = [_bare(word) for word, _ in stream]
    head = _overlap([_bare(w) for w in before], texts)
    tail = _overlap(texts[head:], [_bare(w) for w in after])
    kept = stream[head : len(stream) - tail]
    return [_rebuild(part) for part in _cut_sentences(kept)]


def _overlap(first: Sequence[str], second: Sequence[str]) -> int:
    """How many words at the end of one are the words at the start of the other."""
    longest = min(len(first), len(second))
    return next((n for n in range(longest, 0, -1) if list(first[-n:]) == list(second[:n])), 0)


def _bare(word: Word) -> str:
    return "".join(c for c in word.text.lower() if c.isalnum())


# --- segments ---------------------------------------------------------------------------------------------------------


def sentences(segments: Sequence[Segment]) -> list[Segment]:
    """The decoder's segments divided and joined into about a sentence each, where words have times; others as they are.

    The decoder ends a segment where it breathes, often in the middle of a sentence, so words are taken as one stream per
    window and cut anew: at sentence ends, at long pauses, and inside sentences that would be too long to read or to show.
    """
    if not segments or not all(segment.words for segment in segments):
        return list(segments)
    stream = [(word, segment) for segment in segments for word in segment.words]
    parts = [part for sentence in _cut_sentences(stream) for part in _cut_long(sentence)]
    return [_rebuild(part) for part in parts]


_Stream = list[tuple[Word, Segment]]


def _cut_sentences(stream: _Stream) -> Iterator[_Stream]:
    current: _Stream = []
    for i, item in enumerate(stream):
        current.append(item)
        following = stream[i + 1][0] if i + 1 < len(stream) else None
        if following is None or _ends_segment(item[0], following):
            yield current
            current = []


def _ends_segment(word: Word, following: Word) -> bool:
    if following.start - word.end >= LONG_PAUSE_S:
        return True
    return ends_sentence(word.text) and not following.text[:1].islower()


def ends_sentence(text: str) -> bool:
    bare = text.rstrip("\"'”’)]}»")
    return (
        bare.endswith(_SENTENCE_END)
        and text.lower() not in _ABBREVIATIONS
        and not (len(bare) == 2 and bare[0].isupper() and bare[1] == ".")
    )


def _cut_long(part: _Stream) -> list[_Stream]:
    """Halve what is too long at its best place until nothing is."""
    words = [word for word, _ in part]
    too_long = words[-1].end - words[0].start > MAX_SEGMENT_S or len(join_words(words)) > MAX_SEGMENT_CHARACTERS
    if not too_long or len(part) < 2:
        return [part]
    at = max(range(1, len(part)), key=lambda i: _cut_score(words, i))
    return _cut_long(part[:at]) + _cut_long(part[at:])


def _cut_score(words: Sequence[Word], i: int) -> float:
    """How good a place before word `i` is: pauses and commas, near the middle."""
    middle = (words[0].start + words[-1].end) / 2
    half = max((words[-1].end - words[0].start) / 2, 0.01)
    pause = words[i].start - words[i - 1].end
    comma = words[i - 1].text.endswith(_CLAUSE_END)
    near_edge = min(words[i - 1].end - words[0].start, words[-1].end - words[i].start) < _MIN_PART_S
    return min(pause, 1.0) * 2 + comma * 0.8 - abs(words[i].start - middle) / half - near_edge * 2


def _rebuild(part: _Stream) -> Segment:
    """A segment of these words, with the evidence of the decoder's segment that gave the most of them."""
    words = tuple(word for word, _ in part)
    sources = [segment for _, segment in part]
    most, _ = Counter(map(id, sources)).most_common(1)[0]
    main = next(segment for segment in sources if id(segment) == most)
    return _with_words(main, words)
