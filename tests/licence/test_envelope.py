"""Only exact bytes, signed by a known key, are ever trusted."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licence import (
    PAYLOAD_TYPE,
    BadSignature,
    LicenceError,
    TrustedKeys,
    UnknownSigner,
    UnreadableLicence,
    WrongKind,
    read_licence,
    sign,
    verify,
)
from licence.envelope import MAX_BYTES, pre_authentication_encoding
from licence.keys import public_key_of
from tests.licence.making import CURRENT, END, NEXT, STRANGER, TRUSTED, licence, signed, worthless_key


def test_the_encoding_is_that_of_the_specification() -> None:
    """The example of DSSE's protocol.md."""
    assert pre_authentication_encoding("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_tampering_with_any_byte_is_refused() -> None:
    """Every byte of the file, several ways; the line's end is the only one that carries nothing."""
    raw = signed(licence())
    for place in range(len(raw) - 1):
        for flip in (0x01, 0x02, 0x20, 0x80):
            broken = raw[:place] + bytes([raw[place] ^ flip]) + raw[place + 1 :]
            with pytest.raises(LicenceError):
                read_licence(broken, TRUSTED)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_end_in_a_typed_error(raw: bytes) -> None:
    with pytest.raises(UnreadableLicence):
        read_licence(raw, TRUSTED)


@given(st.integers(0, 600))
def test_a_file_cut_short_is_refused(length: int) -> None:
    raw = signed(licence()).strip()
    with pytest.raises(UnreadableLicence):
        read_licence(raw[: min(length, len(raw) - 1)], TRUSTED)


def test_a_stranger_s_signature_is_refused_by_name() -> None:
    with pytest.raises(UnknownSigner, match=public_key_of(STRANGER).id):
        read_licence(signed(licence(), STRANGER), TRUSTED)


def test_a_stranger_who_claims_a_known_key_id_is_refused() -> None:
    envelope = json.loads(signed(licence(), STRANGER))
    envelope["signatures"][0]["keyid"] = public_key_of(CURRENT).id
    with pytest.raises(BadSignature):
        read_licence(json.dumps(envelope).encode(), TRUSTED)


def test_a_payload_of_another_licence_under_a_right_signature_is_refused() -> None:
    mine, other = json.loads(signed(licence())), json.loads(signed(licence(expires_at=END + timedelta(days=3650)), STRANGER))
    with pytest.raises(BadSignature):
        read_licence(json.dumps({**mine, "payload": other["payload"]}).encode(), TRUSTED)


def test_something_else_that_the_vendor_signed_is_no_licence() -> None:
    payload = base64.b64decode(json.loads(signed(licence()))["payload"])
    with pytest.raises(WrongKind, match="invoice"):
        read_licence(sign("application/invoice", payload, CURRENT), TRUSTED)
    disguised = json.loads(sign("application/invoice", payload, CURRENT)) | {"payloadType": PAYLOAD_TYPE}
    with pytest.raises(BadSignature):
        read_licence(json.dumps(disguised).encode(), TRUSTED)


def test_a_huge_file_is_not_even_parsed() -> None:
    with pytest.raises(UnreadableLicence, match="larger"):
        verify(b" " * (MAX_BYTES + 1), PAYLOAD_TYPE, TRUSTED)


def test_unsigned_is_refused() -> None:
    envelope = json.loads(signed(licence())) | {"signatures": []}
    with pytest.raises(UnknownSigner, match="nobody"):
        read_licence(json.dumps(envelope).encode(), TRUSTED)


def test_keys_rotate_without_refusing_anybody() -> None:
    """Today's image knows the next key; tomorrow's image knows the former one; one signature that holds is enough."""
    old, new = signed(licence(), CURRENT), signed(licence(), NEXT)
    tomorrow = TrustedKeys(public_key_of(NEXT), public_key_of(worthless_key(9)), (public_key_of(CURRENT),))
    for trusted in (TRUSTED, tomorrow):
        assert read_licence(old, trusted) == read_licence(new, trusted) == licence()
    assert read_licence(signed(licence(), STRANGER, NEXT), TRUSTED) == licence()
    forgetful = TrustedKeys(public_key_of(NEXT), public_key_of(worthless_key(9)))
    with pytest.raises(UnknownSigner):
        read_licence(old, forgetful)
