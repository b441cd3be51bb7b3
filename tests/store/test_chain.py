"""Whatever is done to an exported chain is found out, without the database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ChainBroken, InvalidField
from appliance.store.chain import Draft, Entry, Head, empty_head, export_line, head_of, link, verify

AT = "2026-11-22T12:00:00.000000+00:00"


def chain_of(length: int, name: str = "audit") -> list[Entry]:
    entries: list[Entry] = []
    for n in range(length):
        before = head_of(entries[-1]) if entries else empty_head(name)
        entries.append(link(Draft(AT, "key.created", "console", f"key_{n:x}", {"admin": n % 2 == 0, "n": n}), before))
    return entries


def lines_of(entries: list[Entry]) -> list[bytes]:
    return [export_line(entry) for entry in entries]


def test_a_whole_chain_is_found_whole() -> None:
    entries = chain_of(20)
    found = verify(lines_of(entries), heads=[head_of(entries[4]), head_of(entries[-1])])
    assert (found.first, found.head, found.compared) == (1, head_of(entries[-1]), (5, 20))
    assert verify([]).head == empty_head("audit")


def test_anybody_can_check_it_with_a_json_and_a_sha_256() -> None:
    """What docs tell auditors to do, done here with the standard library alone."""
    previous = "0" * 64
    for line in lines_of(chain_of(5)):
        entry = json.loads(line)
        claimed = entry.pop("hash")
        assert entry["previous"] == previous
        assert hashlib.sha256(json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()).hexdigest() == claimed
        previous = claimed


def test_a_later_part_of_the_chain_says_where_it_starts() -> None:
    entries = chain_of(9)
    assert verify(lines_of(entries[5:])).first == 6
    with pytest.raises(ChainBroken, match="starts at 6"):
        verify(lines_of(entries[5:]), heads=[head_of(entries[2])])


@given(st.data())
def test_every_changed_byte_is_found(data: st.DataObject) -> None:
    entries = chain_of(4)
    raw = bytearray(b"".join(lines_of(entries)))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != raw[place]))
    with pytest.raises(ChainBroken):
        verify(bytes(raw).splitlines(keepends=True), heads=[head_of(entries[-1])])


def rehashed(entry: Entry, **changes: object) -> Entry:
    """As somebody would forge it who knows how hashes are made."""
    draft = Draft(AT, entry.event, str(changes.get("actor", entry.actor)), entry.subject, entry.facts)
    return link(draft, Head(entry.chain, entry.sequence - 1, entry.previous))


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda entries: [*entries[:3], *entries[4:]], "it is missing"),
        (lambda entries: [entries[0], entries[2], entries[1], *entries[3:]], "it is missing"),
        (lambda entries: [*entries[:2], entries[1], *entries[2:]], "comes instead"),
        (lambda entries: [*entries[:2], rehashed(entries[2], actor="system"), *entries[3:]], "does not follow"),
        (lambda entries: [*entries[:2], msgspec.structs.replace(entries[2], actor="system"), *entries[3:]], "was changed"),
        (lambda entries: chain_of(6, "usage"), "belongs to the chain 'usage'"),
        (lambda entries: entries[:4], "the end is missing"),
        (lambda entries: [*entries[:5], rehashed(entries[5], actor="system")], "noted earlier"),
    ],
    ids=["removed", "moved", "doubled", "forged", "edited", "another chain", "cut off", "forged at the end"],
)
def test_tampering_is_named(harm: Callable[[list[Entry]], list[Entry]], says: str) -> None:
    entries = chain_of(6)
    with pytest.raises(ChainBroken, match=says):
        verify(lines_of(harm(entries)), heads=[head_of(entries[-1])])


def test_without_an_earlier_head_a_cut_end_cannot_be_seen() -> None:
    """The limit of any chain; the documentation says so, and why heads are kept elsewhere."""
    entries = chain_of(6)
    assert verify(lines_of(entries[:4])).head.sequence == 4


def test_two_keys_of_one_name_are_refused() -> None:
    """Two readers would take different ones."""
    line = export_line(chain_of(1)[0])
    with pytest.raises(ChainBroken, match="one way"):
        verify([line.replace(b'{"actor"', b'{"actor":"person_1","actor"')])


def test_a_head_is_read_as_it_is_printed() -> None:
    head = head_of(chain_of(3)[-1])
    assert Head.parse(str(head)) == head
    assert Head.parse(str(head).removeprefix("audit:")) == head
    with pytest.raises(InvalidField, match="audit head"):
        Head.parse("17")
