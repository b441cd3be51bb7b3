"""What a licence says survives the way; later formats are read, earlier ones never refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from licence import PAYLOAD_TYPE, Binding, InvalidLicence, Licence, Limits, read_licence, sign
from licence.document import parse_payload, write_payload
from tests.licence.making import CURRENT, END, START, TRUSTED, licence, licences, signed

PINNED = Path(__file__).parent / "version_1"


@given(licences())
def test_every_field_comes_back_as_it_was_signed(what: Licence) -> None:
    assert read_licence(signed(what), TRUSTED) == what


def payload(**changes: Any) -> bytes:
    fields = json.loads(write_payload(licence())) | changes
    return json.dumps({name: value for name, value in fields.items() if value != "absent"}).encode()


def test_fields_of_a_later_format_are_kept_and_mean_nothing() -> None:
    later = parse_payload(payload(format=7, regions=["EU"], limits={"seats": 3, "satellites": 2}))
    assert later.format == 7
    assert later.more == {"regions": ["EU"]}
    assert later.limits == Limits(seats=3)


def test_what_is_left_out_has_its_documented_meaning() -> None:
    names = ("grace_days", "issued_at", "support_until", "features", "limits", "bind", "supersedes", "format", "perpetual")
    bare = parse_payload(payload(**dict.fromkeys(names, "absent")))
    assert bare == licence()
    assert (bare.grace_days, bare.limits, bare.bind) == (14, Limits(), None)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"expires_at": None}, "either expire or be perpetual"),
        ({"perpetual": True}, "either expire or be perpetual"),
        ({"expires_at": "2026-12-31T00:00:00Z"}, "end before it begins"),
        ({"expires_at": "2028-01-01T00:00:00"}, "timezone"),
        ({"not_before": "0001-01-01T00:00:00+14:00"}, "outside the calendar"),
        ({"id": "absent"}, "'id'"),
        ({"serial": 0}, "serial"),
        ({"serial": "one"}, "serial"),
        ({"limits": {"seats": -1}}, "seats"),
        ({"bind": {"need": 3, "any_of": ["a", "b", "b"]}}, "needs 3 of 2"),
        ({"bind": {"need": 0, "any_of": ["a"]}}, "need"),
        ({"bind": {"need": 1, "any_of": []}}, "any_of"),
    ],
)
def test_a_signed_mistake_is_named(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidLicence, match=problem):
        read_licence(sign(PAYLOAD_TYPE, payload(**changes), CURRENT), TRUSTED)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"null", b'{"id": "x"'])
def test_signed_rubbish_is_a_typed_error(content: bytes) -> None:
    with pytest.raises(InvalidLicence):
        read_licence(sign(PAYLOAD_TYPE, content, CURRENT), TRUSTED)


def test_times_are_kept_in_utc() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    assert parse_payload(payload(expires_at="2028-01-01T05:30:00+05:30")).expires_at == END
    assert licence(not_before=START.astimezone(east)) == licence()
    assert parse_payload(payload(expires_at="2028-01-01T05:30:00+05:30")).expires_at.tzinfo is UTC  # type: ignore[union-attr]


def test_version_1_is_read_for_ever() -> None:
    """PAINS 30. These files were issued to customers, so to say: they are never changed, and a reader that refuses one is wrong."""
    read = {path.stem: read_licence(path.read_bytes(), TRUSTED) for path in PINNED.iterdir()}
    assert read == {
        "smallest": Licence(id="lic_smallest", serial=1, customer="Newsroom", edition="standard", not_before=START, expires_at=END),
        "perpetual": Licence(
            id="lic_perpetual", serial=4, customer="Bücherei Süd", edition="standard", not_before=START, perpetual=True
        ),
        "everything": Licence(
            id="lic_everything",
            serial=12,
            customer="City Hospital",
            edition="clinic",
            not_before=START,
            expires_at=END,
            grace_days=21,
            issued_at=datetime(2026, 12, 20, 9, 30, tzinfo=UTC),
            support_until=datetime(2027, 7, 1, tzinfo=UTC),
            features=("live", "summaries"),
            limits=Limits(seats=250, gpus=2, concurrent_jobs=8, hours_a_month=1500.5),
            bind=Binding(2, ("inst_0123456789abcdef", "GPU-a", "GPU-b")),
            supersedes=("lic_trial", "lic_2026"),
        ),
    }
