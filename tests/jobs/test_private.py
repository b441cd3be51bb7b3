"""The result of a private recording, joined by the real child: a cancel, whenever it comes, leaves no word in memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.crypto.sealing import WORKER_INFO, seal
from appliance.domain import Segment
from appliance.engine.protocol import Sealed
from appliance.engine.wire import pack
from appliance.jobs.private import Joiner, Privacy, PrivateResult, join_order, start_joiner
from tests.export.generated import record_of, transcript_of

WORD = "quinsy "


async def join(joiner: Joiner, words: int = 1) -> PrivateResult:
    transcript = transcript_of([Segment(id=0, start=0.0, end=1.0, text=WORD * words)])
    sealed = Sealed(seal(pack(transcript), joiner.public_key, WORKER_INFO))
    return await joiner.join(join_order(sealed, None, (), record_of(None), Privacy()))


def cancel_this_task() -> None:
    task = asyncio.current_task()
    assert task
    task.cancel()


def results_open() -> list[int]:
    """Descriptors of results in this process."""
    return [int(path.name) for path in Path("/proc/self/fd").iterdir() if _is_result(path)]


def _is_result(path: Path) -> bool:
    try:
        return path.readlink().name.startswith("memfd:private result")
    except FileNotFoundError:  # of the listing itself
        return False


@pytest.fixture
def seen() -> Iterator[list[int]]:
    """For copies of the result's descriptor, through which a test sees what becomes of its content."""
    copies: list[int] = []
    yield copies
    for fd in copies:
        os.close(fd)


def test_a_cancel_when_the_join_has_just_ended_wipes_the_result(seen: list[int]) -> None:
    async def work() -> PrivateResult:
        async with start_joiner() as joiner:
            result = await join(joiner)
            seen.extend(map(os.dup, results_open()))
            assert WORD.encode() in os.pread(seen[0], 2**20, 0)
            cancel_this_task()
        return result

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(work())
    assert os.pread(seen[0], 2**20, 0).strip(b"\0") == b""
    assert results_open() == seen


def test_cancels_in_a_row_wait_for_what_still_fills_the_result(seen: list[int]) -> None:
    """Else a thread would go on to write the text into a descriptor that by then belongs to something else."""

    async def work() -> None:
        async with start_joiner() as joiner:
            await join(joiner, words=10**6)

    async def cancel_again_and_again() -> None:
        working = asyncio.create_task(work())
        while not (found := results_open()) or os.fstat(found[0]).st_size == 0:  # noqa: ASYNC110 (a file tells nobody that it grows)
            await asyncio.sleep(0)
        seen.append(os.dup(found[0]))
        while not working.done():
            working.cancel()
            await asyncio.sleep(0)
        assert working.cancelled()
        assert os.pread(seen[0], 2**26, 0).strip(b"\0") == b""

    asyncio.run(cancel_again_and_again())
    assert results_open() == seen
