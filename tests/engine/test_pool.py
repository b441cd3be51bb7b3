"""Supervision: what callers see when workers are started, loaded, killed, hanging or unfit. The engine itself is a stand-in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import zlib
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import uvloop

from appliance.audio.pcm import PcmLayout
from appliance.domain import SpeakerCount, TranscribeOptions
from appliance.engine.gpu import CPU, DeviceChoice
from appliance.engine.pool import WorkerDied, WorkerPool, WorkerState
from appliance.engine.protocol import DiarizeRequest, EngineEvent, EngineProgress, RecognizeRequest, Role, SegmentsDecided
from appliance.engine.supervisor import Patience, _added, _Process
from appliance.engine.wire import ParentLine, Stats
from appliance.errors import DeviceUnavailable, LanguageUnsupported, ModelNotInstalled, StartRefused
from appliance.settings import Settings
from tests.engine.fake import write_script

MANY_PROCESSES = pytest.mark.slow  # seconds each, and there are many of them
ENGINE = "tests.engine.fake:engine"
IMPATIENT = Patience(start_s=20.0, silence_s=0.4, cancel_s=5.0)
SHORT_OF_HOPE = Patience(start_s=20.0, silence_s=20.0, failing_s=0.2)
PERSISTENT = Patience(start_s=20.0, silence_s=20.0, longest_pause_s=0.05)
PCM = PcmLayout(samples=1600, channels=1)


@contextlib.contextmanager
def audio() -> Any:
    fd = os.memfd_create("audio")
    os.write(fd, np.arange(1600, dtype="<i2").tobytes())
    try:
        yield fd
    finally:
        os.close(fd)


def make_pool(recognizer: str = ENGINE, diarizer: str = ENGINE, devices: int = 1, patience: Patience | None = None) -> WorkerPool:
    backends = {Role.RECOGNIZE: recognizer, Role.DIARIZE: diarizer}
    settings: dict[str, Any] = {}
    return WorkerPool(Settings(**settings), DeviceChoice((CPU,) * devices, "a test"), backends=backends, patience=patience)


@contextlib.asynccontextmanager
async def running(pool: WorkerPool) -> AsyncIterator[WorkerPool]:
    await pool.start()
    try:
        yield pool
    finally:
        await pool.stop()


class Work:
    """A call in flight, with the events it has told so far."""

    def __init__(self, pool: WorkerPool, model: Path, *, alone: bool = False) -> None:
        self.events: list[EngineEvent] = []
        self.begun = asyncio.Event()
        request = RecognizeRequest("7", "fake", model, TranscribeOptions(model="fake"), PCM)
        self.task = asyncio.create_task(self._run(pool, request, alone=alone))

    async def _run(self, pool: WorkerPool, request: RecognizeRequest, *, alone: bool) -> Any:
        with audio() as fd:
            return await pool.recognize(request, fd, self._on_event, alone=alone)

    def _on_event(self, event: EngineEvent) -> None:
        self.events.append(event)
        self.begun.set()


def pid_of(pool: WorkerPool, role: Role = Role.RECOGNIZE) -> int:
    pid = next(status.pid for status in pool.status() if status.role is role)
    assert pid is not None
    return pid


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def test_the_worker_reads_the_very_audio_and_tells_as_it_goes(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(make_pool()) as pool:
            work = Work(pool, write_script(tmp_path, text="heard"))
            transcript = await work.task
        assert transcript.text == f"heard {zlib.crc32(np.arange(1600, dtype='<i2').tobytes())}"
        assert [e.fraction for e in work.events if isinstance(e, EngineProgress)] == pytest.approx([1 / 3, 2 / 3, 1.0])
        assert sum(isinstance(e, SegmentsDecided) for e in work.events) == 3

    run(test())


def test_a_killed_worker_costs_its_calls_a_retry_and_is_replaced(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(make_pool()) as pool:
            slow = write_script(tmp_path / "slow", steps=10_000, step_s=0.01)
            both = [Work(pool, slow), Work(pool, slow)]
            for work in both:
                await work.begun.wait()
            first = pid_of(pool)
            os.kill(first, signal.SIGKILL)
            for work in both:
                with pytest.raises(WorkerDied, match="signal 9"):
                    await work.task
            assert (await Work(pool, write_script(tmp_path / "quick")).task).text.startswith("fake")
            assert pid_of(pool) != first
            assert pool.status()[0].restarts == 1

    run(test())


@MANY_PROCESSES
def test_after_a_death_by_the_device_the_successor_halves_its_batches(tmp_path: Path) -> None:
    """TRAPS 16: whatever CUDA says, it may have been the memory."""

    async def test() -> None:
        async with running(make_pool("tests.engine.fake:Halved", patience=PERSISTENT)) as pool:
            broken = write_script(tmp_path / "broken", misfortune="device_error")
            well = write_script(tmp_path / "well")
            killed = write_script(tmp_path / "killed", misfortune="die")
            for model, batches in ((well, "1"), (broken, "2"), (broken, "4"), (killed, "4")):
                if model is not well:
                    with pytest.raises(WorkerDied):
                        await Work(pool, model).task
                assert (await Work(pool, well).task).text == batches

    run(test())


def test_the_successor_of_a_worker_is_cold(tmp_path: Path) -> None:
    model = write_script(tmp_path)

    async def test() -> None:
        async with running(make_pool()) as pool:
            assert pool.is_cold(model)
            await pool.warm(model)
            assert not pool.is_cold(model)
            assert pool.is_cold(tmp_path / "another")
            os.kill(pid_of(pool), signal.SIGKILL)
            while not pool.status()[0].restarts:  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(0.01)
            await pool.settled()
            assert pool.is_cold(model)

    run(test())


def test_statistics_survive_the_process_that_made_them() -> None:
    past = Stats(steps=3, batches=3, batch_sizes=((1, 2), (8, 1)), models=("old",))
    present = Stats(steps=2, batches=2, batch_sizes=((4, 1), (8, 1)), models=("new",))
    assert _added(past, present) == Stats(steps=5, batches=5, batch_sizes=((1, 2), (4, 1), (8, 2)), models=("new",))


def test_killing_a_process_that_is_gone_already_is_no_error() -> None:
    """It was one, now and then: the supervisor took it for a failed start, and the calls were never told."""

    async def test() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            process = await asyncio.create_subprocess_exec("true")
            await process.wait()
            _Process(process, ParentLine(ours)).kill()

    run(test())


@pytest.mark.slow
def test_a_worker_that_makes_no_step_is_killed(tmp_path: Path) -> None:
    """The process lives, and a thread in it could go on saying so: only finished work counts."""

    async def test() -> None:
        async with running(make_pool(patience=IMPATIENT)) as pool:
            with pytest.raises(WorkerDied, match="hung"):
                await Work(pool, write_script(tmp_path, misfortune="hang", times=1)).task
            assert (await Work(pool, tmp_path).task).text.startswith("fake")

    run(test())


@MANY_PROCESSES
def test_a_slow_worker_that_makes_steps_is_left_alone_and_so_is_an_idle_one(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(make_pool(patience=IMPATIENT)) as pool:
            before = pid_of(pool)
            await Work(pool, write_script(tmp_path, steps=6, step_s=0.2)).task  # three times the silence allowed
            await asyncio.sleep(IMPATIENT.silence_s * 1.5)
            await Work(pool, write_script(tmp_path, steps=1)).task
            assert pid_of(pool) == before

    run(test())


@MANY_PROCESSES
@pytest.mark.parametrize(("misfortune", "out_of_memory"), [("device_error", False), ("out_of_memory", True)])
def test_a_device_error_ends_the_process(tmp_path: Path, misfortune: str, out_of_memory: bool) -> None:
    """TRAPS 16: the device's state is unknown after it; the caller learns whether memory was the cause."""

    async def test() -> None:
        async with running(make_pool()) as pool:
            before = pid_of(pool)
            with pytest.raises(WorkerDied, match="CUDA") as died:
                await Work(pool, write_script(tmp_path, misfortune=misfortune, times=1)).task
            assert died.value.out_of_memory is out_of_memory
            await Work(pool, tmp_path).task
            assert pid_of(pool) != before

    run(test())


