"""The contract of what a worker hosts, over the stand-in of the tests and the real engines alike, each in a worker process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import wave
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.audio.pcm import PcmLayout
from appliance.catalogue import Catalogue, Shelf
from appliance.domain import SpeakerCount, Stage, TranscribeOptions
from appliance.engine.gpu import CPU, DeviceChoice
from appliance.engine.pool import BACKENDS, WorkerPool
from appliance.engine.protocol import DiarizeRequest, EngineEvent, EngineProgress, RecognizeRequest, Role, SegmentsDecided
from appliance.errors import ApplianceError, ModelNotInstalled
from appliance.settings import Settings
from tests.engine.fake import write_script
from tests.recordings import telephone_call

REAL = [pytest.mark.engine, pytest.mark.slow]
NO_SETTINGS: dict[str, Any] = {}


class Engine:
    """Backends by role, and where their models lie."""

    def __init__(self, backends: dict[Role, str], recognition: Path, diarization: Path) -> None:
        self.pool = WorkerPool(Settings(**NO_SETTINGS), DeviceChoice((CPU,), "a test"), backends=backends)
        self.recognition = recognition
        self.diarization = diarization


@pytest.fixture(params=[pytest.param("stand-in", marks=pytest.mark.slow), pytest.param("real", marks=REAL)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    if request.param == "stand-in":
        fake = "tests.engine.fake:engine"
        model = write_script(tmp_path / "model", steps=20, step_s=0.02)
        return Engine({Role.RECOGNIZE: fake, Role.DIARIZE: fake}, model, model)
    settings = Settings(**NO_SETTINGS)
    shelf = Shelf(Catalogue.load(settings.catalogue_dir), settings.models_dir)
    try:
        return Engine(BACKENDS, shelf.path("whisper-tiny.en"), shelf.path("speaker-diarization"))
    except ModelNotInstalled as error:
        pytest.skip(f"{error.message} {error.hint}")


@contextlib.contextmanager
def speech() -> Iterator[tuple[int, PcmLayout]]:
    """Thirty seconds of a telephone call as the decoder would lay it down."""
    with wave.open(str(telephone_call()), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        frames = file.readframes(file.getnframes())
    fd = os.memfd_create("audio")
    os.write(fd, frames)
    try:
        yield fd, PcmLayout(samples=len(frames) // 2, channels=1)
    finally:
        os.close(fd)


@contextlib.asynccontextmanager
async def running(pool: WorkerPool) -> AsyncIterator[WorkerPool]:
    await pool.start()
    try:
        yield pool
    finally:
        await pool.stop()


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 240))


def recognize(engine: Engine, events: list[EngineEvent], fd: int, pcm: PcmLayout, **options: Any) -> Coroutine[Any, Any, Any]:
    request = RecognizeRequest("7", "the model", engine.recognition, TranscribeOptions(model="the model", **options), pcm)
    return engine.pool.recognize(request, fd, events.append)


def diarize(engine: Engine, events: list[EngineEvent], fd: int, pcm: PcmLayout) -> Coroutine[Any, Any, Any]:
    return engine.pool.diarize(DiarizeRequest("7", engine.diarization, SpeakerCount(), pcm), fd, events.append)


def test_recognition_tells_how_it_goes_and_names_model_and_duration(engine: Engine) -> None:
    async def test() -> None:
        events: list[EngineEvent] = []
        with speech() as (fd, pcm):
            async with running(engine.pool) as pool:
                transcript = await recognize(engine, events, fd, pcm)
                await pool.warm(engine.recognition)
                while not ((status := pool.status()[0]).models and status.batches):  # noqa: ASYNC110 -- it comes with the next pulse
                    await asyncio.sleep(0.02)
        assert (transcript.model, transcript.duration, transcript.language) == ("the model", pytest.approx(30.0), "en")
        assert transcript.segments
        fractions = [event.fraction for event in events if isinstance(event, EngineProgress)]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1.0
        assert {event.stage for event in events if isinstance(event, EngineProgress)} <= {Stage.DETECT, Stage.RECOGNIZE}
        decided = [segment for event in events if isinstance(event, SegmentsDecided) for segment in event.segments]
        assert len(decided) >= len(transcript.segments)
        assert status.models == (engine.recognition.name,)
        assert status.batches > 0
        assert sum(number for _, number in status.batch_sizes) == status.batches

    run(test())


def test_recordings_are_recognised_beside_each_other(engine: Engine) -> None:
    async def test() -> None:
        with speech() as (fd, pcm):
            async with running(engine.pool):
                several = await asyncio.gather(*(recognize(engine, [], fd, pcm) for _ in range(3)))
        assert several[0] == several[1] == several[2]

    run(test())


def test_diarization_gives_turns_in_order_and_one_speaker_at_a_time(engine: Engine) -> None:
    async def test() -> None:
        events: list[EngineEvent] = []
        with speech() as (fd, pcm):
            async with running(engine.pool):
                found = await diarize(engine, events, fd, pcm)
        assert len({turn.speaker for turn in found.turns}) == 2
        assert [turn.start for turn in found.turns] == sorted(turn.start for turn in found.turns)
        for before, after in zip(found.exclusive, found.exclusive[1:], strict=False):
            assert before.end <= after.start + 1e-6
        assert {event.stage for event in events if isinstance(event, EngineProgress)} == {Stage.DIARIZE}
        fractions = [event.fraction for event in events if isinstance(event, EngineProgress)]
        assert fractions == sorted(fractions)

    run(test())


@pytest.mark.parametrize("work", [recognize, diarize])
def test_cancelling_is_quick_and_leaves_the_worker_usable(engine: Engine, work: Any) -> None:
    async def test() -> None:
        events: list[EngineEvent] = []
        with speech() as (fd, pcm):
            async with running(engine.pool):
                first = asyncio.create_task(work(engine, events, fd, pcm))
                while not events:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                first.cancel()
                async with asyncio.timeout(20):
                    await asyncio.wait({first})
                assert first.cancelled()
                assert await work(engine, events, fd, pcm)
                assert sum(status.restarts for status in engine.pool.status()) == 0

    run(test())


@pytest.mark.parametrize("work", [recognize, diarize])
def test_a_model_that_is_not_there_is_an_error_of_the_call(engine: Engine, work: Any, tmp_path: Path) -> None:
    async def test() -> None:
        with speech() as (fd, pcm):
            async with running(engine.pool):
                there = engine.recognition, engine.diarization
                engine.recognition = engine.diarization = tmp_path / "absent"
                with pytest.raises(ApplianceError):
                    await work(engine, [], fd, pcm)
                engine.recognition, engine.diarization = there
                assert await work(engine, [], fd, pcm)
                assert sum(status.restarts for status in engine.pool.status()) == 0

    run(test())
