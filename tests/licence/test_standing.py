"""The states at their exact boundaries, and what can never happen whatever the licence, the facts and the time."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from licence import BadSignature, Binding, Facts, Held, Licence, Limits, State, judge
from tests.licence.making import END, GPU, START, licence, licences, moments

TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
YEARS = timedelta(days=3650)
OVER = Facts(ran_for=31 * DAY)  # the evaluation is long over
facts = st.builds(
    Facts,
    identities=st.frozensets(st.sampled_from([f"id-{n}" for n in range(8)])),
    built_at=st.none() | moments,
    installed_at=st.none() | moments,
    ran_for=st.timedeltas(timedelta(), YEARS),
    changed_for=st.timedeltas(timedelta(), YEARS),
)
helds = st.one_of(st.none(), st.just(BadSignature()), licences())


def state(held: Held, now: datetime, known: Facts = OVER) -> State:
    return judge(held, known, now).state


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (START - DAY - TICK, State.RESTRICTED),
        (START - DAY, State.VALID),
        (START, State.VALID),
        (END - 30 * DAY - TICK, State.VALID),
        (END - 30 * DAY, State.EXPIRING),
        (END - TICK, State.EXPIRING),
        (END, State.GRACE),
        (END + 14 * DAY - TICK, State.GRACE),
        (END + 14 * DAY, State.RESTRICTED),
        (END + YEARS, State.RESTRICTED),
    ],
)
def test_the_states_of_a_term(now: datetime, expected: State) -> None:
    assert state(licence(), now) is expected


def test_a_licence_may_give_more_grace_or_none() -> None:
    assert state(licence(grace_days=60), END + 60 * DAY - TICK) is State.GRACE
    assert state(licence(grace_days=60), END + 60 * DAY) is State.RESTRICTED
    assert state(licence(grace_days=0), END) is State.RESTRICTED


def test_a_perpetual_licence_has_no_end() -> None:
    standing = judge(licence(perpetual=True), OVER, END + 100 * YEARS)
    assert (standing.state, standing.until, standing.days_left) == (State.VALID, None, None)


@pytest.mark.parametrize("held", [None, BadSignature()])
def test_without_a_licence_everything_works_for_thirty_days(held: Held) -> None:
    fresh = Facts(installed_at=START)
    assert state(held, START, fresh) is State.EVALUATION
    assert state(held, START + 30 * DAY - TICK, fresh) is State.EVALUATION
    assert state(held, START + 30 * DAY, fresh) is State.RESTRICTED
    standing = judge(held, fresh, START)
    assert standing.until == START + 30 * DAY
    assert standing.limits == Limits()
    assert standing.has_feature("anything")


def test_a_clock_that_stands_still_does_not_evaluate_for_ever() -> None:
    ran = Facts(installed_at=START, ran_for=30 * DAY)
    assert state(None, START, ran) is State.RESTRICTED
    assert state(None, START, replace(ran, ran_for=30 * DAY - TICK)) is State.EVALUATION


def test_an_installation_on_a_machine_without_the_time_still_evaluates() -> None:
    assert state(None, START - 100 * YEARS / 10, Facts(installed_at=None)) is State.EVALUATION


def test_why_a_file_is_not_trusted_is_said_during_the_evaluation_and_after_it() -> None:
    for known in (Facts(installed_at=START), OVER):
        assert "changed after it was signed" in str([notice.sentence for notice in judge(BadSignature(), known, START).notices])


def test_the_binding_is_k_of_n() -> None:
    bound = licence(bind=Binding(2, ("inst_1", GPU, "GPU-b")))
    for present in ({"inst_1", GPU}, {GPU, "GPU-b"}, {"inst_1", GPU, "GPU-b", "GPU-new"}):
        assert state(bound, START, replace(OVER, identities=frozenset(present))) is State.VALID
    for present in (set(), {"inst_1"}, {"GPU-b", "GPU-new"}):
        assert state(bound, START, replace(OVER, identities=frozenset(present))) is State.GRACE


@pytest.mark.parametrize(("grace_days", "given_days"), [(0, 14), (14, 14), (40, 40)])
def test_a_changed_gpu_starts_grace_and_not_a_stop(grace_days: int, given_days: int) -> None:
    """From when it was first seen changed, by the clock that nobody sets; also with a licence without grace."""
    bound = licence(bind=Binding(1, (GPU,)), grace_days=grace_days)
    just = replace(OVER, changed_for=given_days * DAY - TICK)
    assert judge(bound, OVER, START).until == START + given_days * DAY
    assert state(bound, START, just) is State.GRACE
    assert state(bound, START, replace(OVER, changed_for=given_days * DAY)) is State.RESTRICTED


def test_the_worse_of_term_and_binding_counts() -> None:
    bound = licence(bind=Binding(1, (GPU,)))
    assert state(bound, END + 20 * DAY) is State.RESTRICTED
    both = judge(bound, OVER, END + 10 * DAY)
    assert both.state is State.GRACE
    assert both.until == END + 14 * DAY  # the term's grace ends before the binding's
    assert len(both.notices) == 2


def test_the_end_of_support_is_said_and_stops_nothing() -> None:
    covered = licence(support_until=START)
    assert judge(covered, replace(OVER, built_at=START), START).is_supported
    later = judge(covered, replace(OVER, built_at=START + DAY), START + 2 * DAY)
    assert later.state is State.VALID
    assert later.is_supported is False
    assert "Support ended on 2027-01-01" in later.notices[0].sentence


def test_what_the_site_is_told_says_what_to_do() -> None:
    restricted = judge(licence(), OVER, END + YEARS)
    assert restricted.notices[0].sentence == "The licence ended on 2028-01-01."
    assert "renewal" in restricted.notices[0].hint
    assert "Reading, searching, exporting and deleting go on" in restricted.notices[1].sentence
    assert judge(licence(), OVER, START).notices == ()


@given(helds, facts, moments)
@example(licence(perpetual=True, not_before=START), OVER, START)
def test_a_standing_always_explains_itself(held: Held, known: Facts, now: datetime) -> None:
    """For every licence, every fact and every time: a state with its reasons, and times that fit the state."""
    standing = judge(held, known, now)
    assert (standing.state is State.VALID) or standing.notices
    assert all(notice.sentence.endswith((".", "!")) for notice in standing.notices)
    if standing.is_restricted:
        assert standing.until is None
    elif standing.until is not None:
        assert standing.until > now - TICK


@given(licences(), facts, moments)
def test_a_licence_never_makes_anything_worse(what: Licence, known: Facts, now: datetime) -> None:
    if not judge(None, known, now).is_restricted:
        assert not judge(what, known, now).is_restricted


@given(licences(), facts, moments, st.timedeltas(timedelta(), YEARS))
def test_a_term_only_runs_towards_its_end(what: Licence, known: Facts, now: datetime, later: timedelta) -> None:
    """Once begun, time never makes a standing better."""
    order = [State.VALID, State.EXPIRING, State.GRACE, State.RESTRICTED]
    known = replace(known, ran_for=31 * DAY)
    if now >= what.not_before and now.year < 9980:
        assert order.index(state(what, now, known)) <= order.index(state(what, now + later, known))


@given(licences(), facts, moments)
def test_inside_its_term_on_its_machine_a_licence_always_works(what: Licence, known: Facts, now: datetime) -> None:
    fits = what.bind is None or what.bind.fits(known.identities)
    if fits and what.not_before <= now and (what.expires_at is None or now < what.expires_at):
        assert judge(what, known, now).state in (State.VALID, State.EXPIRING)


@given(licences(), facts, moments, moments)
def test_support_changes_no_state(what: Licence, known: Facts, now: datetime, support: datetime) -> None:
    assert (
        judge(replace(what, support_until=support), known, now).state is judge(replace(what, support_until=None), known, now).state
    )
