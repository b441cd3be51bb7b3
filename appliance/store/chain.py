"""A chain of entries in which each names the SHA-256 of the one before it; pure, so that an export is checked without a database.

What it proves: no entry was changed, removed from the middle, put in, or moved. What it does not prove by itself: somebody who
may write the database file can cut off the end, or compute a whole new chain. Both show as soon as a head (sequence and hash)
that was noted elsewhere before is compared, which `verify` does. Entries hold numbers, ids and known words only, never text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from appliance.domain import Value
from appliance.errors import ChainBroken, InvalidField

FIRST_PREVIOUS: Final = "0" * 64
LARGEST_EXACT_INT: Final = 2**53 - 1  # beyond it, readers of JSON in other languages round
_HEAD: Final = re.compile(r"(?:(?P<chain>[a-z]+):)?(?P<sequence>[0-9]{1,15}):(?P<hash>[0-9a-f]{64})")


class ChainName(StrEnum):
    AUDIT = "audit"
    USAGE = "usage"


class Draft(Value, frozen=True):
    """An entry before it has its place; made by `audit` and `usage`, which say what may stand in it."""

    at: str  # UTC, ISO 8601 with microseconds
    event: str
    actor: str
    subject: str
    facts: Mapping[str, str | int | bool]


class Entry(Value, frozen=True, forbid_unknown_fields=True):
    """One line of an export is this as JSON: keys sorted, no spaces, ASCII. `hash` is over the same line without `hash`."""

    actor: str
    at: str
    chain: str
    event: str
    facts: dict[str, str | int | bool]
    previous: str  # hex SHA-256; sixty-four zeros in the first entry
    sequence: int  # from 1, without gaps
    subject: str
    hash: str = ""


class Head(Value, frozen=True):
    """The newest entry of a chain. Kept elsewhere, it shows later that nothing up to it was changed or cut off."""

    chain: str
    sequence: int  # 0: the chain is empty
    hash: str

    def __str__(self) -> str:
        return f"{self.chain}:{self.sequence}:{self.hash}"

    @classmethod
    def parse(cls, text: str, chain: str = ChainName.AUDIT) -> Head:
        """`audit:17:<64 hex>`; without the first part `chain` is meant. Raises `InvalidField`."""
        found = _HEAD.fullmatch(text.strip())
        if found is None:
            raise InvalidField("head", "is not one that 'appliance audit head' printed", "It reads audit:17: and 64 hex digits.")
        return cls(found["chain"] or chain, int(found["sequence"]), found["hash"])


def link(draft: Draft, before: Head) -> Entry:
    """The entry that follows `before`."""
    entry = Entry(
        actor=draft.actor,
        at=draft.at,
        chain=before.chain,
        event=draft.event,
        facts=dict(draft.facts),
        previous=before.hash,
        sequence=before.sequence + 1,
        subject=draft.subject,
    )
    return msgspec.structs.replace(entry, hash=digest(entry))


def empty_head(chain: str) -> Head:
    return Head(chain, 0, FIRST_PREVIOUS)


def head_of(entry: Entry) -> Head:
    return Head(entry.chain, entry.sequence, entry.hash)


def digest(entry: Entry) -> str:
    """Hex SHA-256 over the canonical JSON of everything but `hash`."""
    content = {name: value for name, value in msgspec.structs.asdict(entry).items() if name != "hash"}
    return hashlib.sha256(canonical_json(content)).hexdigest()


def canonical_json(value: object) -> bytes:
    """Keys sorted at every level, no white space: RFC 8785 for values that hold ASCII, whole numbers and booleans only."""
    return msgspec.json.encode(value, order="sorted")


def export_line(entry: Entry) -> bytes:
    return canonical_json(entry) + b"\n"


class Verified(Value, frozen=True):
    first: int  # sequence of the first entry seen; above 1 where the file is a later part of the chain
    head: Head
    compared: tuple[int, ...]  # sequences of the earlier heads that were found again


def verify(lines: Iterable[bytes], chain: str = ChainName.AUDIT, heads: Sequence[Head] = ()) -> Verified:
    """Check an export line by line; `heads` were noted earlier, and must be found in it.

    Raises `ChainBroken`, which names the first entry that is wrong.
    """
    wanted = {head.sequence: head.hash for head in heads if head.sequence}
    first, head, compared = 0, empty_head(chain), []
    for number, line in enumerate(lines, 1):
        entry = _read(line, number)
        if not first:
            first = entry.sequence
            head = Head(chain, first - 1, FIRST_PREVIOUS if first == 1 else entry.previous)
        _check(entry, head)
        head = head_of(entry)
        if wanted.get(entry.sequence, entry.hash) != entry.hash:
            raise ChainBroken(chain, entry.sequence, "it is not the entry that was noted earlier under this number")
        compared += [entry.sequence] if entry.sequence in wanted else []
    _check_ends(chain, first, head, wanted)
    return Verified(first, head, tuple(compared))


def _read(line: bytes, number: int) -> Entry:
    try:
        entry = msgspec.json.decode(line, type=Entry)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ChainBroken("exported", number, f"line {number} is not an entry ({error})") from error
    if export_line(entry).rstrip(b"\n") != line.rstrip(b"\n"):  # two keys of one name, say, which readers take differently
        raise ChainBroken(entry.chain, entry.sequence, "it is not written in the one way that entries are written")
    return entry


def _check(entry: Entry, before: Head) -> None:
    if entry.chain != before.chain:
        raise ChainBroken(before.chain, entry.sequence, f"it belongs to the chain '{entry.chain}'")
    if entry.sequence != before.sequence + 1:
        raise ChainBroken(before.chain, before.sequence + 1, f"it is missing: {entry.sequence} comes instead")
    if entry.previous != before.hash:
        raise ChainBroken(before.chain, entry.sequence, "it does not follow from the entry before it")
    if entry.hash != digest(entry):
        raise ChainBroken(before.chain, entry.sequence, "its content was changed")


def _check_ends(chain: str, first: int, head: Head, wanted: Mapping[int, str]) -> None:
    if beyond := [sequence for sequence in wanted if sequence > head.sequence]:
        raise ChainBroken(chain, head.sequence + 1, f"the end is missing: entry {max(beyond)} was there earlier")
    if before := [sequence for sequence in wanted if sequence < first]:
        raise ChainBroken(chain, min(before), f"it is not in this file, which starts at {first}")
