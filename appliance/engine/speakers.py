"""Who said each word: the words of the transcript laid over the diarizer's turns.

Pure Python; runs in the API process once recognition and diarization have both ended. Every word and every segment comes
out with a speaker, in the order in which it came in. What the turns are is decided in `diarizer.py`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice

from msgspec.structs import replace

from appliance.domain import Segment, Speaker, Turn, Value, Word
from appliance.writing import join_words

SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！", "؟", "।")
CLOSING_MARKS = "\"'”’»)]}」』"

# Word times are off by about this much; a lone word inside another's sentence must hold its own in a window so much wider.
WORD_TIME_DOUBT_S = 0.15
# From this share of a word on, a speaker may own it, when the rest of the sentence is theirs.
STRADDLING_SHARE = 0.3
NOTHING_S = 1e-6  # below it, an overlap is rounding

# A change of speakers so near the start or end of a sentence belongs there, unless the turns are sure of it.
SNAP_WORDS = 3
SNAP_S = 1.0
SURE_SHARE = 0.7  # of the words' time in a turn of their own speaker
TURN_DOUBT_S = 0.5  # where turns begin and end is off by about this much

# The two parts of a sentence that two windows cut apart belong together, unless there is a pause or it becomes a monologue.
MERGE_PAUSE_S = 1.0
MERGE_LENGTH_S = 30.0


def assign_speakers(
    segments: Sequence[Segment], turns: Sequence[Turn], names: Mapping[str, str] | None = None
) -> tuple[tuple[Segment, ...], tuple[Speaker, ...]]:
    """Segments in which one person speaks, and those persons, in order of first appearance.

    `turns` are best those where one speaks at a time (`Diarization.exclusive`); none at all means one speaker. A word goes to
    whom it overlaps most, else to the nearest turn. A segment is split where the speaker changes; one without words goes to
    one speaker as a whole. The labels are SPEAKER_00… in order of first appearance, whatever the turns call them;
    `names` are those of the turns' speakers whose name is known.
    """
    timelines = _timelines(turns)
    spoken = [speaker for segment in segments for speaker in _word_speakers(segment.words, timelines)]
    _settle_changes([word for segment in segments for word in segment.words], spoken, timelines)
    rest = iter(spoken)
    pieces = [piece for segment in segments for piece in _split(segment, list(islice(rest, len(segment.words))), timelines)]
    return _number(_merge(pieces), names or {})


# --- turns ------------------------------------------------------------------------------------------------------------


class _Timeline:
    """When one person speaks, so that overlaps are found by bisection."""

    def __init__(self, spans: Sequence[tuple[float, float]]) -> None:
        """`spans`: start and end of each turn, ordered by start; they may overlap."""
        self._starts: list[float] = []
        self._ends: list[float] = []
        for start, end in spans:
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)
        self._spoken_before = [0.0]
        for start, end in zip(self._starts, self._ends, strict=True):
            self._spoken_before.append(self._spoken_before[-1] + end - start)

    def overlap_s(self, start: float, end: float) -> float:
        return max(0.0, self._spoken_until(end) - self._spoken_until(start))

    def distance_s(self, start: float, end: float) -> float:
        """To the nearest turn; 0 where one is touched."""
        after = bisect_right(self._starts, end)
        to_earlier = max(0.0, start - self._ends[after - 1]) if after else float("inf")
        to_later = self._starts[after] - end if after < len(self._starts) else float("inf")
        return min(to_earlier, to_later)

    def _spoken_until(self, time: float) -> float:
        after = bisect_right(self._starts, time)
        if not after:
            return 0.0
        return self._spoken_before[after - 1] + min(time, self._ends[after - 1]) - self._starts[after - 1]


_Timelines = Mapping[str, _Timeline]


def _timelines(turns: Sequence[Turn]) -> _Timelines:
    spans: dict[str, list[tuple[float, float]]] = {}
    for turn in sorted(turns, key=lambda turn: (turn.start, turn.end, turn.speaker)):
        spans.setdefault(turn.speaker, []).append((turn.start, turn.end))
    return {speaker: _Timeline(mine) for speaker, mine in spans.items()} or {"SPEAKER_00": _Timeline(())}


def _nearest(start: float, end: float, timelines: _Timelines) -> str:
    """Whom the stretch overlaps most; where it overlaps nobody, whose turn is nearest."""

    def rank(speaker: str) -> tuple[float, float]:
        overlap = timelines[speaker].overlap_s(start, end)
        return (-overlap if overlap > NOTHING_S else 0.0), timelines[speaker].distance_s(start, end)

    return min(timelines, key=rank)


# --- words ------------------------------------------------------------------------------------------------------------


def _word_speakers(words: Sequence[Word], timelines: _Timelines) -> list[str]:
    """One speaker per word: first each word by itself, then with an eye on its neighbours."""
    speakers = [_nearest(word.start, word.end, timelines) for word in words]
    if len(set(speakers)) > 1:
        _settle_straddling_words(words, speakers, timelines)
        _settle_lone_words(words, speakers, timelines)
    return speakers


def _settle_straddling_words(words: Sequence[Word], speakers: list[str], timelines: _Timelines) -> None:
    """A word on which one turn ends and the next begins goes with its sentence."""
    for i, word in enumerate(words):
        needed_s = STRADDLING_SHARE * (word.end - word.start)
        for j in (i - 1, i + 1):
            if 0 <= j < len(words) and speakers[j] != speakers[i] and not _sentence_ends_between(words, i, j):
                rival = timelines[speakers[j]].overlap_s(word.start, word.end)
                if rival >= needed_s > 0 and _joins_its_sentence(words, speakers, i, j):
                    speakers[i] = speakers[j]
                    break


def _joins_its_sentence(words: Sequence[Word], speakers: Sequence[str], i: int, j: int) -> bool:
    """Whether word `i` would leave nobody of its own in its sentence by going over to its neighbour `j`."""
    other = 2 * i - j
    inside = 0 <= other < len(words) and not _sentence_ends_between(words, i, other)
    return not inside or speakers[other] != speakers[i]


def _sentence_ends_between(words: Sequence[Word], i: int, j: int) -> bool:
    return words[min(i, j)].text.rstrip(CLOSING_MARKS).endswith(SENTENCE_ENDS)


def _settle_lone_words(words: Sequence[Word], speakers: list[str], timelines: _Timelines) -> None:
    """A word alone between two of another speaker stays only if its speaker is the one mostly heard around it as well."""
    for i in range(1, len(words) - 1):
        around = speakers[i - 1]
        if around != speakers[i] and around == speakers[i + 1]:
            start, end = words[i].start - WORD_TIME_DOUBT_S, words[i].end + WORD_TIME_DOUBT_S
            if timelines[around].overlap_s(start, end) >= timelines[speakers[i]].overlap_s(start, end):
                speakers[i] = around


def _settle_changes(words: Sequence[Word], speakers: list[str], timelines: _Timelines) -> None:
    """A change a few words beside the end of a sentence moves there. It is moved and never removed: nobody loses a whole turn."""
    for i in range(1, len(words)):
        if speakers[i - 1] == speakers[i] or _sentence_ends_between(words, i - 1, i):
            continue
        back, on = _words_to_sentence_end(words, speakers, i - 1, -1), _words_to_sentence_end(words, speakers, i, 1)
        found = [(_Move(i - back, i, speakers[i], words[i - back].start))] if back else []
        found += [_Move(i, i + on, speakers[i - 1], words[i + on - 1].end)] if on else []
        doubtful = [move for move in found if _is_doubtful(move, words, speakers, timelines)]
        if doubtful:
            move = min(doubtful, key=lambda move: move.end - move.first)
            speakers[move.first : move.end] = [move.speaker] * (move.end - move.first)


class _Move(Value, frozen=True):
    """Words that would go over to the other side of a change."""

    first: int
    end: int
    speaker: str  # theirs from then on
    far_s: float  # their edge that is further from the change


def _words_to_sentence_end(words: Sequence[Word], speakers: Sequence[str], i: int, step: int) -> int:
    """How many words, from word `i` on, until the sentence of its speaker ends or, going back, began; 0 where it is far."""
    for count in range(1, SNAP_WORDS + 1):
        last, beyond = i + step * (count - 1), i + step * count
        if not 0 <= beyond < len(words) or speakers[beyond] != speakers[i]:
            return 0
        if _sentence_ends_between(words, last, beyond):
            return count if _reach_s(words, i, last, step) <= SNAP_S else 0
    return 0


def _reach_s(words: Sequence[Word], i: int, last: int, step: int) -> float:
    """From the change beside word `i` to the far edge of word `last`."""
    return words[last].end - words[i - 1].end if step > 0 else words[i + 1].start - words[last].start


def _is_doubtful(move: _Move, words: Sequence[Word], speakers: Sequence[str], timelines: _Timelines) -> bool:
    """Whether the turns leave it open who says these words."""
    start, end = words[move.first].start, words[move.end - 1].end
    own_s = timelines[speakers[move.first]].overlap_s(start, end)
    return own_s < SURE_SHARE * (end - start) or timelines[move.speaker].distance_s(move.far_s, move.far_s) <= TURN_DOUBT_S


# --- segments ---------------------------------------------------------------------------------------------------------


class _Piece(Value, frozen=True):
    segment: Segment
    cut: bool  # part of a segment that was split


def _split(segment: Segment, speakers: Sequence[str], timelines: _Timelines) -> Iterator[_Piece]:
    """`speakers`: one per word."""
    if not segment.words:
        yield _Piece(segment=_spoken_by(segment, _nearest(segment.start, segment.end, timelines)), cut=False)
        return
    runs = [list(run) for _, run in groupby(zip(speakers, segment.words, strict=True), key=lambda pair: pair[0])]
    if len(runs) == 1:
        yield _Piece(segment=_spoken_by(segment, speakers[0]), cut=False)
        return
    for run in runs:
        words = tuple(word for _, word in run)
        part = replace(segment, words=words, text=join_words(words), start=words[0].start, end=_end(words), tokens=())
        yield _Piece(segment=_spoken_by(part, run[0][0]), cut=True)


def _end(words: Sequence[Word]) -> float:
    return max(word.end for word in words)


def _spoken_by(segment: Segment, label: str) -> Segment:
    return replace(segment, speaker=label, words=tuple(replace(word, speaker=label) for word in segment.words))


def _merge(pieces: Sequence[_Piece]) -> list[Segment]:
    """Puts a part that was cut off together with the rest of its sentence in the next segment."""
    merged: list[Segment] = []
    last_was_cut = False
    for piece in pieces:
        if merged and (last_was_cut or piece.cut) and _continues(merged[-1], piece.segment):
            merged[-1] = _joined(merged[-1], piece.segment)
            last_was_cut = True
        else:
            merged.append(piece.segment)
            last_was_cut = piece.cut
    return merged


def _continues(first: Segment, second: Segment) -> bool:
    same = (first.speaker, first.language, first.channel) == (second.speaker, second.language, second.channel)
    return (
        same
        and bool(first.words and second.words)
        and second.start >= first.start
        and second.start - first.end <= MERGE_PAUSE_S
        and second.end - first.start <= MERGE_LENGTH_S
        and not first.words[-1].text.rstrip(CLOSING_MARKS).endswith(SENTENCE_ENDS)
    )


def _joined(first: Segment, second: Segment) -> Segment:
    """Evidence of the decoder is that of the longer part."""
    longer = first if first.end - first.start >= second.end - second.start else second
    words = first.words + second.words
    end = max(first.end, second.end)
    return replace(longer, start=first.start, end=end, words=words, text=join_words(words), tokens=(), seek=first.seek)


def _number(segments: Sequence[Segment], names: Mapping[str, str]) -> tuple[tuple[Segment, ...], tuple[Speaker, ...]]:
    labels: dict[str, str] = {}
    numbered = []
    for i, segment in enumerate(segments):
        label = labels.setdefault(segment.speaker or "", f"SPEAKER_{len(labels):02d}")
        numbered.append(replace(_spoken_by(segment, label), id=i))
    return tuple(numbered), tuple(Speaker(label, names.get(called)) for called, label in labels.items())
