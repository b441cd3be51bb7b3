"""Licences for tests, signed with keys of the tests' own, and hypothesis strategies for every field."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import strategies as st

from licence import PAYLOAD_TYPE, Binding, Licence, Limits, TrustedKeys, sign, write_payload
from licence.keys import public_key_of


def worthless_key(number: int) -> Ed25519PrivateKey:
    """Always the same, and worth nothing."""
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


CURRENT, NEXT, STRANGER = worthless_key(1), worthless_key(2), worthless_key(3)
TRUSTED = TrustedKeys(public_key_of(CURRENT), public_key_of(NEXT))
START = datetime(2027, 1, 1, tzinfo=UTC)
END = datetime(2028, 1, 1, tzinfo=UTC)
GPU = "GPU-8f2c1d7e-0000-4a8b-9d2e-1b2c3d4e5f60"


def licence(**changes: Any) -> Licence:
    term = {} if changes.get("perpetual") else {"expires_at": END}
    fields = {"id": "lic_1", "serial": 1, "customer": "City Hospital", "edition": "standard", "not_before": START}
    return Licence(**{**fields, **term, **changes})


def signed(what: Licence, *keys: Ed25519PrivateKey) -> bytes:
    return sign(PAYLOAD_TYPE, write_payload(what), *(keys or (CURRENT,)))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
moments = st.datetimes(datetime(1970, 1, 2), datetime(9998, 12, 30), timezones=st.just(UTC))
limits = st.builds(
    Limits,
    seats=st.none() | st.integers(0, 10**6),
    gpus=st.none() | st.integers(0, 64),
    concurrent_jobs=st.none() | st.integers(1, 10**4),
    hours_a_month=st.none() | st.floats(0, 10**6),
)


@st.composite
def bindings(draw: st.DrawFn) -> Binding:
    any_of = draw(st.lists(st.sampled_from([f"id-{n}" for n in range(8)]), min_size=1, unique=True))
    return Binding(draw(st.integers(1, len(any_of))), tuple(any_of))


@st.composite
def licences(draw: st.DrawFn) -> Licence:
    begin, end = sorted(draw(st.lists(moments, min_size=2, max_size=2, unique=True)))
    perpetual = draw(st.booleans())
    unknown = draw(st.dictionaries(texts.map(lambda name: f"x-{name}"), st.none() | st.integers() | texts, max_size=3))
    return Licence(
        id=draw(texts),
        serial=draw(st.integers(1, 2**53)),
        customer=draw(texts),
        edition=draw(texts),
        not_before=begin,
        expires_at=None if perpetual else end,
        perpetual=perpetual,
        grace_days=draw(st.integers(0, 10**7)),
        issued_at=draw(st.none() | moments),
        support_until=draw(st.none() | moments),
        features=tuple(draw(st.lists(texts, max_size=3))),
        limits=draw(limits),
        bind=draw(st.none() | bindings()),
        supersedes=tuple(draw(st.lists(texts, max_size=3))),
        more=unknown,
    )
