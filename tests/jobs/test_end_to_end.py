"""The whole path on real weights: a real file, real decoding, real workers, a real store; and workers killed in every stage."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from appliance.audio.memory import MemoryBudget
from appliance.catalogue import Catalogue, Shelf
from appliance.domain import JobState, Stage, TranscribeOptions
from appliance.engine.gpu import choose_device
from appliance.engine.pool import WorkerPool
from appliance.engine.protocol import Role
from appliance.errors import Cancelled, ModelNotInstalled
from appliance.jobs import Job, Jobs, ProgressEvent, Submission
from appliance.settings import Settings
from appliance.store import Store, own_reach
from tests.jobs.bench import Bench, run, upload_of
from tests.recordings import telephone_call

pytestmark = [pytest.mark.engine, pytest.mark.slow]

MODEL = "whisper-tiny.en"


@asynccontextmanager
async def real(folder: Path, *needed: str) -> AsyncIterator[Bench]:
    known: dict[str, Any] = {"data_dir": folder, "default_model": MODEL}
    settings = Settings(**known)
    shelf = Shelf(Catalogue.load(settings.catalogue_dir), settings.models_dir)
    for model in (MODEL, *needed):
        _skip_without(shelf, model)
    store = await Store.open(folder / "appliance.db")
    pool = WorkerPool(settings, choose_device("cpu"))
    budget = MemoryBudget(settings.memory_budget_bytes)
    jobs = Jobs(settings, store, pool, shelf, budget)
    try:
        await pool.start()
        await jobs.start()
        yield Bench(jobs, store, pool, budget, settings.models_dir)
    finally:
        await jobs.stop()
        await pool.stop()
        await store.close()
    assert budget.used_bytes == 0


def _skip_without(shelf: Shelf, model: str) -> None:
    try:
        shelf.path(model)
    except ModelNotInstalled:
        pytest.skip(f"the model {model} is not installed; 'appliance models fetch {model}' does it")


def submission(b: Bench, **options: Any) -> Submission:
    upload = upload_of(telephone_call().read_bytes(), "call.wav", b.budget)
    return Submission(upload, TranscribeOptions(model=MODEL, **options), owner="key_1")


async def until_stage(b: Bench, job: Job, *stages: Stage) -> None:
    async for event in b.jobs.subscribe(job):
        if isinstance(event, ProgressEvent) and event.progress.stage in stages:
            return
    raise AssertionError(f"it ended before it was in stage {stages}: {job.error}")


async def until_restarted(b: Bench) -> None:
    """The transcript may be there before the fresh worker is counted."""
    for _ in range(600):
        if b.pool.status()[0].restarts == 1:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"not one fresh worker, but {b.pool.status()[0].restarts}")


def kill(b: Bench, role: Role) -> None:
    pid = b.pid(role)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_a_telephone_call_becomes_a_saved_transcript_with_speakers(tmp_path: Path) -> None:
    async def test() -> None:
        async with real(tmp_path, "speaker-diarization") as b:
            job = await b.jobs.submit(submission(b, diarize=True))
            events = [event async for event in b.jobs.subscribe(job)]
            finished = await b.jobs.wait(job)
            record = await b.store.transcripts.get(job.id, own_reach("key_1"))
            assert record == finished.record
            transcript = record.transcript
            assert transcript is not None
            assert "Jersey" in transcript.text
            assert len(transcript.speakers) == 2
            assert all(word.speaker for segment in transcript.segments for word in segment.words)
            assert not [warning for warning in transcript.warnings if warning.code == "diarization_failed"]
            fractions = [event.progress.fraction for event in events if isinstance(event, ProgressEvent)]
            assert len(fractions) > 5
            assert fractions == sorted(fractions)
            assert finished.timings.detect_s is not None
            print(finished.timings)

    run(test(), within_s=280)


@pytest.mark.parametrize("stage", [Stage.DECODE, Stage.DETECT, Stage.RECOGNIZE])
def test_a_recognition_worker_killed_in_each_stage_costs_only_time(tmp_path: Path, stage: Stage) -> None:
    async def test() -> None:
        async with real(tmp_path) as b:
            job = await b.jobs.submit(submission(b))
            await until_stage(b, job, stage)
            kill(b, Role.RECOGNIZE)
            finished = await b.jobs.wait(job)
            assert finished.record.state is JobState.COMPLETED
            assert finished.record.transcript is not None
            assert "Jersey" in finished.record.transcript.text
            await until_restarted(b)

    run(test(), within_s=120)


def test_a_diarization_worker_killed_at_work_costs_only_time(tmp_path: Path) -> None:
    async def test() -> None:
        async with real(tmp_path, "speaker-diarization") as b:
            job = await b.jobs.submit(submission(b, diarize=True))
            await until_stage(b, job, Stage.DIARIZE)
            while not any(status.role is Role.DIARIZE and status.calls for status in b.pool.status()):  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(0.05)
            kill(b, Role.DIARIZE)
            transcript = (await b.jobs.wait(job)).record.transcript
            assert transcript is not None
            assert len(transcript.speakers) == 2

    run(test(), within_s=280)


def test_a_real_job_is_cancelled_within_a_batch(tmp_path: Path) -> None:
    async def test() -> None:
        async with real(tmp_path) as b:
            job = await b.jobs.submit(submission(b))
            await until_stage(b, job, Stage.DETECT, Stage.RECOGNIZE)
            async with asyncio.timeout(20):
                await b.jobs.cancel(job)
            with pytest.raises(Cancelled):
                await b.jobs.wait(job)
            assert b.budget.used_bytes == 0

    run(test(), within_s=120)
