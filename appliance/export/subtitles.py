"""Subtitle cues from words: where to break, how long to show.

Cues never overlap and never run backwards, whatever the words do; every word is in exactly one cue. A cue begins with
its first word, unless somebody else's cue is still needed at that moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from appliance.domain import Segment, Transcript, Value
from appliance.errors import InvalidField
from appliance.export.breaks import break_cost
from appliance.export.units import Run, Unit, columns_of, line_text, make_unit, split_runs

CUE_COST: Final = 4.0  # of having one more cue
SHORT_COST: Final = 4.0  # for each second a cue stays below the shortest time
FAST_COST: Final = 0.5  # for each column a second above the reading speed
SHORTEST_SLOT_MS: Final = 200  # from one cue's start to the next, when words leave no time at all


class SubtitleProfile(Value, frozen=True):
    name: str = "default"
    max_line_chars: int = 42  # columns: East Asian wide characters count two
    max_lines: int = 2
    min_duration_s: float = 1.0
    max_duration_s: float = 7.0
    max_chars_per_s: float = 20.0
    gap_s: float = 2 / 25  # two frames between cues


PROFILES: Final[dict[str, SubtitleProfile]] = {
    profile.name: profile
    for profile in (
        SubtitleProfile(),
        SubtitleProfile("broadcast", max_line_chars=37, max_duration_s=6.0, max_chars_per_s=15.0),
        SubtitleProfile("single-line", max_lines=1),
        SubtitleProfile("mobile", max_line_chars=26, max_duration_s=4.0),
    )
}
LIMITS: Final[dict[str, tuple[float, float]]] = {
    "max_line_chars": (4, 500),
    "max_lines": (1, 10),
    "min_duration_s": (0.0, 10.0),
    "max_duration_s": (0.5, 60.0),
    "max_chars_per_s": (1.0, 200.0),
    "gap_s": (0.0, 1.0),
}


class Cue(Value, frozen=True):
    start_ms: int
    end_ms: int
    lines: tuple[str, ...]
    speaker: str | None  # a Speaker.label


def parse_profile(text: str) -> SubtitleProfile:
    """A profile by name, by numbers, or both: `mobile,max_lines=1`. Raises `InvalidField`."""
    profile = PROFILES["default"]
    for index, part in enumerate(filter(None, (part.strip() for part in text.split(",")))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if equals:
            profile = msgspec.structs.replace(profile, name="custom", **{name: _number(name, value)})
        elif index:
            raise InvalidField(
                "profile", f"has '{name}' after something else", "One name may come, and it comes first: mobile,max_lines=1."
            )
        elif name in PROFILES:
            profile = PROFILES[name]
        else:
            raise InvalidField("profile", f"names no profile '{name}'", f"There are: {', '.join(PROFILES)}.")
    if profile.min_duration_s > profile.max_duration_s:
        raise InvalidField("profile", "has a shortest duration above the longest")
    return profile


def _number(name: str, value: str) -> float:
    if name not in LIMITS:
        raise InvalidField("profile", f"has no number '{name}'", f"There are: {', '.join(LIMITS)}.")
    low, high = LIMITS[name]
    is_whole = isinstance(low, int)
    try:
        number = int(value) if is_whole else float(value)
    except ValueError:
        raise InvalidField("profile", f"has no {'whole ' if is_whole else ''}number for '{name}': {value!r}") from None
    if not low <= number <= high:
        raise InvalidField("profile", f"wants '{name}' between {low} and {high}")
    return number


def make_cues(transcript: Transcript, profile: SubtitleProfile) -> list[Cue]:
    drafts = [
        Draft(run.speaker, units)
        for run in split_runs(transcript.segments, profile.max_line_chars)
        for units in _split(run, profile)
    ]
    drafts.sort(key=lambda draft: draft.start_ms)
    lines = [tuple(map(line_text, wrap(draft.units, profile))) for draft in drafts]
    return time_cues(drafts, lines, profile, round(transcript.duration * 1000))


class Draft(Value, frozen=True):
    """The words of one cue, before it is known how long the cue can stay."""

    speaker: str | None
    units: tuple[Unit, ...]

    @property
    def start_ms(self) -> int:
        return max(0, round(min(unit.start for unit in self.units) * 1000))

    @property
    def end_ms(self) -> int:
        return max(self.start_ms, round(max(unit.end for unit in self.units) * 1000))


# --- where to break ---------------------------------------------------------------------------------------------------


def _split(run: Run, profile: SubtitleProfile) -> list[tuple[Unit, ...]]:
    """The cheapest way to cut a run into cues: shortest path over all places where a cue may end."""
    units = run.units
    best: list[tuple[float, int]] = [(0.0, 0)] + [(float("inf"), 0)] * len(units)
    for begin in range(len(units)):
        for end, columns in _ends(units, begin, profile):
            cost = best[begin][0] + _cue_cost(units[begin], units[end - 1], units[end : end + 1], columns, profile)
            if cost < best[end][0]:
                best[end] = (cost, begin)
    cuts = [len(units)]
    while cuts[-1]:
        cuts.append(best[cuts[-1]][1])
    return [units[begin:end] for begin, end in pairwise(reversed(cuts))]


def _ends(units: Sequence[Unit], begin: int, profile: SubtitleProfile) -> Iterator[tuple[int, int]]:
    """Where a cue that starts at `begin` may end, and its columns: at least one unit, then as long as time and lines last."""
    lines, filled = 1, units[begin].columns
    total = filled
    yield begin + 1, total
    for end in range(begin + 2, len(units) + 1):
        unit = units[end - 1]
        needed = unit.columns + unit.space_before
        lines, filled = (lines, filled + needed) if filled + needed <= profile.max_line_chars else (lines + 1, unit.columns)
        is_too_long = unit.end - units[begin].start > profile.max_duration_s
        if lines > profile.max_lines or is_too_long or unit.columns > profile.max_line_chars:
            return
        total += needed
        yield end, total


def _cue_cost(first: Unit, last: Unit, following: Sequence[Unit], columns: int, profile: SubtitleProfile) -> float:
    """`following`: the first unit of the next cue, or nothing."""
    cost = CUE_COST + sum(break_cost(last, unit) for unit in following)
    room_s = following[0].start - first.start if following else max(last.end - first.start, profile.min_duration_s)
    cost += SHORT_COST * max(0.0, profile.min_duration_s - room_s)
    too_fast = columns / max(room_s, 0.1) - profile.max_chars_per_s
    return cost + FAST_COST * max(0.0, too_fast)


def wrap(units: Sequence[Unit], profile: SubtitleProfile) -> list[Sequence[Unit]]:
    """Lines of a cue: as few as possible, broken at the best places, about equally long."""
    if columns_of(units) <= profile.max_line_chars:
        return [units]
    best: list[tuple[int, float, int]] = [(0, 0.0, 0)] + [(len(units) + 1, 0.0, 0)] * len(units)
    for begin in range(len(units)):
        for end in range(begin + 1, len(units) + 1):
            columns = columns_of(units[begin:end])
            if columns > profile.max_line_chars and end > begin + 1:
                break
            waste = (max(0, profile.max_line_chars - columns) / profile.max_line_chars) ** 2 * 4
            at_break = break_cost(units[end - 1], units[end]) if end < len(units) else 0.0
            best[end] = min(best[end], (best[begin][0] + 1, best[begin][1] + waste + at_break, begin))
    cuts = [len(units)]
    while cuts[-1]:
        cuts.append(best[cuts[-1]][2])
    return [units[begin:end] for begin, end in pairwise(reversed(cuts))]


# --- how long to show -------------------------------------------------------------------------------------------------


def time_cues(drafts: Sequence[Draft], lines: Sequence[tuple[str, ...]], profile: SubtitleProfile, duration_ms: int) -> list[Cue]:
    """`drafts` in order of their starts. Cues stay long enough to be read where the next one leaves the time."""
    starts = _starts(drafts)
    cues = []
    for index, (draft, text) in enumerate(zip(drafts, lines, strict=True)):
        start_ms = starts[index]
        limit_ms = _limit(starts, index, duration_ms, draft.end_ms, profile)
        wanted_ms = max(draft.end_ms, start_ms + _reading_ms(text, profile))
        longest_ms = start_ms + round(profile.max_duration_s * 1000)
        cues.append(Cue(start_ms, max(start_ms + 1, min(wanted_ms, longest_ms, limit_ms)), text, draft.speaker))
    return cues


def _starts(drafts: Sequence[Draft]) -> list[int]:
    """A cue starts with its first word, but leaves an overlapping one before it at least half of its time."""
    starts: list[int] = []
    free_ms = 0
    for draft in drafts:
        start_ms = max(draft.start_ms, free_ms)
        starts.append(start_ms)
        half_ms = (draft.end_ms - draft.start_ms) // 2
        kept_ms = min(draft.end_ms - start_ms, max(1000, half_ms))
        free_ms = start_ms + max(SHORTEST_SLOT_MS, kept_ms)
    return starts


def _limit(starts: Sequence[int], index: int, duration_ms: int, spoken_ms: int, profile: SubtitleProfile) -> int:
    """The latest end of a cue: the gap before the next one, or the end of the recording."""
    if index + 1 == len(starts):
        return max(duration_ms, spoken_ms, starts[index] + SHORTEST_SLOT_MS)
    slot_ms = starts[index + 1] - starts[index]
    return starts[index + 1] - min(round(profile.gap_s * 1000), slot_ms // 2)


def _reading_ms(lines: Sequence[str], profile: SubtitleProfile) -> int:
    characters = sum(map(len, lines)) + len(lines) - 1
    return round(max(profile.min_duration_s, characters / profile.max_chars_per_s) * 1000)


def make_plain_cues(segments: Sequence[Segment]) -> list[Cue]:
    """One cue for each segment, on one line, with the same guarantees about time."""
    texts = [
        (segment, " ".join(segment.text.split())) for segment in sorted(segments, key=lambda segment: (segment.start, segment.id))
    ]
    kept = [(segment, text) for segment, text in texts if text]
    drafts = [Draft(segment.speaker, (make_unit(text, segment.start, segment.end, space_before=True),)) for segment, text in kept]
    profile = SubtitleProfile("plain", min_duration_s=0.0, max_duration_s=86_400.0, max_chars_per_s=1e9, gap_s=0.0)
    return time_cues(drafts, [(text,) for _, text in kept], profile, 0)
