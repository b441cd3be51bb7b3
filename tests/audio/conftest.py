"""What every audio test ends with: no memory held, no descriptor open, no child alive."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psutil
import pytest

from appliance.audio.memory import MemoryBudget


@pytest.fixture
def budget() -> Iterator[MemoryBudget]:
    """64 MiB. Nothing may be reserved, open or running when the test is over, whatever it did."""
    open_before = len(os.listdir("/proc/self/fd"))
    budget = MemoryBudget(64 * 2**20, lambda: 7)
    yield budget
    assert budget.used_bytes == 0
    assert len(os.listdir("/proc/self/fd")) == open_before
    assert psutil.Process().children() == []
