"""The order in which waiting recordings are taken: by priority, then by arrival, and nobody waits for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from appliance.domain import Priority

# A more urgent recording overtakes those that came up to this much earlier. Since every place in the line is a fixed time
# ("arrival plus handicap"), a stream of urgent ones cannot hold back the others for longer than that.
HANDICAP_S = {Priority.HIGH: 0.0, Priority.NORMAL: 1800.0, Priority.LOW: 7200.0}

T = TypeVar("T")


class WaitingLine(Generic[T]):
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._places: dict[T, tuple[float, float]] = {}  # arrival plus handicap, arrival; in order of arrival

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, item: T) -> bool:
        return item in self._places

    def join(self, item: T, priority: Priority) -> None:
        arrival = self._clock()
        self._places[item] = (arrival + HANDICAP_S[priority], arrival)

    def leave(self, item: T) -> None:
        del self._places[item]

    def take(self) -> T:
        """The one whose turn it is. The line must not be empty."""
        item = min(self._places, key=self._places.__getitem__)
        self.leave(item)
        return item

    def order(self) -> tuple[T, ...]:
        """Everybody, the next one first."""
        return tuple(sorted(self._places, key=self._places.__getitem__))

    def longest_wait_s(self) -> float:
        """Of those that wait now; 0 when nobody does."""
        return max((self._clock() - arrival for _, arrival in self._places.values()), default=0.0)
