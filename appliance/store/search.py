"""Full-text search in every script: how text is cut into tokens, how a query is read, and where it was found.

Words are compared without case, width, accents and vowel points. Scripts written without spaces are cut into single
characters, and a query in them is a phrase of characters, which finds any substring, one character long or more.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from sqlite_utils import Database

from appliance.domain import Value
from appliance.store.database import rows
from appliance.writing import is_unspaced, width

SEGMENT_BITS: Final = 20  # a row of the index is numbered transcript id · 2^20 + segment + 1; its row 0 is the title
SNIPPETS_EACH: Final = 3
PREFIX_FROM: Final = 3  # columns (two for a Korean syllable) from which a word also finds its inflections
ASCII_WORD: Final = re.compile(r"[A-Za-z0-9]+")
QUOTED_OR_WORD: Final = re.compile(r'"([^"]*)"?|([^\s"]+)')
NEVER_COMPARED: Final = frozenset(
    chr(code)
    for first, last in ((0x300, 0x36F), (0x591, 0x5C7), (0x610, 0x61A), (0x640, 0x640), (0x64B, 0x65F))
    for code in range(first, last + 1)
)  # accents, Hebrew points, Arabic vowel signs and the stretching stroke


class Snippet(Value, frozen=True):
    """A place where a search found something."""

    segment: int | None  # Segment.id; None: in the title
    start: float | None  # of the segment, in seconds
    end: float | None
    text: str  # of the whole segment, or the title
    marks: tuple[tuple[int, int], ...]  # what matched, as offsets into `text`


class Token(NamedTuple):
    folded: str
    start: int  # offsets in the text
    end: int


class Term(NamedTuple):
    """What stood between two spaces, or in quotes: tokens that must follow each other."""

    tokens: tuple[str, ...]
    is_prefix: bool  # the last token may go on


def tokenize(text: str) -> list[Token]:
    if text.isascii():
        return [Token(match[0].lower(), match.start(), match.end()) for match in ASCII_WORD.finditer(text)]
    return list(_tokens(text))


def _tokens(text: str) -> Iterator[Token]:
    start, folded = 0, ""
    for offset, char in enumerate(text):
        piece = _fold(char)
        if piece is None or is_unspaced(char):
            if folded:
                yield Token(folded, start, offset)
            folded = ""
            if piece:
                yield Token(piece, offset, offset + 1)
        elif piece or folded:
            start = offset if not folded else start
            folded += piece
    if folded:
        yield Token(folded, start, len(text))


@lru_cache(maxsize=8192)
def _fold(char: str) -> str | None:
    """The character as it is compared; "" for a mark that does not count, None for what separates words."""
    if char in NEVER_COMPARED:
        return ""
    decomposed = unicodedata.normalize("NFKD", char).casefold()
    kept = "".join(part for part in decomposed if part not in NEVER_COMPARED and unicodedata.category(part)[0] in "LMN")
    return unicodedata.normalize("NFC", kept) or None


def parse_query(query: str) -> tuple[Term, ...]:
    """Anything a person types: words, "a phrase in quotes", begin*. Nothing in it can be a syntax error."""
    terms = (_term(quoted, word) for quoted, word in QUOTED_OR_WORD.findall(query))
    return tuple(term for term in terms if term.tokens)


def _term(quoted: str, word: str) -> Term:
    tokens = tuple(token.folded for token in tokenize(quoted or word))
    wants_more = bool(tokens) and not quoted and (width(tokens[-1]) >= PREFIX_FROM or word.endswith("*"))
    return Term(tokens, wants_more)


def match_expression(terms: Iterable[Term]) -> str:
    """For FTS5: any of the terms. Tokens hold letters, marks and numbers only, so quoting them is safe."""
    return " OR ".join(f'"{" ".join(term.tokens)}"{" *" if term.is_prefix else ""}' for term in terms)


def find_marks(text: str, terms: Sequence[Term]) -> tuple[tuple[int, int], ...]:
    """Where the terms stand in the text, in order; what overlaps is joined."""
    tokens = tokenize(text)
    found = sorted(
        (tokens[at].start, tokens[at + len(term.tokens) - 1].end)
        for term in terms
        for at in range(len(tokens) - len(term.tokens) + 1)
        if _matches(tokens[at : at + len(term.tokens)], term)
    )
    return tuple(_joined(found))


def _matches(tokens: Sequence[Token], term: Term) -> bool:
    *before, last = (token.folded for token in tokens)
    is_last = last.startswith(term.tokens[-1]) if term.is_prefix else last == term.tokens[-1]
    return is_last and tuple(before) == term.tokens[:-1]


def _joined(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    start, end = -1, -1
    for next_start, next_end in spans:
        if next_start > end:
            if end >= 0:
                yield start, end
            start, end = next_start, next_end
        end = max(end, next_end)
    if end >= 0:
        yield start, end


# --- the index --------------------------------------------------------------------------------------------------------


def index_title(db: Database, transcript_id: int, title: str) -> None:
    _index(db, [(transcript_id << SEGMENT_BITS, title)])


def index_segments(db: Database, transcript_id: int, texts: Iterable[tuple[int, str]]) -> None:
    """`texts`: segment number and text."""
    _index(db, (((transcript_id << SEGMENT_BITS) + n + 1, text) for n, text in texts))


def _index(db: Database, texts: Iterable[tuple[int, str]]) -> None:
    entries = ((number, " ".join(token.folded for token in tokenize(text))) for number, text in texts)
    db.conn.executemany("INSERT OR REPLACE INTO search (rowid, tokens) VALUES (?, ?)", entries)


def unindex(db: Database, transcript_id: int, limit: int) -> int:
    """Take up to `limit` rows of a transcript out of the index; returns how many were taken."""
    low, high = _range(transcript_id)
    chosen = "SELECT rowid FROM search WHERE rowid BETWEEN ? AND ? LIMIT ?"
    count: int = db.conn.execute(f"DELETE FROM search WHERE rowid IN ({chosen})", (low, high, limit)).rowcount  # noqa: S608
    return count


def condition(terms: Sequence[Term]) -> tuple[str, tuple[str, ...]]:
    """SQL that holds for transcripts in which every term stands somewhere, and its parameters."""
    one = f"id IN (SELECT rowid >> {SEGMENT_BITS} FROM search WHERE search MATCH ?)"  # noqa: S608
    return " AND ".join([one] * len(terms)) or "FALSE", tuple(match_expression([term]) for term in terms)


def find_snippets(db: Database, transcript_id: int, terms: Sequence[Term]) -> tuple[Snippet, ...]:
    low, high = _range(transcript_id)
    found = rows(
        db,
        "SELECT rowid - ? - 1 AS n FROM search WHERE search MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid LIMIT ?",
        (low, match_expression(terms), low, high, SNIPPETS_EACH),
    )
    return tuple(_snippet(db, transcript_id, row["n"], terms) for row in found)


def _snippet(db: Database, transcript_id: int, n: int, terms: Sequence[Term]) -> Snippet:
    if n < 0:
        [row] = rows(db, "SELECT title AS text, NULL AS start, NULL AS end FROM transcripts WHERE id = ?", (transcript_id,))
    else:
        select = 'SELECT text, start, "end" FROM segments WHERE transcript_id = ? AND variant = 0 AND n = ?'
        [row] = rows(db, select, (transcript_id, n))
    marks = find_marks(row["text"], terms)
    return Snippet(segment=n if n >= 0 else None, start=row["start"], end=row["end"], text=row["text"], marks=marks)


def _range(transcript_id: int) -> tuple[int, int]:
    low = transcript_id << SEGMENT_BITS
    return low, low + (1 << SEGMENT_BITS) - 1
