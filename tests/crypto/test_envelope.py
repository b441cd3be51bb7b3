"""The envelope by itself: what opens it, and what must not."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.crypto.encoding import from_base64url, pad, to_base64url, unpad
from appliance.crypto.envelope import (
    MAX_ITERATIONS,
    MIN_ITERATIONS,
    Envelope,
    Kdf,
    lock,
    lock_with,
    read_envelope,
    unlock,
    write_envelope,
)
from appliance.errors import EnvelopeInvalid, EnvelopeLocked

VECTORS = json.loads((Path(__file__).parent / "vectors" / "envelopes.json").read_text())
PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def envelope() -> Envelope:
    return lock(b"who said what", PASSWORD, transcript="a-slug", owner="person_1", version=3, iterations=MIN_ITERATIONS)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_the_published_vectors_are_reproduced(vector: dict[str, Any]) -> None:
    data = json.dumps(vector["envelope"]).encode()
    published = read_envelope(data)
    content = vector["content"].encode()
    assert unlock(published, vector["password"]) == content
    made = lock_with(
        content,
        vector["password"],
        published.kdf,
        from_base64url(published.iv),
        transcript=published.transcript,
        owner=published.owner,
        version=published.version,
    )
    assert made == published


def test_what_was_locked_opens_again(envelope: Envelope) -> None:
    assert unlock(read_envelope(write_envelope(envelope)), PASSWORD) == b"who said what"


def test_a_wrong_password_and_an_alteration_are_told_alike(envelope: Envelope) -> None:
    with pytest.raises(EnvelopeLocked) as wrong:
        unlock(envelope, PASSWORD + " ")
    sealed = bytearray(from_base64url(envelope.ciphertext))
    sealed[0] ^= 1
    with pytest.raises(EnvelopeLocked) as altered:
        unlock(msgspec.structs.replace(envelope, ciphertext=to_base64url(bytes(sealed))), PASSWORD)
    assert wrong.value.message == altered.value.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("transcript", "b-slug"),
        ("owner", "person_2"),
        ("version", 4),
        ("iv", to_base64url(bytes(12))),
        ("kdf.iterations", MIN_ITERATIONS + 1),
        ("kdf.salt", to_base64url(bytes(16))),
        ("format", "appliance-private-transcripu"),
        ("format_version", 2),
        ("cipher", "AES-256-GCN"),
        ("kdf.name", "PBKDF2-SHA-257"),
    ],
)
def test_every_bound_field_is_seen_when_it_is_altered(envelope: Envelope, field: str, value: object) -> None:
    if field.startswith("kdf."):
        changed = msgspec.structs.replace(envelope, kdf=msgspec.structs.replace(envelope.kdf, **{field[4:]: value}))
    else:
        changed = msgspec.structs.replace(envelope, **{field: value})
    with pytest.raises(EnvelopeLocked):
        unlock(changed, PASSWORD)


def altered(envelope: Envelope, **changes: Any) -> bytes:
    fields = json.loads(write_envelope(envelope))
    fields["kdf"] |= changes.pop("kdf", {})
    return json.dumps({name: value for name, value in (fields | changes).items() if value is not None}).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"kdf": {"iterations": MIN_ITERATIONS - 1}},
        {"kdf": {"iterations": MAX_ITERATIONS + 1}},
        {"kdf": {"name": "scrypt"}},
        {"kdf": {"salt": to_base64url(bytes(15))}},
        {"iv": to_base64url(bytes(16))},
        {"ciphertext": to_base64url(bytes(16))},
        {"ciphertext": "not base64!"},
        {"format": "something else"},
        {"format_version": 2},
        {"version": 0},
        {"owner": ""},
        {"cipher": None},
        {"text": "in the clear"},
    ],
)
def test_what_is_no_envelope_is_refused_without_a_password(envelope: Envelope, changes: dict[str, Any]) -> None:
    with pytest.raises(EnvelopeInvalid):
        read_envelope(altered(envelope, **changes))


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff\xfe", b'"' + b"x" * 2**20 + b'"'])
def test_anything_else_is_refused_too(data: bytes) -> None:
    with pytest.raises(EnvelopeInvalid):
        read_envelope(data)


def test_no_two_envelopes_share_salt_or_iv() -> None:
    made = [lock(b"x", "p", transcript="t", owner="o", version=1, iterations=MIN_ITERATIONS) for _ in range(4)]
    assert len({each.iv for each in made}) == len({each.kdf.salt for each in made}) == 4


def test_the_password_is_the_same_on_every_keyboard(envelope: Envelope) -> None:
    kdf = Kdf(MIN_ITERATIONS, to_base64url(bytes(16)), "PBKDF2-SHA-256")
    made = lock_with(b"x", "pässwörd", kdf, bytes(12), transcript="t", owner="o", version=1)
    assert unlock(made, unicodedata.normalize("NFD", "pässwörd")) == b"x"


@settings(max_examples=200)
@given(st.binary(max_size=5000))
def test_padding_comes_off_and_hides_the_length(content: bytes) -> None:
    padded = pad(content)
    assert unpad(padded) == content
    assert len(padded) % 1024 == 0
    assert len(padded) <= max(1024, (len(content) + 1) * 9 / 8 + 1024)


def test_padding_of_a_long_text_costs_an_eighth_at_most() -> None:
    for length in (2**20 - 1, 2**20, 2**20 + 1, 3_333_333):
        assert length < len(pad(bytes(length))) <= length * 9 / 8 + 1


@given(st.binary(max_size=100))
def test_base64url_has_one_text_for_one_content(content: bytes) -> None:
    assert from_base64url(to_base64url(content)) == content


@pytest.mark.parametrize("text", ["A", "AB==", "AB", "Zh", "a+b/", "ä"])
def test_loose_base64_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="base64url"):
        from_base64url(text)
