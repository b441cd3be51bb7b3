"""Guessing is slowed down, and nobody is locked out by it."""

from __future__ import annotations

import pytest

from appliance.api import throttle as module
from appliance.api.throttle import Throttle, network_of
from appliance.errors import TooManyAttempts


class Clock:
    def __init__(self) -> None:
        self.now_s = 10_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throttle(clock: Clock) -> Throttle:
    return Throttle(clock)


def wait_s(throttle: Throttle, account: str, address: str) -> int:
    """How long an attempt is told to wait; 0: it was made, and failed."""
    try:
        throttle.begin(account, address)
    except TooManyAttempts as refused:
        return refused.retry_after_s or -1
    return 0


def test_the_delay_grows_and_has_a_limit(throttle: Throttle, clock: Clock) -> None:
    assert [wait_s(throttle, "ann", "10.0.0.1") for _ in range(5)] == [0] * 5
    delays = []
    for _ in range(14):
        delays.append(wait_s(throttle, "ann", "10.0.0.1"))
        clock.now_s += delays[-1]
        assert wait_s(throttle, "ann", "10.0.0.1") == 0
    assert delays[:5] == [1, 2, 4, 8, 16]
    assert delays[-1] == 900


def test_a_refused_attempt_costs_nothing_more(throttle: Throttle, clock: Clock) -> None:
    for _ in range(5):
        wait_s(throttle, "ann", "10.0.0.1")
    assert {wait_s(throttle, "ann", "10.0.0.1") for _ in range(50)} == {1}
    clock.now_s += 1
    assert wait_s(throttle, "ann", "10.0.0.1") == 0


def test_attempts_that_run_at_once_count_as_many(throttle: Throttle) -> None:
    """They count from their beginning, not once their password was found wrong."""
    assert sum(wait_s(throttle, "ann", "10.0.0.1") == 0 for _ in range(50)) == 5


def test_the_right_password_forgives(throttle: Throttle) -> None:
    for _ in range(4):
        wait_s(throttle, "ann", "10.0.0.1")
    throttle.begin("ann", "10.0.0.1")
    throttle.succeeded("ann", "10.0.0.1")
    assert [wait_s(throttle, "ann", "10.0.0.1") for _ in range(5)] == [0] * 5


def test_a_missing_code_is_no_failure_and_forgives_nothing(throttle: Throttle) -> None:
    for _ in range(4):
        wait_s(throttle, "ann", "10.0.0.1")
    for _ in range(20):
        throttle.begin("ann", "10.0.0.1")
        throttle.undecided("ann", "10.0.0.1")
    assert wait_s(throttle, "ann", "10.0.0.1") == 0
    assert wait_s(throttle, "ann", "10.0.0.1") == 1


def test_nobody_is_kept_out_by_guessing_from_elsewhere(throttle: Throttle, clock: Clock) -> None:
    """The last administrator, under attack from a thousand machines for an hour: a right password always has a way."""
    for second in range(3600):
        clock.now_s += 1
        wait_s(throttle, "admin", f"10.1.{second % 4}.{second % 250}")
        if second % 60 == 0:
            assert wait_s(throttle, "admin", f"192.168.0.{second // 60 + 1}") == 0, "from an address that did not fail"
    assert wait_s(throttle, "admin", "172.16.0.1") == 0
    assert wait_s(throttle, "admin", "172.16.0.1") <= 60, "also after a slip of the finger"
    clock.now_s += 60
    wait_s(throttle, "admin", "10.1.0.0")
    assert wait_s(throttle, "admin", "172.16.0.1") == 0, "others' failures do not lengthen the wait"


def test_one_machine_cannot_try_one_password_on_everybody(throttle: Throttle) -> None:
    assert sum(wait_s(throttle, f"person {n}", "10.0.0.1") == 0 for n in range(100)) == 20


def test_failures_are_forgotten_after_an_hour(throttle: Throttle, clock: Clock) -> None:
    for _ in range(6):
        wait_s(throttle, "ann", "10.0.0.1")
    clock.now_s += 3600
    assert [wait_s(throttle, "ann", "10.0.0.1") for _ in range(5)] == [0] * 5


def test_memory_is_bounded(throttle: Throttle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 100)
    for n in range(500):
        wait_s(throttle, f"person {n}", f"10.0.{n // 250}.{n % 250}")
    assert max(len(throttle._pairs), len(throttle._addresses), len(throttle._accounts)) == 100


def test_an_ipv6_machine_has_one_count_for_all_its_addresses() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of("10.0.0.1") != network_of("10.0.0.2")
    assert network_of("no address") == "no address"