@MANY_PROCESSES
def test_an_error_of_the_recording_is_its_own_and_the_worker_goes_on(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(make_pool()) as pool:
            before = pid_of(pool)
            with pytest.raises(LanguageUnsupported, match="'xx'"):
                await Work(pool, write_script(tmp_path, misfortune="error", times=1)).task
            await Work(pool, tmp_path).task
            assert pid_of(pool) == before

    run(test())


@MANY_PROCESSES
def test_cancelling_ends_the_work_in_the_worker(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(make_pool()) as pool:
            work = Work(pool, write_script(tmp_path, steps=10_000, step_s=0.01))
            await work.begun.wait()
            work.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work.task
            told = len(work.events)
            await Work(pool, write_script(tmp_path / "quick")).task
            assert len(work.events) == told
            assert pool.status()[0].calls == 0

    run(test())


def test_an_engine_that_cannot_work_here_refuses_to_start_and_says_why() -> None:
    async def test(recognizer: str, says: str) -> None:
        with pytest.raises(StartRefused, match=says) as refused:
            await make_pool(recognizer=f"tests.engine.fake:{recognizer}").start()
        assert refused.value.hint

    run(test("without_driver", "driver is too old"))
    run(test("without_library", "libcublas.so.12"))


@MANY_PROCESSES
def test_an_engine_that_dies_at_every_start_is_given_up(tmp_path: Path) -> None:
    async def test() -> None:
        with pytest.raises(StartRefused, match="status 3"):
            await make_pool(recognizer="tests.engine.fake:dies_at_start").start()

    run(test())


@MANY_PROCESSES
def test_all_of_it_on_the_loop_that_the_server_uses(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(make_pool()) as pool:
            slow = Work(pool, write_script(tmp_path / "slow", steps=10_000, step_s=0.01))
            await slow.begun.wait()
            os.kill(pid_of(pool), signal.SIGKILL)
            with pytest.raises(WorkerDied):
                await slow.task
            cancelled = Work(pool, tmp_path / "slow")
            await cancelled.begun.wait()
            cancelled.task.cancel()
            await asyncio.wait({cancelled.task})
            assert (await Work(pool, write_script(tmp_path / "quick")).task).segments

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(test(), 60))


@MANY_PROCESSES
def test_an_engine_that_failed_to_start_is_tried_again_when_it_is_needed(tmp_path: Path) -> None:
    async def test() -> None:
        request = DiarizeRequest("7", write_script(tmp_path), SpeakerCount(), PCM)
        async with running(make_pool(diarizer="tests.engine.fake:dies_at_start", patience=SHORT_OF_HOPE)) as pool:
            with audio() as fd:
                for _ in range(2):
                    with pytest.raises(DeviceUnavailable, match="status 3"):
                        await pool.diarize(request, fd, lambda _: None)
                for worker in pool._workers[Role.DIARIZE]:
                    worker.config = msgspec.structs.replace(worker.config, backend=ENGINE)  # somebody repaired it
                assert (await pool.diarize(request, fd, lambda _: None)).turns

    run(test())


@MANY_PROCESSES
def test_accepted_work_waits_while_the_engine_fails_at_its_starts_and_nothing_new_is_taken(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(make_pool(patience=PERSISTENT)) as pool:
            pool.check_usable()
            (worker,) = pool._workers[Role.RECOGNIZE]
            good = worker.config
            worker.config = msgspec.structs.replace(good, backend="tests.engine.fake:dies_at_start")
            os.kill(pid_of(pool), signal.SIGKILL)
            while worker.state is not WorkerState.FAILING:  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(0.02)
            with pytest.raises(DeviceUnavailable) as refused:
                pool.check_usable()
            assert refused.value.retry_after_s
            works = [Work(pool, write_script(tmp_path), alone=alone) for alone in (False, True)]
            await asyncio.sleep(0.5)
            assert not any(work.task.done() for work in works)
            worker.config = good  # the driver is back
            for work in works:
                assert (await work.task).text.startswith("fake")
            pool.check_usable()

    run(test())


@MANY_PROCESSES
def test_diarization_that_cannot_start_does_not_touch_recognition(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(make_pool(diarizer="tests.engine.fake:without_library")) as pool:
            request = DiarizeRequest("7", write_script(tmp_path), SpeakerCount(), PCM)
            with audio() as fd, pytest.raises(DeviceUnavailable, match="libcublas"):
                await pool.diarize(request, fd, lambda _: None)
            await Work(pool, tmp_path).task

    run(test())


@MANY_PROCESSES
def test_diarization_starts_when_it_is_first_needed(tmp_path: Path) -> None:
    """TRAPS 31: its libraries take half a minute to import, and many sites never diarize."""

    async def test() -> None:
        async with running(make_pool()) as pool:
            states = {status.role: status.state for status in pool.status()}
            assert states == {Role.RECOGNIZE: WorkerState.READY, Role.DIARIZE: WorkerState.STOPPED}
            with audio() as fd:
                request = DiarizeRequest("7", write_script(tmp_path, steps=2), SpeakerCount(), PCM)
                found = await pool.diarize(request, fd, lambda _: None)
            assert [turn.speaker for turn in found.turns] == ["SPEAKER_00", "SPEAKER_01"]

    run(test())


@MANY_PROCESSES
def test_calls_go_to_the_least_loaded_worker(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(make_pool(devices=2)) as pool:
            slow = write_script(tmp_path, steps=10_000, step_s=0.01)
            works = [Work(pool, slow) for _ in range(4)]
            for work in works:
                await work.begun.wait()
            assert [s.calls for s in pool.status() if s.role is Role.RECOGNIZE] == [2, 2]
            for work in works:
                work.task.cancel()
            await asyncio.wait([work.task for work in works])

    run(test())


@MANY_PROCESSES
def test_a_call_that_must_be_alone_is_alone(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(make_pool()) as pool:
            slow = write_script(tmp_path / "slow", steps=30, step_s=0.01)
            before = Work(pool, slow)
            await before.begun.wait()
            alone = Work(pool, slow, alone=True)
            await asyncio.sleep(0)
            after = Work(pool, write_script(tmp_path / "quick"))
            await alone.begun.wait()
            assert before.task.done()
            assert not after.events
            assert pool.status()[0].calls == 1
            await asyncio.gather(alone.task, after.task)

    run(test())


@MANY_PROCESSES
def test_warming_loads_the_model_or_says_what_is_missing(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(make_pool()) as pool:
            await pool.warm(write_script(tmp_path / "whisper"))
            await Work(pool, tmp_path / "whisper").task  # its statistics come with the next pulse, its result before
            with pytest.raises(ModelNotInstalled):
                await pool.warm(tmp_path / "absent")

    run(test())


@MANY_PROCESSES
def test_stopping_ends_calls_and_processes(tmp_path: Path) -> None:
    async def test() -> None:
        pool = make_pool()
        await pool.start()
        work = Work(pool, write_script(tmp_path, steps=10_000, step_s=0.01))
        await work.begun.wait()
        pid = pid_of(pool)
        await pool.stop()
        with pytest.raises(WorkerDied, match="stops"):
            await work.task
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    run(test())
