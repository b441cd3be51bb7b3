"""The judge: from a licence (or none, or one that could not be trusted), facts and a time to what the site may do.

Pure. Where the facts and the time come from, and how a standing is enforced, is left to `appliance/licensing`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

from licence.document import Licence, Limits
from licence.errors import LicenceError

EXPIRING_DAYS: Final = 30
GRACE_DAYS: Final = 14
EVALUATION_DAYS: Final = 30
EARLY: Final = timedelta(days=1)  # a licence begins that much sooner: clocks and time zones
LATEST: Final = datetime.max.replace(tzinfo=UTC)
CONTINUES: Final = "Reading, searching, exporting and deleting go on as before; only new recordings are refused."
INSTALL: Final = "Install a licence with 'appliance licence install FILE', or upload it on the administration page."

Held = Licence | LicenceError | None
"""A licence, why the file that is there cannot be trusted, or none."""


class State(StrEnum):
    VALID = "valid"  # everything works
    EXPIRING = "expiring"  # everything works, for less than 30 days more
    EVALUATION = "evaluation"  # no licence yet: everything works for the first 30 days
    GRACE = "grace"  # something ended or changed: everything still works, until `Standing.until`
    RESTRICTED = "restricted"  # no new recordings and no new people; all that is there stays usable


_SEVERITY: Final = {State.VALID: 0, State.EXPIRING: 1, State.GRACE: 2, State.RESTRICTED: 3}


class Facts(msgspec.Struct, frozen=True):
    """What is known about the site."""

    identities: frozenset[str] = frozenset()  # its installation id and the UUIDs of its GPUs
    built_at: datetime | None = None  # when this version was made
    installed_at: datetime | None = None  # None: not known, because no plausible clock was seen yet
    ran_for: timedelta = timedelta()  # since the installation, counted by a clock that nobody can set
    changed_for: timedelta = timedelta()  # how long (by the same clock) the machine has not fitted the licence's binding


class Notice(msgspec.Struct, frozen=True):
    """One reason, for people: a sentence and what to do next."""

    sentence: str
    hint: str = ""


class Standing(msgspec.Struct, frozen=True):
    state: State
    judged_at: datetime
    notices: tuple[Notice, ...] = ()  # the most pressing first; empty when there is nothing to say
    licence: Licence | None = None
    until: datetime | None = None  # new recordings are refused from then on; None: not in sight, or refused already
    days_left: float | None = None  # to the end of the licence's term or of the evaluation, below 0 after it; None: no end
    is_supported: bool | None = None  # whether this version was made within the time of support; None: not said

    @property
    def is_restricted(self) -> bool:
        return self.state is State.RESTRICTED

    @property
    def limits(self) -> Limits:
        return self.licence.limits if self.licence is not None and self.state is not State.EVALUATION else Limits()

    def has_feature(self, name: str) -> bool:
        """Everything is on in an evaluation."""
        return self.state is State.EVALUATION or (self.licence is not None and name in self.licence.features)


class _Finding(msgspec.Struct, frozen=True):
    state: State
    until: datetime | None = None
    notice: Notice | None = None


def judge(held: Held, facts: Facts, now: datetime) -> Standing:
    """Whatever is held, nobody is worse off than without it: an evaluation that still runs covers a licence that does not."""
    standing = _judge_licence(held, facts, now) if isinstance(held, Licence) else _without(held, now)
    left = _evaluation_left(facts, now)
    if not standing.is_restricted or left <= timedelta():
        return standing
    until = _later(now, left)
    notice = Notice(f"This is an evaluation with everything on, until {_day(until)}.", INSTALL)
    reasons = standing.notices if held is not None else ()  # that there is no licence goes without saying
    return msgspec.structs.replace(
        standing, state=State.EVALUATION, until=until, notices=(notice, *reasons), days_left=left / timedelta(days=1)
    )


def _without(held: LicenceError | None, now: datetime) -> Standing:
    notice = Notice(held.message, held.hint) if held else Notice("There is no licence.", INSTALL)
    return Standing(State.RESTRICTED, now, (notice, Notice(CONTINUES)))


def _judge_licence(licence: Licence, facts: Facts, now: datetime) -> Standing:
    findings = sorted((_term(licence, now), _binding(licence, facts, now)), key=lambda finding: -_SEVERITY[finding.state])
    state = findings[0].state
    ends = [finding.until for finding in findings if finding.until is not None]
    support, is_supported = _support(licence, facts)
    notices = [*(finding.notice for finding in findings), Notice(CONTINUES) if state is State.RESTRICTED else None, support]
    return Standing(
        state=state,
        judged_at=now,
        notices=tuple(notice for notice in notices if notice is not None),
        licence=licence,
        until=min(ends) if ends and state is not State.RESTRICTED else None,
        days_left=None if licence.expires_at is None else (licence.expires_at - now) / timedelta(days=1),
        is_supported=is_supported,
    )


def _term(licence: Licence, now: datetime) -> _Finding:
    if now < _later(licence.not_before, -EARLY):
        hint = "It starts to count by itself then. If that day has passed, the clock of this machine is wrong: correct it."
        return _Finding(State.RESTRICTED, None, Notice(f"The licence begins on {_day(licence.not_before)}.", hint))
    if licence.expires_at is None:
        return _Finding(State.VALID)
    end, stop = licence.expires_at, _later(licence.expires_at, timedelta(days=licence.grace_days))
    renew = "Ask the vendor for a renewal and install it; nothing has to be stopped for that."
    if now < _later(end, -timedelta(days=EXPIRING_DAYS)):
        return _Finding(State.VALID, stop)
    if now < end:
        return _Finding(State.EXPIRING, stop, Notice(f"The licence ends on {_day(end)}.", renew))
    ended = f"The licence ended on {_day(end)}."
    if now < stop:
        return _Finding(State.GRACE, stop, Notice(f"{ended} Everything works until {_day(stop)}.", renew))
    return _Finding(State.RESTRICTED, None, Notice(ended, renew))


def _binding(licence: Licence, facts: Facts, now: datetime) -> _Finding:
    """A changed GPU starts a time of grace, however little of it the licence gives after its term."""
    bind = licence.bind
    if bind is None or bind.fits(facts.identities):
        return _Finding(State.VALID)
    changed = f"The licence is for another machine: {bind.found(facts.identities)} of the {bind.need} needed identities are here."
    hint = "If hardware was changed, send the vendor the output of 'appliance licence show' for a new licence."
    left = timedelta(days=max(licence.grace_days, GRACE_DAYS)) - facts.changed_for
    if left <= timedelta():
        return _Finding(State.RESTRICTED, None, Notice(changed, hint))
    until = _later(now, left)
    return _Finding(State.GRACE, until, Notice(f"{changed} Everything works until {_day(until)}.", hint))


def _support(licence: Licence, facts: Facts) -> tuple[Notice | None, bool | None]:
    if licence.support_until is None or facts.built_at is None:
        return None, None
    notice = support_notice(licence, "this version", facts.built_at)
    return notice, notice is None


def support_notice(licence: Licence, what: str, made_at: datetime) -> Notice | None:
    """Of something the vendor made; None where support covers it. What came later works all the same."""
    if licence.support_until is None or made_at <= licence.support_until:
        return None
    sentence = (
        f"Support ended on {_day(licence.support_until)}, and {what} was made later, on {_day(made_at)}: "
        "it works, but the licence does not cover it."
    )
    return Notice(sentence, "Extend the support, or go back to an earlier one.")


def _evaluation_left(facts: Facts, now: datetime) -> timedelta:
    """By the calendar, and by time that really passed: a clock that stands still does not evaluate for ever."""
    whole = timedelta(days=EVALUATION_DAYS)
    by_running = whole - facts.ran_for
    return by_running if facts.installed_at is None else min(by_running, whole - (now - facts.installed_at))


def _later(moment: datetime, span: timedelta) -> datetime:
    """The sum, kept within the calendar."""
    try:
        return moment + span
    except OverflowError:
        return LATEST if span > timedelta() else datetime.min.replace(tzinfo=UTC)


def _day(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d}"
