"""From accepted to saved, and every other way a job can end."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from appliance.audio.decode import Pcm, decode
from appliance.domain import ChannelMode, JobState, Priority, Stage
from appliance.engine.protocol import Role
from appliance.errors import (
    ApplianceError,
    Cancelled,
    DiarizationFailed,
    DiskFull,
    Draining,
    IdempotencyMismatch,
    Interrupted,
    LanguageUnsupported,
    MemoryFull,
    ModelNotInstalled,
    NotMedia,
    QueueFull,
    StoreBusy,
    UnknownModel,
    WorkerCrashed,
)
from appliance.jobs import FailedEvent, FinishedEvent, Job, KnownVoice, ProgressEvent, SegmentsEvent
from appliance.store import UNLIMITED, own_reach
from tests.jobs.bench import Bench, bench, run, tone, upload_of

MANY_PROCESSES = pytest.mark.slow  # seconds each, and there are many of them
SLOW: dict[str, Any] = {"steps": 10_000, "step_s": 0.01}


async def failure_of(b: Bench, job: Job, kind: type[ApplianceError]) -> ApplianceError:
    """The job ends with this error, and the store says the same."""
    with pytest.raises(kind) as raised:
        await b.jobs.wait(job)
    record = await b.store.transcripts.get(job.id, UNLIMITED)
    assert record.failure is not None
    assert (record.failure.code, record.state) == (raised.value.code, job.state)
    return raised.value


def test_a_recording_becomes_a_saved_transcript(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model(text="hello")
            job = await b.submit(title="A memo")
            events = [event async for event in b.jobs.subscribe(job)]
            finished = await b.jobs.wait(job)
            assert finished.record == await b.store.transcripts.get(job.slug, own_reach("key_1"))
            assert finished.record.state is JobState.COMPLETED
            assert finished.record.transcript is not None
            assert finished.record.transcript.text.startswith("hello")
            assert finished.record.recording.codec == "pcm_s16le"
            assert finished.record.recording.duration == 1.0
            fractions = [event.progress.fraction for event in events if isinstance(event, ProgressEvent)]
            assert fractions == sorted(fractions)
            assert fractions[-1] == 1.0
            assert sum(len(event.segments) for event in events if isinstance(event, SegmentsEvent)) == 3
            assert events[-1] == FinishedEvent(finished)
            assert b.jobs.find(job.id) is None
            assert b.budget.used_bytes == 0

    run(test())


@MANY_PROCESSES
def test_timings_and_totals_are_kept_for_the_metrics(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model(step_s=0.02)
            b.model("speaker-diarization")
            seen: list[Job] = []
            b.jobs.on_ended(seen.append)
            job = await b.submit(diarize=True)
            timings = (await b.jobs.wait(job)).timings
            assert timings.recognize_s is not None
            assert timings.recognize_s >= 0.06
            assert timings.decode_s is not None
            assert timings.diarize_s is not None
            assert timings.save_s is not None
            assert timings.real_time_factor == pytest.approx(timings.total_s)  # one second of audio
            assert timings.total_s >= timings.decode_s + timings.recognize_s
            known = b.jobs.snapshot()
            assert (known.audio_s, known.ended[JobState.COMPLETED], known.running, known.queued) == (1.0, 1, 0, 0)
            assert known.stage_s[Stage.RECOGNIZE] == timings.recognize_s
            assert seen == [job]

    run(test())


def test_a_job_that_is_not_kept_leaves_no_trace_in_the_store(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model()
            job = await b.submit(keep=False)
            assert job.id < 0
            assert (await b.jobs.wait(job)).record.transcript is not None
            assert (await b.store.transcripts.list(UNLIMITED, limit=10, offset=0)).count == 0

    run(test())


# --- speakers ---------------------------------------------------------------------------------------------------------


def test_diarization_gives_the_words_speakers(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model(steps=2)
            b.model("speaker-diarization", steps=2)
            transcript = (await b.jobs.wait(await b.submit(diarize=True))).record.transcript
            assert transcript is not None
            assert [segment.speaker for segment in transcript.segments] == ["SPEAKER_00", "SPEAKER_01"]
            assert [speaker.label for speaker in transcript.speakers] == ["SPEAKER_00", "SPEAKER_01"]
            assert transcript.warnings == ()

    run(test())


@MANY_PROCESSES
@pytest.mark.parametrize(
    ("script", "diarizer"),
    [
        ({"misfortune": "die"}, "tests.engine.fake:engine"),
        ({"misfortune": "bug"}, "tests.engine.fake:engine"),
        ({"misfortune": "error"}, "tests.engine.fake:engine"),
        ({}, "tests.engine.fake:without_library"),
        (None, "tests.engine.fake:engine"),
    ],
    ids=["crashes twice", "bug", "error", "cannot start", "not installed"],
)
def test_a_transcript_survives_diarization_that_fails(tmp_path: Path, script: dict[str, Any] | None, diarizer: str) -> None:
    async def test() -> None:
        async with bench(tmp_path, diarizer=diarizer) as b:
            b.model()
            if script is not None:
                b.model("speaker-diarization", **script)
            transcript = (await b.jobs.wait(await b.submit(diarize=True))).record.transcript
            assert transcript is not None
            assert transcript.text.startswith("fake")
            assert [warning.code for warning in transcript.warnings] == ["diarization_failed"]

    run(test())


def test_a_result_that_needs_speakers_is_refused_without_their_model_and_fails_where_that_fails(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model()
            with pytest.raises(ModelNotInstalled):
                await b.submit(diarize=True, needs_speakers=True)
            b.model("speaker-diarization", misfortune="error")
            await failure_of(b, await b.submit(diarize=True, needs_speakers=True), DiarizationFailed)

    run(test())


@MANY_PROCESSES
def test_a_diarization_worker_killed_once_costs_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model()
            b.model("speaker-diarization", misfortune="die", times=1)
            transcript = (await b.jobs.wait(await b.submit(diarize=True))).record.transcript
            assert transcript is not None
            assert transcript.speakers
            assert not transcript.warnings

    run(test())


@MANY_PROCESSES
def test_a_recording_that_kills_diarization_costs_others_nothing(tmp_path: Path) -> None:
    """They only wait behind it in the same worker, each time it dies."""

    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model()
            b.model("speaker-diarization", misfortune="die", steps=7, at_step=6, step_s=0.1, only_samples=8000)
            poison, *innocent = [await b.submit(b.upload(seconds), diarize=True) for seconds in (0.5, 1.0, 1.0)]
            transcript = (await b.jobs.wait(poison)).record.transcript
            assert transcript is not None
            assert [warning.code for warning in transcript.warnings] == ["diarization_failed"]
            for job in innocent:
                transcript = (await b.jobs.wait(job)).record.transcript
                assert transcript is not None
                assert transcript.speakers

    run(test())


@MANY_PROCESSES
def test_channels_that_are_speakers_are_not_diarized(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model()
            b.model("speaker-diarization", misfortune="error")
            job = await b.submit(b.upload(channels=2), diarize=True, channels=ChannelMode.SEPARATE)
            finished = await b.jobs.wait(job)
            assert finished.timings.diarize_s is None
            assert finished.record.transcript is not None
            assert finished.record.transcript.warnings == ()

    run(test())


@MANY_PROCESSES
def test_several_models_hear_the_same_audio_and_speakers_are_told_apart_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model("one", text="one")
            b.model("two", text="two")
            b.model("speaker-diarization")
            record = (await b.jobs.wait(await b.submit(models=("one", "two"), diarize=True))).record
            assert record.transcript is not None
            texts = [record.transcript.text, record.alternatives[0].text]
            assert [text.split()[0] for text in texts] == ["one", "two"]
            assert texts[0].split()[1] == texts[1].split()[1]  # the checksum of the audio
            assert [record.transcript.model, record.alternatives[0].model] == ["one", "two"]
            assert all(segment.speaker for t in (record.transcript, *record.alternatives) for segment in t.segments)

    run(test())


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_refused_submissions_give_their_memory_back(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path, jobs_per_worker=1, max_waiting_jobs=1) as b:
            b.model(**SLOW)
            with pytest.raises(UnknownModel):
                await b.submit(model="absent")
            assert b.budget.used_bytes == 0
            running, waiting = await b.submit(), await b.submit()
            before = b.budget.used_bytes
            with pytest.raises(QueueFull) as full:
                await b.submit()
            assert full.value.retry_after_s
            with pytest.raises(QueueFull):
                b.jobs.check_room()
            assert b.budget.used_bytes <= before
            await b.jobs.cancel(running)
            await b.jobs.cancel(waiting)
            b.jobs.check_room()

    run(test())


def test_bad_recordings_fail_with_their_own_error(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model()
            text = b"Dear Sir or Madam, this is a letter.\n" * 100
            job = await b.submit(upload_of(text, "a.mp3", b.budget))
            await failure_of(b, job, NotMedia)
            assert job.state is JobState.FAILED
            assert b.budget.used_bytes == 0
            end = [event async for event in b.jobs.subscribe(job)][-1]
            assert isinstance(end, FailedEvent)
            assert end.failure.code == "unsupported_media"

    run(test())


@MANY_PROCESSES
def test_an_error_of_the_engine_is_the_jobs_error(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model(misfortune="error")
            await failure_of(b, await b.submit(), LanguageUnsupported)

    run(test())


@MANY_PROCESSES
@pytest.mark.parametrize("keep", [True, False])
def test_a_caller_that_leaves_during_admission_leaves_nothing_half_done(tmp_path: Path, keep: bool) -> None:
    async def test() -> None:
        async with bench(tmp_path, drain_timeout_s=0.0) as b:
            b.model(**SLOW)
            for turns in range(6):  # before, while and after it is put on record
                submitting = asyncio.create_task(b.submit(keep=keep))
                for _ in range(turns):
                    await asyncio.sleep(0.002)
                submitting.cancel()
                await asyncio.wait({submitting})
            await asyncio.sleep(0.2)
            found = await b.store.transcripts.list(UNLIMITED, limit=100, offset=0)
            unfinished = [record for record in found.results if not record.state.is_final]
            assert all(b.jobs.find(record.id) for record in unfinished)
            if not keep:
                assert not unfinished

    run(test())


# --- workers that die -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_worker_killed_while_recognising_costs_a_retry(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model(steps=20, step_s=0.02)
            job = await b.submit()
            await b.until_begun(job)
            pid = b.pid(Role.RECOGNIZE)
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            events = [event async for event in b.jobs.subscribe(job)]
            finished = await b.jobs.wait(job)
            assert finished.record.state is JobState.COMPLETED
            assert finished.record.transcript is not None
            shown: list[int] = []
            for event in events:
                if isinstance(event, SegmentsEvent):
                    shown = ([] if event.replaces_all else shown) + [segment.id for segment in event.segments]
            assert shown == list(range(20))

    run(test())


@MANY_PROCESSES
def test_a_recording_that_kills_workers_fails_alone_and_takes_nobody_with_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model("poison", misfortune="die", step_s=0.05)
            b.model("innocent", steps=20, step_s=0.05)
            innocent = [await b.submit(model="innocent") for _ in range(2)]
            for job in innocent:
                await b.until_begun(job)
            poison = await b.submit(model="poison")
            error = await failure_of(b, poison, WorkerCrashed)
            assert "3 times" in error.message
            for job in innocent:
                assert (await b.jobs.wait(job)).record.state is JobState.COMPLETED

    run(test())


# --- cancelling and stopping ------------------------------------------------------------------------------------------


def test_a_cancelled_job_frees_its_memory_and_its_place(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path, jobs_per_worker=1) as b:
            b.model(**SLOW)
            b.model("quick")
            running, waiting, third = await b.submit(), await b.submit(), await b.submit(model="quick")
            await b.until_begun(running)
            assert (waiting.progress.queue_position, third.progress.queue_position) == (1, 2)
            await b.jobs.cancel(waiting)
            assert third.progress.queue_position == 1
            await b.jobs.cancel(running)
            assert running.state is JobState.CANCELLED
            await failure_of(b, running, Cancelled)
            await failure_of(b, waiting, Cancelled)
            await b.jobs.wait(third)
            assert b.budget.used_bytes == 0
            await b.jobs.cancel(third)  # too late: it is left as it is
            assert third.state is JobState.COMPLETED

    run(test())


def test_a_caller_that_leaves_while_it_cancels_leaves_nothing_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with bench(tmp_path, jobs_per_worker=1) as b:
            b.model(**SLOW)
            running, waiting = await b.submit(), await b.submit()
            saving, fail = asyncio.Event(), b.store.transcripts.fail

            async def slow_fail(*arguments: Any) -> None:
                saving.set()
                await asyncio.sleep(0.05)
                await fail(*arguments)

            monkeypatch.setattr(b.store.transcripts, "fail", slow_fail)
            cancelling = asyncio.create_task(b.jobs.cancel(waiting))
            await saving.wait()
            cancelling.cancel()
            await failure_of(b, waiting, Cancelled)
            assert b.jobs.find(waiting.id) is None
            await b.jobs.cancel(running)

    run(test(), within_s=10.0)


@MANY_PROCESSES
@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.05, 0.15])
def test_a_job_cancelled_at_any_moment_ends_once_and_frees_everything(tmp_path: Path, after_s: float) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model(**SLOW)
            b.model("speaker-diarization", **SLOW)
            job = await b.submit(diarize=True)
            await asyncio.sleep(after_s)  # somewhere between its first step and its recognition
            await b.jobs.cancel(job)
            await failure_of(b, job, Cancelled)
            assert b.budget.used_bytes == 0

    run(test())


@MANY_PROCESSES
def test_stopping_lets_short_jobs_finish_and_interrupts_the_others(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path, drain_timeout_s=1.0, jobs_per_worker=2) as b:
            b.model(**SLOW)
            b.model("quick", steps=10, step_s=0.02)
            slow, quick, waiting = await b.submit(), await b.submit(model="quick"), await b.submit()
            await b.until_begun(slow)
            await b.jobs.stop()
            assert (slow.state, quick.state, waiting.state) == (JobState.INTERRUPTED, JobState.COMPLETED, JobState.INTERRUPTED)
            await failure_of(b, slow, Interrupted)
            with pytest.raises(Draining):
                await b.submit()

    run(test())


@MANY_PROCESSES
def test_what_a_killed_process_left_behind_is_marked_at_the_next_start(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model(**SLOW)
            job = await b.submit()
            await b.until_begun(job)
            await b.jobs.start()  # as a fresh process over the same store would
            assert (await b.store.transcripts.get(job.id, UNLIMITED)).state is JobState.INTERRUPTED
            await b.jobs.cancel(job)

    run(test())


# --- room -------------------------------------------------------------------------------------------------------------


@MANY_PROCESSES
def test_urgent_recordings_overtake(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path, jobs_per_worker=1) as b:
            b.model(steps=20, step_s=0.02)
            ended: list[Job] = []
            b.jobs.on_ended(ended.append)
            running = await b.submit()
            low = await b.submit(priority=Priority.LOW)
            normal = await b.submit()
            high = await b.submit(priority=Priority.HIGH)
            assert [job.progress.queue_position for job in (high, normal, low)] == [1, 2, 3]
            assert high.progress.eta_s is not None
            assert low.progress.eta_s is not None
            assert high.progress.eta_s < low.progress.eta_s
            for job in (running, low, normal, high):
                await b.jobs.wait(job)
            assert ended == [running, high, normal, low]

    run(test())


@MANY_PROCESSES
def test_jobs_wait_for_memory_that_others_will_free(tmp_path: Path) -> None:
    """Two recordings that decode to more than the budget holds at once both succeed, one after the other."""

    async def test() -> None:
        async with bench(tmp_path, budget_bytes=7 * 2**20) as b:
            b.model(steps=10, step_s=0.02)
            jobs = [await b.submit(b.upload(60.0)) for _ in range(2)]  # 1.8 MiB each, twice: as file and as samples
            room = b.budget.reserve(b.budget.total_bytes - b.budget.used_bytes - 2 * 2**20)
            for job in jobs:
                await b.jobs.wait(job)
            room.release()

    run(test())


@MANY_PROCESSES
def test_samples_of_voices_wait_for_memory_that_others_will_free(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model(**SLOW)
            b.model("quick")
            b.model("speaker-diarization")
            other = await b.submit(b.upload(60.0))  # 1.8 MiB of samples, held as long as it runs
            await b.until_begun(other)
            upload = b.upload()
            with b.budget.reserve(b.budget.total_bytes - b.budget.used_bytes):
                job = await b.submit(upload, model="quick", diarize=True, known_voices=(KnownVoice("Ada", tone(2.0, 440.0, 1)),))
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await b.jobs.wait(job)
                await b.jobs.cancel(other)
                transcript = (await b.jobs.wait(job)).record.transcript
            assert transcript is not None
            assert transcript.warnings == ()

    run(test())


@MANY_PROCESSES
def test_samples_of_voices_start_no_more_decoders_than_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, most = 0, 0

    async def counted(*arguments: Any, **options: Any) -> Pcm:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        try:
            return await decode(*arguments, **options)
        finally:
            at_work -= 1

    async def test() -> None:
        async with bench(tmp_path, decode_children=1, jobs_per_worker=3) as b:
            b.model()
            b.model("speaker-diarization")
            voices = (KnownVoice("Ada", tone(2.0, 440.0, 1)), KnownVoice("Ben", tone(2.0, 220.0, 1)))
            for job in [await b.submit(diarize=True, known_voices=voices) for _ in range(3)]:
                await b.jobs.wait(job)
        assert most == 1

    monkeypatch.setattr("appliance.jobs.known_voices.decode", counted)
    monkeypatch.setattr("appliance.jobs.runner.decode", counted)
    run(test())


@MANY_PROCESSES
def test_a_job_that_can_never_fit_beside_what_is_there_fails_with_a_sentence(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path, budget_bytes=8 * 2**20) as b:
            b.model()
            with b.budget.reserve(5 * 2**20):
                await failure_of(b, await b.submit(b.upload(60.0)), MemoryFull)
            await b.jobs.wait(await b.submit(b.upload(60.0)))

    run(test())


def test_uploads_leave_room_to_decode_them(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            with b.budget.reserve(b.budget.total_bytes * 8 // 10), pytest.raises(MemoryFull):
                b.jobs.check_room()
            b.jobs.check_room()

    run(test())


def test_a_disk_that_is_full_at_saving_fails_the_job_and_the_service_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's own test fills a real disk; here only its answer matters."""

    async def full(*_: object, **__: object) -> None:
        raise DiskFull

    async def test() -> None:
        monkeypatch.setattr("appliance.jobs.jobs._RECORD_AGAIN_S", 0.05)
        async with bench(tmp_path) as b:
            b.model()
            with monkeypatch.context() as disk:
                disk.setattr(b.store.transcripts, "complete", full)
                disk.setattr(b.store.transcripts, "fail", full)
                job = await b.submit()
                with pytest.raises(DiskFull):
                    await b.jobs.wait(job)
                assert job.state is JobState.FAILED
                assert b.budget.used_bytes == 0
            while (await b.store.transcripts.get(job.id, UNLIMITED)).state is not JobState.FAILED:  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(0.02)
            await b.jobs.wait(await b.submit())

    run(test())


