"""What a licence says, and how its signed bytes become one.

A later format only adds fields. Those unknown here are kept (`more`) and mean nothing, so that a new licence works on an old
image; no field ever becomes stricter or required, so that a new image never refuses an old licence (tests pin version 1).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec

from licence.envelope import verify
from licence.errors import InvalidLicence
from licence.keys import TrustedKeys

PAYLOAD_TYPE: Final = "application/vnd.appliance.licence+json"
FORMAT: Final = 1

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Limits(msgspec.Struct, frozen=True):
    """None: as many as there are."""

    seats: Count | None = None  # people who may sign in
    gpus: Count | None = None
    concurrent_jobs: Annotated[int, msgspec.Meta(ge=1)] | None = None
    hours_a_month: Annotated[float, msgspec.Meta(ge=0)] | None = None  # of audio, by calendar month in UTC


class Binding(msgspec.Struct, frozen=True):
    """The machine must show at least `need` of the identities in `any_of`."""

    need: Annotated[int, msgspec.Meta(ge=1)]
    any_of: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]  # install ids and GPU UUIDs

    def found(self, identities: frozenset[str]) -> int:
        return len(identities.intersection(self.any_of))

    def fits(self, identities: frozenset[str]) -> bool:
        return self.found(identities) >= self.need


class Licence(msgspec.Struct, frozen=True):
    id: str
    serial: Annotated[int, msgspec.Meta(ge=1)]  # grows with each licence of a customer
    customer: str
    edition: str
    not_before: Moment
    expires_at: Moment | None = None  # None: perpetual, and then the file says so
    perpetual: bool = False
    grace_days: Annotated[int, msgspec.Meta(ge=0)] = 14  # after expiry, with everything still working
    issued_at: Moment | None = None  # the vendor's clock; no machine that has this licence lives before it
    support_until: Moment | None = None  # versions made later are not covered; never stops anything
    features: tuple[str, ...] = ()
    limits: Limits = Limits()
    bind: Binding | None = None
    supersedes: tuple[str, ...] = ()  # ids of licences that this one takes the place of
    format: int = FORMAT
    more: dict[str, Any] = {}  # fields of a later format, as they came


def read_licence(raw: bytes, trusted: TrustedKeys) -> Licence:
    """The licence in a file, once its signature holds; does not say whether it is in force (that is `judge`).

    Raises `UnreadableLicence`, `WrongKind`, `UnknownSigner`, `BadSignature`, `InvalidLicence`.
    """
    return parse_payload(verify(raw, PAYLOAD_TYPE, trusted))


def parse_payload(payload: bytes) -> Licence:
    """Raises `InvalidLicence`."""
    try:
        fields = msgspec.json.decode(payload, type=dict[str, Any])
        known = {name: fields.pop(name) for name in Licence.__struct_fields__ if name != "more" and name in fields}
        licence = msgspec.convert({**known, "more": fields}, Licence)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidLicence(str(error).replace("`", "'")) from error
    _check(licence)
    return _in_utc(licence)


def write_payload(licence: Licence) -> bytes:
    """The bytes to sign."""
    fields = msgspec.to_builtins(licence)
    more = fields.pop("more")
    return msgspec.json.encode({**more, **fields}, order="deterministic")


def _in_utc(licence: Licence) -> Licence:
    names = ("not_before", "expires_at", "issued_at", "support_until")
    moments = {name: moment for name in names if (moment := getattr(licence, name)) is not None}
    try:
        return msgspec.structs.replace(licence, **{name: moment.astimezone(UTC) for name, moment in moments.items()})
    except OverflowError as error:
        raise InvalidLicence("a date in it lies outside the calendar") from error


def _check(licence: Licence) -> None:
    if licence.perpetual == (licence.expires_at is not None):
        raise InvalidLicence("it must either expire or be perpetual")
    if licence.expires_at is not None and licence.expires_at <= licence.not_before:
        raise InvalidLicence("it would end before it begins")
    if licence.bind is not None and licence.bind.need > len(set(licence.bind.any_of)):
        raise InvalidLicence(f"it needs {licence.bind.need} of {len(set(licence.bind.any_of))} machine identities")
