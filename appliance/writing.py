"""What differs between writing systems: scripts without spaces between words, and how wide characters are."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Protocol

UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f"  # Myanmar
    "\u1780-\u17ff"  # Khmer
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b"  # Han radicals and marks
    "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Hiragana, Katakana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\U00020000-\U0003ffff]"
)
UNSPACED_PUNCTUATION: Final = frozenset("、。，．！？：；「」『』（）【】《》〈〉…—～・")


def is_unspaced(char: str) -> bool:
    """Whether the character belongs to a script that puts no spaces between words. Korean does put them."""
    return char > "\u0dff" and UNSPACED.match(char) is not None


def join_texts(texts: Iterable[str]) -> str:
    """Sentences as running text: with a space between them, except where both sides are written without."""
    joined = ""
    for text in (text.strip() for text in texts):
        joined += space_between(joined, text) + text
    return joined


def space_between(before: str, text: str) -> str:
    """What stands between running text and the sentence that follows it: a space or nothing."""
    return " " if before and text and needs_space(before[-1], text[0]) else ""


class Spoken(Protocol):
    """`domain.Word`, or anything else that knows whether a space comes before it."""

    @property
    def text(self) -> str: ...

    @property
    def space_before(self) -> bool: ...


def join_words(words: Iterable[Spoken]) -> str:
    """The text that words make, without space at its ends."""
    return "".join(f" {word.text}" if word.space_before else word.text for word in words).strip()


def needs_space(left: str, right: str) -> bool:
    """Whether running text has a space between these two characters when they end and begin a sentence."""
    return not (_is_tight(left) and _is_tight(right))


def _is_tight(char: str) -> bool:
    return is_unspaced(char) or char in UNSPACED_PUNCTUATION


@lru_cache(maxsize=8192)
def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def width(text: str) -> int:
    """Columns of the text on a screen: wide East Asian characters take two, combining marks none."""
    return len(text) if text.isascii() else sum(map(_columns, text))
