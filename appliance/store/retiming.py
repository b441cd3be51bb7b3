"""New text in old times: words that a person left alone keep their times, the others share the time of what they replace.

Pure; times in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

import msgspec

from appliance.domain import Segment, Word
from appliance.writing import is_unspaced, width

Piece = tuple[str, bool]
"""Text of a word, and whether a space stands before it."""


def retime(segment: Segment, text: str, *, timed: bool = True) -> tuple[Word, ...]:
    """The words of `text` with times inside the segment; none when its words had none.

    `timed`: words of this transcript have times, so that a segment which was emptied gets them anew.
    """
    if not segment.words and (segment.text or not timed):
        return ()
    old, new = segment.words, split_words(text, segment.words)
    matcher = SequenceMatcher(None, [word.text for word in old], [piece[0] for piece in new], autojunk=False)
    words: list[Word] = []
    for kind, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        pieces = new[new_from:new_to]
        if kind == "equal" or old_to - old_from == new_to - new_from:
            words += [_keep(word, piece, segment) for word, piece in zip(old[old_from:old_to], pieces, strict=True)]
        else:
            words += _share(*_room(segment, old_from, old_to), pieces, segment.speaker)
    return tuple(words)


def split_words(text: str, old: Sequence[Word]) -> list[Piece]:
    """Words at spaces; what the recogniser had cut without a space (hyphens, Chinese) is cut like that again."""
    runs = {"".join(word.text for word in run): [word.text for word in run] for run in _runs(old)}
    known = {word.text for word in old}
    return [(part, index == 0) for chunk in text.split() for index, part in enumerate(runs.get(chunk) or _cut(chunk, known))]


def _runs(words: Sequence[Word]) -> Iterator[list[Word]]:
    run: list[Word] = []
    for word in words:
        if word.space_before and run:
            yield run
            run = []
        run.append(word)
    if run:
        yield run


def _cut(chunk: str, known: set[str]) -> list[str]:
    """A chunk in a script without spaces becomes known words or single characters, with the marks that follow them."""
    if not any(map(is_unspaced, chunk)):
        return [chunk]
    longest = max(map(len, known), default=1)
    parts: list[str] = []
    at = 0
    while at < len(chunk):
        size = next((size for size in range(longest, 1, -1) if chunk[at : at + size] in known), 1)
        if parts and size == 1 and not _starts_word(chunk[at], parts[-1][-1]):
            parts[-1] += chunk[at]
        else:
            parts.append(chunk[at : at + size])
        at += size
    return parts


def _starts_word(char: str, before: str) -> bool:
    if not char.isalnum() or width(char) == 0:
        return False  # punctuation and combining marks belong to what stands before them
    return is_unspaced(char) or is_unspaced(before)


def _keep(word: Word, piece: Piece, segment: Segment) -> Word:
    text, space_before = piece
    if text == word.text:
        return msgspec.structs.replace(word, space_before=space_before)
    return Word(word.start, word.end, text, 1.0, segment.speaker, space_before)  # a person wrote it: no doubt left


def _room(segment: Segment, old_from: int, old_to: int) -> tuple[float, float]:
    """When the replaced words were spoken; for an insertion the gap between its neighbours, which may be nothing."""
    words = segment.words
    if old_from < old_to:
        return words[old_from].start, max(word.end for word in words[old_from:old_to])
    start = words[old_from - 1].end if old_from else segment.start
    end = words[old_from].start if old_from < len(words) else segment.end
    return start, max(start, end)


def _share(start: float, end: float, pieces: Sequence[Piece], speaker: str | None) -> Iterator[Word]:
    """Spread the pieces over the time by their lengths."""
    total = sum(len(text) for text, _ in pieces)
    done = 0
    for text, space_before in pieces:
        begins = start + (end - start) * done / total
        done += len(text)
        yield Word(begins, end if done == total else start + (end - start) * done / total, text, 1.0, speaker, space_before)
