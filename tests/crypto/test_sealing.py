"""The seal on a result: for one key, for one purpose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.crypto.sealing import PUBLIC_KEY_BYTES, WORKER_INFO, Recipient, check_public_key, result_info, seal
from appliance.errors import ResultSealBroken, SealKeyInvalid


@given(st.binary(max_size=2000), st.text(max_size=30))
def test_the_recipient_opens_it(content: bytes, slug: str) -> None:
    recipient = Recipient()
    assert recipient.open(seal(content, recipient.public_key, result_info(slug)), result_info(slug)) == content


def test_nobody_else_does_nor_for_another_purpose() -> None:
    recipient = Recipient()
    sealed = seal(b"words", recipient.public_key, result_info("one"))
    with pytest.raises(ResultSealBroken):
        Recipient().open(sealed, result_info("one"))
    for info in (result_info("two"), WORKER_INFO):
        with pytest.raises(ResultSealBroken):
            recipient.open(sealed, info)


@pytest.mark.parametrize("place", [0, 1, 64, 65, -1])
def test_an_altered_byte_is_seen(place: int) -> None:
    recipient = Recipient()
    sealed = bytearray(seal(b"words", recipient.public_key, b""))
    sealed[place] ^= 1
    with pytest.raises(ResultSealBroken):
        recipient.open(bytes(sealed), b"")


def test_too_little_is_no_seal() -> None:
    with pytest.raises(ResultSealBroken):
        Recipient().open(b"\x04" * 20, b"")


@pytest.mark.parametrize("key", [b"", b"\x04" + bytes(64), b"\x02" + bytes(32), bytes(PUBLIC_KEY_BYTES)])
def test_what_is_no_point_on_the_curve_is_refused(key: bytes) -> None:
    with pytest.raises(SealKeyInvalid) as refused:
        check_public_key(key)
    assert refused.value.param == "seal_to"
