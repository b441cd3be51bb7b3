"""The clock: whatever is done to it, a repaired clock is believed again, and a licence does not run longer than it should."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.licensing.mark import (
    DRIFT,
    TOLERANCE,
    Mark,
    Reading,
    advance,
    first_mark,
    install_id_of,
    judged_at,
    note_binding,
    seal,
    turned_back_by,
    unseal,
)
from licence import Facts, Licence, State, judge

BUILT = datetime(2027, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TEN_YEARS = timedelta(days=3653)
KEY = b"k" * 32


@dataclass
class Machine:
    """A machine in the true time, with a clock that anybody may set."""

    true: datetime = BUILT
    wrong_by: timedelta = timedelta()
    running: timedelta = timedelta(hours=3)
    boots: int = 0
    mark: Mark = field(init=False)

    def __post_init__(self) -> None:
        self.mark = first_mark(self.read(), BUILT)

    def read(self) -> Reading:
        return Reading(wall_at=self.true + self.wrong_by, running_s=self.running.total_seconds(), boot_id=str(self.boots))

    def look(self) -> None:
        self.mark = advance(self.mark, self.read(), BUILT)

    def run(self, span: timedelta) -> None:
        self.true += span
        self.running += span
        self.look()

    def off(self, span: timedelta) -> None:
        self.true += span
        self.boots += 1
        self.running = timedelta(seconds=20)
        self.look()

    def set_clock(self, wrong_by: timedelta) -> None:
        self.wrong_by = wrong_by
        self.look()

    def state(self, licence: Licence) -> State:
        return judge(licence, Facts(ran_for=31 * DAY), judged_at(self.mark)).state


spans = st.timedeltas(timedelta(), 200 * DAY)
jumps = st.timedeltas(-TEN_YEARS, TEN_YEARS) | st.sampled_from((-TEN_YEARS, TEN_YEARS, -HOUR, HOUR, timedelta()))
events = st.lists(
    st.one_of(st.tuples(st.just("run"), spans), st.tuples(st.just("off"), spans), st.tuples(st.just("set_clock"), jumps)),
    max_size=30,
)


def play(machine: Machine, story: list[tuple[str, timedelta]]) -> None:
    for what, span in story:
        getattr(machine, what)(span)


def licence(expires_at: datetime | None) -> Licence:
    return Licence(
        id="x", serial=1, customer="c", edition="e", not_before=BUILT, expires_at=expires_at, perpetual=expires_at is None
    )


@given(jumps, events)
@settings(max_examples=150)
def test_the_bound_is_never_later_than_the_truth(first: timedelta, story: list[tuple[str, timedelta]]) -> None:
    """Everything else follows from this one."""
    machine = Machine(wrong_by=first)
    play(machine, story)
    assert machine.mark.proven_at <= machine.true


@given(jumps, events, st.timedeltas(timedelta(microseconds=1), TEN_YEARS))
@settings(max_examples=150)
def test_a_repaired_clock_never_leaves_a_valid_licence_restricted(
    first: timedelta, story: list[tuple[str, timedelta]], left: timedelta
) -> None:
    """Jumps of up to ten years, forwards and backwards, in any order, from the very first start on."""
    machine = Machine(wrong_by=first)
    play(machine, story)
    machine.set_clock(timedelta())
    assert judged_at(machine.mark) == machine.true
    assert machine.state(licence(machine.true + left)) in (State.VALID, State.EXPIRING)
    assert machine.state(licence(None)) is State.VALID


@given(events, st.integers(1, 400))
@settings(max_examples=150)
def test_no_clock_makes_a_licence_run_longer_than_the_documented_slack(story: list[tuple[str, timedelta]], term_days: int) -> None:
    """Slack: time the machine was off, one hour, and one thousandth of the running time."""
    machine = Machine()
    expires_at = BUILT + term_days * DAY
    worked = timedelta()  # running time at whose end new recordings were still taken
    ran = timedelta()
    for what, span in story:
        getattr(machine, what)(span)
        ran += span if what == "run" else timedelta()
        if machine.state(licence(expires_at)) is not State.RESTRICTED:
            worked = ran
    allowed = (term_days + 14) * DAY + TOLERANCE
    assert worked * (1 - DRIFT) <= allowed + timedelta(seconds=1)


def test_an_always_running_site_gains_nothing_by_setting_its_clock_back_each_day() -> None:
    machine, days = Machine(), 0
    while machine.state(licence(BUILT + 30 * DAY)) is not State.RESTRICTED:
        machine.set_clock(BUILT - machine.true)  # back to the first day, always
        machine.run(DAY)
        days += 1
    assert days == 30 + 14 + 1  # the last one for the tolerance and the drift


def test_a_machine_that_restarts_its_programs_only_proves_that_time_too() -> None:
    """Stopping the appliance while the clock stands still gains nothing; only the machine's own restart does."""
    machine = Machine()
    kept = unseal(seal(machine.mark, KEY), KEY)
    assert kept == machine.mark
    machine.true += 5 * DAY
    machine.running += 5 * DAY
    machine.wrong_by = BUILT - machine.true
    machine.look()
    assert judged_at(machine.mark) > BUILT + 4.9 * DAY


