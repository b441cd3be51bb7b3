"""Several transcripts of one recording, word by word: where they agree, and what each says where they do not.

Pure. Substituting, leaving out and adding a word cost one each, and the script is a shortest one (Ukkonen, "Algorithms for
approximate string matching", 1985: furthest reaching points per number of edits, so similar texts are quick). Memory is
bounded: very long or very different texts are aligned in parts, each cut where a run of words is the same.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import groupby

from appliance.domain import Transcript, Value
from appliance.writing import join_words

MAX_EDITS = 2_000  # of one part: 16 MB of table, some seconds
FIRST_PART_WORDS = 20_000  # two hours of speech
_LEAST_PART_WORDS = MAX_EDITS // 2  # two parts of this length never differ by more edits
_SURE_RUN_WORDS = 8
_NOT_OF_THE_WORD = re.compile(r"[^\w']+")
_NOWHERE = -1


class Kind(StrEnum):
    SAME = "same"
    CHANGED = "changed"  # other words in the same place
    MISSING = "missing"  # the other has nothing here
    ADDED = "added"  # only the other has it


class Stretch(Value, frozen=True):
    """Neighbouring words of one kind. Positions count words from 0, the end is the first that no longer belongs to it."""

    kind: Kind
    first: int
    end: int
    other_first: int
    other_end: int
    text: str = ""  # where they differ
    other_text: str = ""
    start_s: float | None = None  # when it is said, where word times are known
    end_s: float | None = None


class Version(Value, frozen=True):
    """One other transcript against the main one."""

    model: str
    words: int
    edits: int  # words changed, missing and added
    difference: float  # edits per word of the main transcript
    stretches: tuple[Stretch, ...]


class Comparison(Value, frozen=True):
    model: str  # of the main transcript
    words: int
    versions: tuple[Version, ...]


class Step(Value, frozen=True):
    kind: Kind
    first: int  # position in the main text before this step
    other: int


class _Said(Value, frozen=True):
    text: str
    start: float | None = None
    end: float | None = None
    space_before: bool = True


def compare(transcript: Transcript, alternatives: Iterable[Transcript]) -> Comparison:
    """Case and punctuation make no difference. Seconds for hours of speech: not to be called on the event loop."""
    ours = _words(transcript)
    return Comparison(transcript.model, len(ours), tuple(_version(ours, other) for other in alternatives))


def _version(ours: Sequence[_Said], other: Transcript) -> Version:
    theirs = _words(other)
    steps = align([_plain(word.text) for word in ours], [_plain(word.text) for word in theirs])
    edits = sum(step.kind is not Kind.SAME for step in steps)
    grouped = (tuple(group) for _, group in groupby(steps, key=lambda step: step.kind))
    stretches = tuple(_stretch(group, ours, theirs) for group in grouped)
    return Version(other.model, len(theirs), edits, round(edits / max(1, len(ours)), 4), stretches)


def _stretch(steps: Sequence[Step], ours: Sequence[_Said], theirs: Sequence[_Said]) -> Stretch:
    kind, first, other = steps[0].kind, steps[0].first, steps[0].other
    end = first + (0 if kind is Kind.ADDED else len(steps))
    other_end = other + (0 if kind is Kind.MISSING else len(steps))
    said = ours[first:end] or theirs[other:other_end]
    differs = kind is not Kind.SAME
    return Stretch(
        kind=kind,
        first=first,
        end=end,
        other_first=other,
        other_end=other_end,
        text=join_words(ours[first:end]) if differs else "",
        other_text=join_words(theirs[other:other_end]) if differs else "",
        start_s=said[0].start,
        end_s=said[-1].end,
    )


def _words(transcript: Transcript) -> tuple[_Said, ...]:
    """Timed words where there are any, else the text cut at spaces."""
    return tuple(
        said
        for segment in transcript.segments
        for said in (
            [_Said(word.text, word.start, word.end, word.space_before) for word in segment.words]
            or [_Said(text, segment.start, segment.end) for text in segment.text.split()]
        )
    )


def _plain(word: str) -> str:
    return _NOT_OF_THE_WORD.sub("", word).casefold() or word


def align(ours: Sequence[str], theirs: Sequence[str]) -> list[Step]:
    """The steps from one text to the other, in order; a shortest script for texts up to FIRST_PART_WORDS and MAX_EDITS."""
    numbers: dict[str, int] = {}
    a = [numbers.setdefault(word, len(numbers)) for word in ours]
    b = [numbers.setdefault(word, len(numbers)) for word in theirs]
    steps: list[Step] = []
    at_a = at_b = 0
    size = FIRST_PART_WORDS
    while at_a < len(a) or at_b < len(b):
        part_a, part_b = a[at_a : at_a + size], b[at_b : at_b + size]
        kinds = shortest_script(part_a, part_b, MAX_EDITS)
        if kinds is None:
            size = max(size // 2, _LEAST_PART_WORDS)
            continue
        if at_a + len(part_a) < len(a) or at_b + len(part_b) < len(b):
            kinds = kinds[: _sure_end(kinds)]
        for kind in kinds:
            steps.append(Step(kind, at_a, at_b))
            at_a += kind is not Kind.ADDED
            at_b += kind is not Kind.MISSING
    return steps


def _sure_end(kinds: Sequence[Kind]) -> int:
    """Where to cut a part that the text goes on after: behind the last long run of equal words that is not near its end."""
    run, sure = 0, 0
    for position, kind in enumerate(kinds[: max(1, len(kinds) * 3 // 4)], 1):
        run = run + 1 if kind is Kind.SAME else 0
        if run >= _SURE_RUN_WORDS:
            sure = position
    return sure or max(1, len(kinds) // 2)


def shortest_script(a: Sequence[int], b: Sequence[int], max_edits: int) -> list[Kind] | None:
    """The kinds of the steps from `a` to `b`; None when it needs more than `max_edits` that are not SAME."""
    reached = _furthest(a, b, max_edits)
    return None if reached is None else _trace(reached, a, b)


def _furthest(a: Sequence[int], b: Sequence[int], max_edits: int) -> list[array[int]] | None:
    """For each number of edits e and diagonal k = j - i in -e..e (at index k + e): the largest i with a[:i] turned into b[:i+k]."""
    n, m = len(a), len(b)
    rows: list[array[int]] = []
    for edits in range(max_edits + 1):
        before, row = rows[-1] if rows else None, array("i")
        for k in range(-edits, edits + 1):
            i = 0 if before is None else _best(before, k, edits - 1, n, m)[1]
            if i != _NOWHERE:
                while i < n and i + k < m and a[i] == b[i + k]:
                    i += 1
            row.append(i)
        rows.append(row)
        if abs(m - n) <= edits and row[m - n + edits] == n:
            return rows
    return None


def _best(before: array[int], k: int, reach: int, n: int, m: int) -> tuple[Kind, int]:
    """The step that gets furthest on diagonal k, and where to; SAME stands for no step at all, where an edge is reached."""
    kind, best = Kind.SAME, _NOWHERE
    if -reach <= k <= reach and (i := before[k + reach]) != _NOWHERE:
        kind, best = (Kind.CHANGED, i + 1) if i < n and i + k < m else (Kind.SAME, i)
    if k + 1 <= reach and k + 1 >= -reach and (i := before[k + 1 + reach]) != _NOWHERE and best < i + 1 <= n:
        kind, best = Kind.MISSING, i + 1
    if k - 1 >= -reach and k - 1 <= reach and (i := before[k - 1 + reach]) > best and i + k <= m:
        kind, best = Kind.ADDED, i
    return kind, best


def _trace(rows: Sequence[array[int]], a: Sequence[int], b: Sequence[int]) -> list[Kind]:
    """Walk back from the end of both texts."""
    n, m = len(a), len(b)
    kinds: list[Kind] = []
    i, k = n, m - n
    for edits in range(len(rows) - 1, 0, -1):
        kind, landed = _best(rows[edits - 1], k, edits - 1, n, m)
        kinds += [Kind.SAME] * (i - landed)
        i = landed
        if kind is not Kind.SAME:
            kinds.append(kind)
        i -= kind in (Kind.CHANGED, Kind.MISSING)
        k += (kind is Kind.MISSING) - (kind is Kind.ADDED)
    kinds += [Kind.SAME] * i
    return kinds[::-1]
