"""Slows guessing of passwords and codes down, and locks nobody out. Pure: told the time, and asked before every attempt.

Three counts of failures, each forgotten after an hour without one:

- of an account from one address: five are free, then 1, 2, 4 … seconds, at most fifteen minutes;
- of an address, whatever the account: twenty are free, then likewise;
- of an account from everywhere: ten are free, then likewise, at most one minute.

The last one holds only for addresses that failed at this account themselves, and counts from their own last failure. So nobody
can keep an administrator out by guessing from elsewhere: a right password from an address that did not fail yet always works, and
so it does in a browser that was signed in before (`known_browsers.py` gives that one an "address" of its own). From
the console there is `appliance people reset-password`, which needs no password at all.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from appliance.errors import TooManyAttempts

K = TypeVar("K")

FORGET_S: Final = 3600.0
MAX_ENTRIES: Final = 20_000  # of each count; beyond it the oldest are forgotten
PAIR_FREE, ADDRESS_FREE, ACCOUNT_FREE = 5, 20, 10
LONGEST_S, ACCOUNT_LONGEST_S = 900.0, 60.0
IPV6_NETWORK_BITS: Final = 64  # what one household or machine has to itself


@dataclass(frozen=True)
class Failures:
    count: int = 0
    last_s: float = 0.0


class Throttle:
    """An attempt counts as failed from its beginning, so that many at once are as many; `succeeded` takes that back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pairs: dict[tuple[str, str], Failures] = {}
        self._addresses: dict[str, Failures] = {}
        self._accounts: dict[str, Failures] = {}

    def begin(self, account: str, address: str) -> None:
        """Raises `TooManyAttempts`, and then nothing is counted."""
        at, network = self._clock(), network_of(address)
        wait_s = self._wait_s(account, network, at)
        if wait_s > 0:
            raise TooManyAttempts(math.ceil(wait_s))
        _count(self._pairs, (account, network), at)
        _count(self._addresses, network, at)
        _count(self._accounts, account, at)

    def succeeded(self, account: str, address: str) -> None:
        network = network_of(address)
        _uncount(self._addresses, network, by=self._pairs.pop((account, network), Failures()).count)
        self._accounts.pop(account, None)

    def undecided(self, account: str, address: str) -> None:
        """The password was right, and a code is still missing: no failure, and no success that forgives earlier ones."""
        network = network_of(address)
        _uncount(self._pairs, (account, network))
        _uncount(self._addresses, network)
        _uncount(self._accounts, account)

    def _wait_s(self, account: str, network: str, at: float) -> float:
        pair = _known(self._pairs, (account, network), at)
        of_address = _known(self._addresses, network, at)
        of_account = _known(self._accounts, account, at)
        delays = [
            pair.last_s + _delay_s(pair.count - PAIR_FREE, LONGEST_S),
            of_address.last_s + _delay_s(of_address.count - ADDRESS_FREE, LONGEST_S),
        ]
        if pair.count:
            delays.append(pair.last_s + _delay_s(of_account.count - ACCOUNT_FREE, ACCOUNT_LONGEST_S))
        return max(delays) - at


def network_of(address: str) -> str:
    """The address itself; of IPv6 the /64 it is in, which one machine may have all of."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, IPV6_NETWORK_BITS), strict=False))


def _delay_s(beyond: int, longest_s: float) -> float:
    return 0.0 if beyond < 0 else min(2.0 ** min(beyond, 30), longest_s)


def _known(counts: dict[K, Failures], key: K, at: float) -> Failures:
    found = counts.get(key, Failures())
    return Failures() if at - found.last_s >= FORGET_S else found


def _count(counts: dict[K, Failures], key: K, at: float) -> None:
    failures = Failures(_known(counts, key, at).count + 1, at)
    counts.pop(key, None)  # to the end: the first of a dict is then the one that failed longest ago
    counts[key] = failures
    if len(counts) > MAX_ENTRIES:
        del counts[next(iter(counts))]


def _uncount(counts: dict[K, Failures], key: K, by: int = 1) -> None:
    found = counts.get(key)
    if found is not None:
        counts[key] = Failures(max(0, found.count - by), found.last_s)