@pytest.mark.parametrize(("back", "judged_by_clock"), [(HOUR - timedelta(seconds=40), True), (HOUR + timedelta(minutes=1), False)])
def test_more_than_an_hour_back_is_judged_at_the_mark(back: timedelta, judged_by_clock: bool) -> None:
    machine = Machine()
    machine.run(10 * HOUR)
    machine.set_clock(-back)
    assert (judged_at(machine.mark) == machine.read().wall_at) is judged_by_clock
    assert judged_at(machine.mark) >= machine.true - TOLERANCE


@given(st.timedeltas(-TEN_YEARS, TEN_YEARS), spans)
def test_setting_back_is_noticed_above_an_hour_and_only_then(jump: timedelta, span: timedelta) -> None:
    machine = Machine()
    before = machine.mark.read
    machine.wrong_by = jump
    machine.run(span)
    noticed = turned_back_by(before, machine.mark.read)
    assert (noticed is not None) == (-jump > TOLERANCE)
    assert noticed is None or abs(noticed + jump) < timedelta(milliseconds=1)


def test_a_clock_that_is_disciplined_by_small_steps_is_never_suspected() -> None:
    """A year with an oscillator that is 400 ppm fast, stepped back every day."""
    machine = Machine()
    for _ in range(365):
        before = machine.mark.read
        machine.running += DAY * 400e-6  # counted, but not passed
        machine.run(DAY)
        assert turned_back_by(before, machine.mark.read) is None
        assert judged_at(machine.mark) == machine.true


def test_the_installation_is_dated_once_the_clock_is_plausible() -> None:
    machine = Machine(wrong_by=-TEN_YEARS)
    machine.run(DAY)
    assert machine.mark.installed_at is None
    machine.set_clock(timedelta())
    machine.run(DAY)
    assert machine.mark.installed_at == BUILT + DAY


def test_grace_for_a_changed_machine_counts_running_time_from_the_first_sight() -> None:
    machine = Machine()
    machine.run(DAY)
    machine.mark = note_binding(machine.mark, fits=False)
    machine.set_clock(TEN_YEARS)
    machine.run(3 * DAY)
    machine.mark = note_binding(machine.mark, fits=False)
    machine.off(20 * DAY)
    assert machine.mark.changed_for == 3 * DAY
    assert note_binding(machine.mark, fits=True).changed_for == timedelta()


def test_a_mark_that_was_changed_in_any_byte_does_not_open() -> None:
    sealed = seal(Machine().mark, KEY)
    assert unseal(sealed, KEY) is not None
    assert unseal(sealed, b"another key" * 3) is None
    for place in range(len(sealed)):
        assert unseal(sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :], KEY) is None


@given(st.binary(max_size=200))
def test_rubbish_is_no_mark(rubbish: bytes) -> None:
    assert unseal(rubbish, KEY) is None
    assert install_id_of(rubbish) is None


def test_a_site_keeps_its_id_when_its_seal_is_lost() -> None:
    mark = Machine().mark
    assert install_id_of(seal(mark, b"a key that was lost")) == mark.install_id
