"""The result of a private recording, joined by the real child: a cancel, whenever it comes, leaves no word in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
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


def results_open() -> dict[int, int]:
    """Descriptors of results in this process, by inode."""
    found: dict[int, int] = {}
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # of the listing itself, which is gone by now
            if path.readlink().name.startswith("memfd:private result"):
                found.setdefault(path.stat().st_ino, int(path.name))
    return found


class Seen:
    """The one result that a test makes: those of others in this process, which wait to be fetched, are not looked at."""

    def __init__(self) -> None:
        self._others = results_open().keys()
        self._copy: int | None = None

    def look(self) -> bool:
        """Keep a copy of its descriptor, through which it is seen what becomes of its content; False: there is none yet."""
        for fd in self._own().values():
            if self._copy is None and os.fstat(fd).st_size:
                self._copy = os.dup(fd)
        return self._copy is not None

    @property
    def content(self) -> bytes:
        assert self._copy is not None
        return os.pread(self._copy, 2**26, 0)

    def is_let_go(self) -> bool:
        assert self._copy is not None
        inode = os.fstat(self._copy).st_ino
        os.close(self._copy)
        return inode not in results_open()

    def _own(self) -> dict[int, int]:
        return {inode: fd for inode, fd in results_open().items() if inode not in self._others}


def test_a_cancel_when_the_join_has_just_ended_wipes_the_result() -> None:
    seen = Seen()

    async def work() -> PrivateResult:
        async with start_joiner() as joiner:
            result = await join(joiner)
            assert seen.look()
            assert WORD.encode() in seen.content
            cancel_this_task()
        return result

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(work())
    assert seen.content.strip(b"\0") == b""
    assert seen.is_let_go()


def test_cancels_in_a_row_wait_for_what_still_fills_the_result() -> None:
    """Else a thread would go on to write the text into a descriptor that by then belongs to something else."""
    seen = Seen()

    async def work() -> None:
        async with start_joiner() as joiner:
            await join(joiner, words=10**6)

    async def cancel_again_and_again() -> None:
        working = asyncio.create_task(work())
        while not seen.look():  # noqa: ASYNC110 (a file tells nobody that it grows)
            await asyncio.sleep(0)
        while not working.done():
            working.cancel()
            await asyncio.sleep(0)
        assert working.cancelled()
        assert seen.content.strip(b"\0") == b""

    asyncio.run(cancel_again_and_again())
    assert seen.is_let_go()
