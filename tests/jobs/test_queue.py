"""Who is next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.domain import Priority
from appliance.jobs.queue import HANDICAP_S, WaitingLine


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def line_of(*arrivals: tuple[str, Priority, float]) -> tuple[WaitingLine[str], Clock]:
    clock = Clock()
    line: WaitingLine[str] = WaitingLine(clock)
    for name, priority, at in arrivals:
        clock.now = at
        line.join(name, priority)
    return line, clock


def test_urgent_ones_first_then_by_arrival() -> None:
    line, _ = line_of(
        ("a", Priority.LOW, 0),
        ("b", Priority.NORMAL, 1),
        ("c", Priority.HIGH, 2),
        ("d", Priority.NORMAL, 3),
        ("e", Priority.HIGH, 4),
    )
    assert line.order() == ("c", "e", "b", "d", "a")
    assert [line.take() for _ in range(5)] == ["c", "e", "b", "d", "a"]
    assert len(line) == 0


def test_a_patient_one_is_not_overtaken_for_ever() -> None:
    waited = HANDICAP_S[Priority.NORMAL] + 1
    line, _ = line_of(("patient", Priority.NORMAL, 0), ("urgent", Priority.HIGH, waited))
    assert line.take() == "patient"


@given(st.lists(st.sampled_from(list(Priority))))
def test_within_a_priority_nobody_overtakes(priorities: list[Priority]) -> None:
    line, _ = line_of(*((f"{n}", priority, n) for n, priority in enumerate(priorities)))
    for priority in Priority:
        mine = [int(name) for name in line.order() if priorities[int(name)] is priority]
        assert mine == sorted(mine)


def test_leaving_and_waiting_times() -> None:
    line, clock = line_of(("a", Priority.NORMAL, 0), ("b", Priority.NORMAL, 10))
    clock.now = 30
    assert line.longest_wait_s() == 30
    line.leave("a")
    assert "a" not in line
    assert line.longest_wait_s() == 20
    line.leave("b")
    assert line.longest_wait_s() == 0
