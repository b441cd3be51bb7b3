"""A worker process: what it is given, what it may not do, and how it lets go of audio."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from appliance.audio.pcm import PcmLayout
from appliance.domain import SpeakerCount, TranscribeOptions
from appliance.engine.gpu import CPU, DeviceChoice
from appliance.engine.pool import WorkerPool
from appliance.engine.protocol import CPU_WORKER_ENVIRONMENT, DiarizeRequest, RecognizeRequest, Role
from appliance.engine.worker import is_device_error, mapped
from appliance.errors import ApplianceError, Cancelled
from appliance.settings import Settings
from tests.engine.fake import write_script

FAKE = {Role.RECOGNIZE: "tests.engine.fake:engine", Role.DIARIZE: "tests.engine.fake:engine"}


@contextlib.asynccontextmanager
async def running_pool(backends: dict[Role, str] | None = None, **settings: Any) -> AsyncIterator[WorkerPool]:
    pool = WorkerPool(Settings(**settings), DeviceChoice((CPU,), "a test"), backends=FAKE | (backends or {}))
    await pool.start()
    try:
        yield pool
    finally:
        await pool.stop()


def memory_file(samples: int = 16_000) -> int:
    fd = os.memfd_create("audio")
    os.write(fd, np.arange(samples, dtype="<i2").tobytes())
    return fd


def request_for(model_dir: Path, samples: int = 16_000) -> RecognizeRequest:
    return RecognizeRequest("7", "fake", model_dir, TranscribeOptions(model="fake"), PcmLayout(samples=samples, channels=1))


def maps_audio(pid: int | None) -> bool:
    return "memfd:audio" in Path(f"/proc/{pid}/maps").read_text()


async def confinement(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("APPLIANCE_WEBHOOK_SECRET", "whsec_hush")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    fd = memory_file()
    try:
        async with running_pool({Role.RECOGNIZE: "tests.engine.fake:Nosy"}) as pool:
            transcript = await pool.recognize(request_for(Path("/none")), fd, lambda _: None)
    finally:
        os.close(fd)
    found: dict[str, Any] = json.loads(transcript.segments[0].text.rsplit(" ", 1)[0])
    return found


def test_a_worker_holds_no_secret_dumps_no_core_and_has_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRAPS 5, 9, 10: no dumps after exec, telemetry off before any import, the hub never asked."""
    found = asyncio.run(confinement(monkeypatch))
    environment = found["environment"]
    assert "hush" not in json.dumps(environment)
    assert environment["PYANNOTE_METRICS_ENABLED"] == "0"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert found["core_limit"] == 0
    assert found["dumpable"] == 0
    assert found["sockets"] == ["PermissionError", "PermissionError", "PermissionError", None]
    assert found["writable"] is False


@pytest.mark.slow
@pytest.mark.parametrize("misfortune", [None, "error", "bug"])
def test_audio_is_unmapped_when_the_job_ends(tmp_path: Path, misfortune: str | None) -> None:
    async def run() -> None:
        async with running_pool() as pool:
            fd = memory_file()
            with contextlib.suppress(ApplianceError):  # which one is not the point here
                await pool.recognize(request_for(write_script(tmp_path / "m", misfortune=misfortune)), fd, lambda _: None)
            os.close(fd)
            assert not maps_audio(pool.status()[0].pid)

    asyncio.run(run())


def test_a_cancelled_job_lets_go_of_its_audio_before_the_caller_goes_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with running_pool() as pool:
            fd, seen = memory_file(), asyncio.Event()
            model = write_script(tmp_path / "m", steps=10_000, step_s=0.01)
            work = asyncio.create_task(pool.recognize(request_for(model), fd, lambda _: seen.set()))
            await seen.wait()
            assert maps_audio(pool.status()[0].pid)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            os.close(fd)
            assert not maps_audio(pool.status()[0].pid)
            assert pool.status()[0].calls == 0

    asyncio.run(run())


@pytest.mark.slow
def test_a_diarization_that_waits_for_its_turn_can_be_cancelled(tmp_path: Path) -> None:
    """The one before it may take an hour, and the audio of a cancelled job must not stay that long."""

    async def run() -> None:
        async with running_pool() as pool:
            fd, seen = memory_file(), asyncio.Event()
            slow = DiarizeRequest(
                "7", write_script(tmp_path / "m", steps=10_000, step_s=0.01), SpeakerCount(), PcmLayout(16_000, 1)
            )
            first = asyncio.create_task(pool.diarize(slow, fd, lambda _: seen.set()))
            await seen.wait()
            second = asyncio.create_task(pool.diarize(slow, fd, lambda _: None))
            while pool.status()[1].calls < 2:  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(0.01)
            second.cancel()
            async with asyncio.timeout(5):
                await asyncio.wait({second})
            assert not first.done()
            first.cancel()
            await asyncio.wait({first})
            os.close(fd)

    asyncio.run(run())


def test_a_cpu_recognition_worker_gets_the_allocator_it_is_fast_with(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = asyncio.run(confinement(monkeypatch))["environment"]
    assert environment.items() >= CPU_WORKER_ENVIRONMENT.items()


@pytest.mark.slow
def test_a_worker_ends_when_its_parent_closes_the_line() -> None:
    async def run() -> int | None:
        async with running_pool() as pool:
            return pool.status()[0].pid

    pid = asyncio.run(run())
    assert not Path(f"/proc/{pid}").exists()


ORPHANING = """
import asyncio, sys
from pathlib import Path
from tests.engine.test_worker import memory_file, request_for, running_pool

async def main():
    async with running_pool() as pool:
        work = asyncio.create_task(pool.recognize(request_for(Path(sys.argv[1])), memory_file(), lambda _: None))
        print(pool.status()[0].pid, flush=True)
        await work

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_busy_worker_does_not_outlive_an_api_process_that_is_killed(tmp_path: Path) -> None:
    model = write_script(tmp_path / "m", misfortune="hang", at_step=0)
    with subprocess.Popen([sys.executable, "-c", ORPHANING, str(model)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    worker.wait(timeout=10)


def test_mapped_audio_is_read_only_and_shaped() -> None:
    fd = memory_file(samples=6)
    with mapped(fd, PcmLayout(samples=3, channels=2)) as samples:
        assert samples.tolist() == [[0, 1], [2, 3], [4, 5]]
        assert not samples.flags.writeable
        del samples
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_no_samples_at_all_can_be_mapped() -> None:
    with mapped(os.memfd_create("empty"), PcmLayout(samples=0, channels=1)) as samples:
        assert samples.shape == (0, 1)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("CUDA failed with error out of memory"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), True),
        (RuntimeError("cuBLAS failed with status 14"), True),
        (RuntimeError("the file is not a model"), False),
        (MemoryError(), True),
        (Cancelled(), False),
        (ValueError("cuda"), False),
    ],
)
def test_what_ends_the_process(error: BaseException, expected: bool) -> None:
    """TRAPS 16: any CUDA error does."""
    assert is_device_error(error) is expected
