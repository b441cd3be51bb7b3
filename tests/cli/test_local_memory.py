"""More recordings than the memory holds at once, on real memory, a real decoder and real workers with a stand-in engine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.local import LocalTranscriber
from appliance.cli.wish import Wish
from appliance.engine.gpu import CPU, DeviceChoice
from appliance.errors import MemoryFull
from appliance.settings import Settings
from tests.jobs.bench import Bench, FakeShelf, Shared, bench, run, tone

BUDGET_BYTES = 800_000  # one recording of ten seconds and its samples take 640,000


@pytest.fixture(autouse=True, scope="module")
def _shared_pool() -> Iterator[None]:
    yield
    Shared.close()


def transcriber(b: Bench) -> LocalTranscriber:
    settings: dict[str, Any] = {"default_model": b.model()}
    devices = DeviceChoice((CPU,), "a test")
    return LocalTranscriber(Settings(**settings), b.jobs, FakeShelf(b.models), b.budget, devices)


@pytest.mark.slow
def test_a_folder_larger_than_the_memory_is_done_one_after_the_other(tmp_path: Path) -> None:
    recordings = [tmp_path / f"{n}.wav" for n in range(4)]
    for recording in recordings:
        recording.write_bytes(tone(10.0, 440.0, 1))

    async def test() -> None:
        async with bench(tmp_path, budget_bytes=BUDGET_BYTES) as b:
            local = transcriber(b)
            done = await asyncio.gather(*(local.run(recording, Wish(), lambda *_: None) for recording in recordings))
            assert all(finished.record.transcript for finished in done)

    run(test())


def test_nobody_waits_when_no_other_recording_will_free_memory(tmp_path: Path) -> None:
    recording = tmp_path / "only.wav"
    recording.write_bytes(tone(1.0, 440.0, 1))

    async def test() -> None:
        async with bench(tmp_path, budget_bytes=BUDGET_BYTES) as b:
            with b.budget.reserve(BUDGET_BYTES - 1000), pytest.raises(MemoryFull):
                await transcriber(b).run(recording, Wish(), lambda *_: None)

    run(test())
