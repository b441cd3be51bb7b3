"""What every audio test ends with: no memory held, no descriptor open, no child alive."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Iterator

import psutil
import pytest
import uvloop

from appliance.audio.memory import MemoryBudget


@pytest.fixture(scope="session", autouse=True)
def libuv_has_its_pipe() -> None:
    """uvloop opens one pipe per process with its first child; it would look like a leak of the test that comes first."""

    async def run_a_child() -> None:
        await (await asyncio.create_subprocess_exec("true")).wait()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_a_child())


@pytest.fixture
def budget() -> Iterator[MemoryBudget]:
    """64 MiB. Nothing may be reserved, open or running when the test is over, whatever it did."""
    gc.collect()  # an earlier test's event loop may still hold descriptors, and let go of them in the middle of this one
    open_before = len(os.listdir("/proc/self/fd"))
    children_before = set(psutil.Process().children())  # servers of other tests
    budget = MemoryBudget(64 * 2**20, lambda: 7)
    yield budget
    assert budget.used_bytes == 0
    assert len(os.listdir("/proc/self/fd")) <= open_before
    assert set(psutil.Process().children()) <= children_before