@pytest.mark.slow
def test_a_database_that_others_hold_for_a_while_costs_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's own test holds a real one; here only its answer matters."""

    def busy_twice(method: Any) -> Any:
        refusals = [StoreBusy(), StoreBusy()]

        async def write(*arguments: Any) -> Any:
            if refusals:
                raise refusals.pop()
            return await method(*arguments)

        return write

    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model()
            for name in ("start", "describe", "complete"):
                monkeypatch.setattr(b.store.transcripts, name, busy_twice(getattr(b.store.transcripts, name)))
            job = await b.submit()
            assert (await b.jobs.wait(job)).record.state is JobState.COMPLETED
            assert (await b.store.transcripts.get(job.id, UNLIMITED)).transcript is not None

    run(test())


def test_what_is_saved_but_cannot_be_read_back_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def busy(*_: object) -> None:
        raise StoreBusy

    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model()
            with monkeypatch.context() as reading:
                reading.setattr(b.store.transcripts, "get", busy)
                job = await b.submit()
                finished = await b.jobs.wait(job)
            assert finished.record.transcript == (await b.store.transcripts.get(job.id, UNLIMITED)).transcript
            assert job.state is JobState.COMPLETED

    run(test())


# --- Idempotency-Key --------------------------------------------------------------------------------------------------


