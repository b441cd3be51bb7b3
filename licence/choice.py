"""Which of several licences counts, and which may take the place of another. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from licence.document import Licence
from licence.errors import LicenceError
from licence.standing import EVALUATION_DAYS, Facts, State, judge

ENOUGH = timedelta(days=EVALUATION_DAYS)


class SupersededLicence(LicenceError):
    code = "licence_superseded"

    def __init__(self, offered: Licence, present: Licence) -> None:
        super().__init__(
            f"The licence {offered.id} (serial {offered.serial}) is older than the present {present.id} (serial {present.serial}).",
            "The newer one stays. If the older one is really wanted, ask the vendor for one that supersedes the newer.",
        )


class EndedLicence(LicenceError):
    code = "licence_ended"

    def __init__(self, offered: Licence, ended_on: datetime) -> None:
        super().__init__(
            f"The licence {offered.id} ended on {ended_on:%Y-%m-%d}.",
            "Install the renewal; if the licence should still run, check this machine's clock.",
        )


def choose(licences: Sequence[Licence], facts: Facts, now: datetime) -> Licence | None:
    """The newest that is in force, so that a renewal may be installed early; else the newest. None when there is none."""
    begun = [one for one in licences if one.not_before <= now]
    superseded = {old for one in begun for old in one.supersedes if old != one.id}
    left = [one for one in licences if one.id not in superseded] or list(licences)
    in_force = [one for one in left if stands_alone(one, facts, now) is not State.RESTRICTED]
    return max(in_force or left, key=lambda one: one.serial, default=None)


def stands_alone(licence: Licence, facts: Facts, now: datetime) -> State:
    """Its state without the help of an evaluation."""
    return judge(licence, replace(facts, ran_for=max(facts.ran_for, ENOUGH)), now).state


def check_newer(offered: Licence, present: Sequence[Licence], facts: Facts, now: datetime) -> None:
    """Whether the licence may be installed beside or over those here. Raises `SupersededLicence`, `EndedLicence`."""
    for one in present:
        if offered.id in one.supersedes or (one.serial > offered.serial and one.id not in offered.supersedes):
            raise SupersededLicence(offered, one)
    has_ended = offered.expires_at is not None and offered.expires_at <= now
    if has_ended and stands_alone(offered, facts, now) is State.RESTRICTED:
        raise EndedLicence(offered, offered.expires_at or now)