def test_two_uploads_with_one_key_are_one_job(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model(steps=10, step_s=0.02)
            first, second = await asyncio.gather(*(b.submit(idempotency_key="k") for _ in range(2)))
            assert first is second
            with pytest.raises(IdempotencyMismatch):
                await b.submit(b.upload(hertz=220.0), idempotency_key="k")
            with pytest.raises(IdempotencyMismatch):
                await b.submit(idempotency_key="k", word_timestamps=False)
            finished = await b.jobs.wait(first)
            third = await b.submit(idempotency_key="k")
            assert (await b.jobs.wait(third)).record == finished.record
            assert (await b.submit(idempotency_key="other")).id != first.id
            assert (await b.store.transcripts.list(UNLIMITED, limit=10, offset=0)).count == 2

    run(test())


def test_what_is_known_by_its_key_is_given_also_when_nothing_new_is_taken(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path, jobs_per_worker=1, max_waiting_jobs=1) as b:
            b.model(**SLOW)
            b.model("quick")
            done = await b.submit(model="quick", idempotency_key="done")
            await b.jobs.wait(done)
            running, waiting = await b.submit(idempotency_key="running"), await b.submit(idempotency_key="waiting")
            with pytest.raises(QueueFull):
                await b.submit(idempotency_key="new")
            b.jobs.draining = True
            with pytest.raises(Draining):
                await b.submit(idempotency_key="new")
            assert (await b.submit(model="quick", idempotency_key="done")).id == done.id
            assert await b.submit(idempotency_key="running") is running
            assert await b.submit(idempotency_key="waiting") is waiting
            with pytest.raises(IdempotencyMismatch):
                await b.submit(idempotency_key="done")
            for job in (running, waiting):
                await b.jobs.cancel(job)
            with pytest.raises(Draining):
                await b.submit(idempotency_key="running")

    run(test())


@MANY_PROCESSES
def test_a_try_that_failed_may_be_repeated_under_its_key(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model(misfortune="error", times=1)
            first = await b.submit(idempotency_key="k")
            await failure_of(b, first, LanguageUnsupported)
            second = await b.submit(idempotency_key="k")
            assert second.id != first.id
            await b.jobs.wait(second)

    run(test())


@MANY_PROCESSES
def test_a_key_works_for_results_that_are_not_kept_as_long_as_they_are_made(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model(steps=10, step_s=0.02)
            first, second = [await b.submit(idempotency_key="k", keep=False) for _ in range(2)]
            assert first is second
            await b.jobs.wait(first)

    run(test())


def test_only_the_last_caller_who_leaves_ends_a_job_that_is_not_kept(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model(**SLOW)
            job, same = [await b.submit(idempotency_key="k", keep=False) for _ in range(2)]
            assert same is job
            await b.until_begun(job)
            await b.jobs.leave(job)
            assert b.jobs.find(job.id) is job
            assert await b.submit(idempotency_key="k", keep=False) is job
            await b.jobs.leave(job)
            assert b.jobs.find(job.id) is job
            await b.jobs.leave(job)
            assert job.state is JobState.CANCELLED
            kept = await b.submit()
            await b.jobs.leave(kept)
            assert b.jobs.find(kept.id) is kept
            await b.jobs.cancel(kept)

    run(test())


@pytest.mark.parametrize("keep", [False, True])
def test_a_job_that_is_being_cancelled_is_given_to_nobody_else(tmp_path: Path, keep: bool) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model(**SLOW)
            first = await b.submit(idempotency_key="k", keep=keep)
            await b.until_begun(first)
            cancelling = asyncio.create_task(b.jobs.cancel(first))
            await asyncio.sleep(0)  # it has begun
            assert not first.ended.is_set()
            second = await b.submit(idempotency_key="k", keep=keep)
            assert first.state is JobState.CANCELLED
            assert second.id != first.id
            await b.until_begun(second)
            await b.jobs.cancel(second)
            await cancelling

    run(test())
