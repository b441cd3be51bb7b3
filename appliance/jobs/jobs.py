"""The appliance's jobs: taken in, queued, run, and ended exactly once, with their end on record.

Admission and endings are here; what happens in between is `runner.py`. A job's work is a task of its own that may be
cancelled; the task around it never is, so every ending is saved and tells all who wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from appliance.audio.memory import MemoryBudget
from appliance.audio.upload import Upload
from appliance.catalogue import Model, Shelf
from appliance.domain import Failure, JobState, Progress, Recording, TranscriptRecord
from appliance.engine.pool import WorkerPool
from appliance.errors import (
    ApplianceError,
    Cancelled,
    DiskFull,
    Draining,
    IdempotencyMismatch,
    Interrupted,
    InvalidField,
    MemoryFull,
    NotAvailable,
    NotFound,
    QueueFull,
    StoreBusy,
)
from appliance.jobs.feed import EndEvent, FailedEvent, Finished, FinishedEvent, JobEvent, Timings
from appliance.jobs.job import Job, Submission
from appliance.jobs.private import HeldResults, PrivateJob, PrivateResult, visible_options, visible_recording
from appliance.jobs.progress import Meter, Speeds
from appliance.jobs.queue import WaitingLine
from appliance.jobs.runner import Assignment, Heard, Runner, tells_speakers_apart
from appliance.jobs.totals import JobsSnapshot, Totals
from appliance.jobs.webhooks import Webhooks, check_target
from appliance.settings import Settings
from appliance.store import SYSTEM, UNLIMITED, NewTranscript, Reach, Right, Store, Used

log = logging.getLogger(__name__)

T = TypeVar("T")

# While another program holds the database: how long it is waited for, and the longest pause between two attempts.
_STORE_PATIENCE_S = 600.0
_STORE_PAUSE_S = 5.0
_RECORD_AGAIN_S = 5.0
_MAX_RETRY_AFTER_S = 3600


class Permit(Protocol):
    """What a licence says to recordings: `licensing.Licensing`. Those that are queued or running are never asked about again."""

    @property
    def concurrent_jobs(self) -> int | None:
        """More of them wait; None: no limit."""

    def check_new_job(self) -> None:
        """Raises `LicenceRefusal`."""


class _Run:
    """A job's private side."""

    def __init__(self, job: Job, submission: Submission, models: tuple[Model, ...], speeds: Speeds, fingerprint: str) -> None:
        self.job = job
        self.submission = submission
        self.fingerprint = fingerprint
        self.models = models
        self.guessed_s = speeds.guess_duration(submission.upload.filename, submission.upload.size_bytes)
        self.accepted_at = time.monotonic()
        self.started_at: float | None = None
        self.work: asyncio.Task[Heard] | None = None
        self.ending: ApplianceError | None = None  # why it is ended early, once that has begun
        self.callers = 1  # who submitted it, all under one Idempotency-Key, and have not left

    @property
    def key(self) -> tuple[str, str] | None:
        key = self.submission.idempotency_key
        return None if key is None else (self.submission.owner, key)

    @property
    def upload(self) -> Upload:
        return self.submission.upload


class Jobs:
    """Lives on one event loop. `store` may be None where nothing is kept (`appliance transcribe`)."""

    def __init__(
        self,
        settings: Settings,
        store: Store | None,
        pool: WorkerPool,
        shelf: Shelf,
        budget: MemoryBudget,
        *,
        permit: Permit | None = None,
    ) -> None:
        self.draining = False
        self._permit = permit
        self._stopping = False  # the time to drain is over
        self._settings = settings
        self._store = store
        self._shelf = shelf
        self._budget = budget
        self._pool = pool
        self._speeds = Speeds(gpu=pool.devices.kind == "cuda")
        self._runner = Runner(settings, pool, shelf, budget, self._speeds)
        self._places = settings.jobs_per_worker * len(pool.devices.devices)
        self._line: WaitingLine[_Run] = WaitingLine()
        self._runs: dict[int, _Run] = {}  # queued and running
        self._keys: dict[tuple[str, str], _Run] = {}  # of those, the ones sent with an Idempotency-Key
        self._door = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._webhooks = Webhooks(settings, store.webhooks) if store and settings.webhook_targets else None
        self._unkept = 0
        self._listeners: list[Callable[[Job], None]] = []
        self._totals = Totals()
        self._blinding_key = secrets.token_bytes(32)  # of this process: what private recordings are compared by
        self.held_results = HeldResults(settings.private_result_minutes * 60, self._expire_private)

    async def start(self) -> None:
        """What an earlier process left unfinished is marked as interrupted; webhooks that are due are sent."""
        if self._store and (n := await self._store.transcripts.interrupt_unfinished()):
            log.warning("%d transcripts were unfinished when the appliance last stopped; they are marked as interrupted", n)
        if self._store and (n := await self._store.envelopes.expire()):
            log.warning("%d private results were not fetched before the appliance last stopped; they are marked as failed", n)
        if self._store:
            self._store.erasures.listen(asyncio.get_running_loop(), self._wipe_results)
        if self._webhooks:
            self._webhooks.start()

    async def stop(self) -> None:
        """Take no more, give the accepted ones `drain_timeout_s` to finish, then mark the rest as interrupted."""
        async with self._door:  # an upload that is just being admitted is one of the accepted
            self.draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_timeout_s):
                await asyncio.gather(*(run.job.ended.wait() for run in self._runs.values()))
        self._stopping = True
        await asyncio.gather(*(self._end_early(run, Interrupted()) for run in tuple(self._runs.values())))
        self.held_results.wipe_all()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._webhooks:
            await self._webhooks.stop()

    def _wipe_results(self, erased: tuple[int, ...]) -> None:
        for transcript_id in erased:
            self.held_results.wipe(transcript_id)

    # --- for everybody ------------------------------------------------------------------------------------------------

    async def submit(self, submission: Submission) -> Job:
        """Accept a recording, or give the job that the same Idempotency-Key already has.

        Whoever does not wait for it any more says so with `leave`.
        The upload is taken over, also when this raises: `QueueFull`, `Draining`, `UnknownModel`, `ModelNotInstalled`,
        `ModelDamaged`, `DeviceUnavailable`, `IdempotencyMismatch`, `InvalidField`, `NotAvailable`, `DiskFull`,
        `LicenceRefusal`.
        """
        admission = self._spawn(self._take_over(submission))
        try:
            return await asyncio.shield(admission)
        except asyncio.CancelledError:  # the caller is gone, but its recording may be on record already
            admission.add_done_callback(self._without_caller)
            raise

    async def is_known(self, reach: Reach, key: str) -> bool:
        """Whether this Idempotency-Key has a job or a transcript already, of somebody for whom this caller may send."""
        if any(known == key and reach.has(Right.CHANGE, owner) for owner, known in self._keys):
            return True
        return self._store is not None and await self._store.idempotency.is_known(reach, key)

    def check_room(self, *, is_known: bool = False) -> None:
        """Before an upload is read, as `submit` would. `is_known`: nothing new may come of it, so it only needs memory.

        Raises `LicenceRefusal`, `Draining`, `DeviceUnavailable`, `QueueFull`, `MemoryFull`.
        """
        if not is_known:
            self._check_open()
        if self._budget.used_bytes >= self._budget.upload_bytes:
            raise MemoryFull(self.retry_after_s())

    def retry_after_s(self) -> int:
        """When the next place in the line should become free, in whole seconds."""
        running = [self._left_s(run) for run in self._runs.values() if run not in self._line]
        return min(max(5, round(min(running, default=5.0))), _MAX_RETRY_AFTER_S)

    async def wait(self, job: Job) -> Finished:
        """The result, however long it takes; raises the error that the job ended with."""
        await job.ended.wait()
        if job.error:
            raise job.error
        assert job.finished
        return job.finished

    def find(self, transcript_id: int) -> Job | None:
        """A queued or running job."""
        run = self._runs.get(transcript_id)
        return run.job if run else None

    def subscribe(self, job: Job) -> AsyncIterator[JobEvent]:
        """The present state, all segments so far, then everything as it comes, up to the end."""
        return job.feed.follow()

    async def cancel(self, job: Job) -> None:
        """End it within one batch; returns when its end is on record. A job that has ended, or is being saved, is left as it is."""
        if run := self._runs.get(job.id):
            await self._end_early(run, Cancelled())

    async def leave(self, job: Job) -> None:
        """A caller does not wait any more: where nobody else can fetch the result, the last one's leaving cancels the job."""
        run = self._runs.get(job.id)
        if run is None or job.keep:
            return
        run.callers -= 1
        if run.callers == 0:
            await self._end_early(run, Cancelled())

    async def cancel_of(self, owner: str) -> None:
        """As `cancel`, of all jobs that belong to this owner."""
        await asyncio.gather(*(self.cancel(run.job) for run in tuple(self._runs.values()) if run.job.owner == owner))

    def snapshot(self) -> JobsSnapshot:
        return self._totals.snapshot(
            queued=len(self._line),
            running=len(self._runs) - len(self._line),
            oldest_queued_age_s=self._line.longest_wait_s(),
            draining=self.draining,
        )

    def on_ended(self, listener: Callable[[Job], None]) -> None:
        """`listener` is called with every job that ends, once, on the event loop; it must not raise."""
        self._listeners.append(listener)

    # --- admission ----------------------------------------------------------------------------------------------------

    async def _take_over(self, submission: Submission) -> Job:
        try:
            if submission.callback_url is not None:
                check_target(submission.callback_url, self._settings.webhook_targets)
            models = await asyncio.to_thread(self._models, submission)
            while True:
                async with self._door:  # two uploads with one key come one after the other
                    ending = self._ending_under_same_key(submission)
                    if ending is None:
                        return await self._admit(submission, models)
                await ending.ended.wait()
        except BaseException:
            submission.upload.close()
            raise

    def _without_caller(self, admission: asyncio.Task[Job]) -> None:
        if not admission.cancelled() and not admission.exception():
            self._spawn(self.leave(admission.result()))

    def _models(self, submission: Submission) -> tuple[Model, ...]:
        settings = self._settings
        names = submission.models or (submission.options.model,)
        models = (self._shelf.resolve(name, settings.default_model, settings.model_aliases) for name in names)
        by_id = {model.id: model for model in models}
        for model_id in by_id:
            self._shelf.path(model_id)  # a damaged one is refused now, not after the wait
        if submission.needs_speakers:
            self._shelf.path(settings.diarization_model)
        return tuple(by_id.values())

    async def _admit(self, submission: Submission, models: tuple[Model, ...]) -> Job:
        """What has a job or a transcript under its key is given also when nothing new is taken."""
        fingerprint = _fingerprint(submission, models, self._blinding_key)
        if earlier := self._under_same_key(submission, fingerprint):
            submission.upload.close()
            return earlier
        record = await self._find_stored(submission, fingerprint)
        if record is None:
            self._check_open()
            await self._check_hook(submission.callback_url)
            record, created = await self._record(submission, models, fingerprint)
            if created:
                return self._enqueue(_Run(Job(record, keep=record.id > 0), submission, models, self._speeds, fingerprint))
        submission.upload.close()
        return await self._recall(record)

    def _check_open(self) -> None:
        """Whether something new is taken. Raises `LicenceRefusal`, `Draining`, `DeviceUnavailable`, `QueueFull`."""
        if self._permit:
            self._permit.check_new_job()
        if self.draining:
            raise Draining
        self._pool.check_usable()
        if len(self._line) >= self._settings.max_waiting_jobs:
            raise QueueFull(len(self._line), self.retry_after_s())

    async def _check_hook(self, url: str | None) -> None:
        """Raises `InvalidField` for a target that is switched off: nobody would be told of the end."""
        at = await self._store.webhooks.switched_off_at(url) if self._store and url else None
        if at is not None:
            raise InvalidField(
                "callback_url",
                f"points to a target that answered 410 on {at:%Y-%m-%d %H:%M} (UTC) and is told nothing since then",
                "Send it without, or with another address. When the target works again, an administrator switches it on with "
                "'appliance webhooks allow URL'.",
            )

    def _ending_under_same_key(self, submission: Submission) -> Job | None:
        """A job that is being cancelled already: its key is free again once it has ended."""
        run = self._run_of(submission)
        return run.job if run and run.ending else None

    def _under_same_key(self, submission: Submission, fingerprint: str) -> Job | None:
        run = self._run_of(submission)
        if run is None:
            return None
        if run.fingerprint != fingerprint:
            raise IdempotencyMismatch
        run.callers += 1
        return run.job

    def _run_of(self, submission: Submission) -> _Run | None:
        key = submission.idempotency_key
        return None if key is None else self._keys.get((submission.owner, key))

    async def _find_stored(self, submission: Submission, fingerprint: str) -> TranscriptRecord | None:
        """What the same Idempotency-Key was given earlier, and is kept. Raises `IdempotencyMismatch`."""
        key = submission.idempotency_key
        if self._store is None or key is None or not submission.keep:
            return None
        return await self._store.idempotency.find(submission.owner, key, fingerprint)

    async def _record(self, submission: Submission, models: tuple[Model, ...], fingerprint: str) -> tuple[TranscriptRecord, bool]:
        """The new transcript's record; or, and then False, that of an earlier one with the same key."""
        upload, key, privacy = submission.upload, submission.idempotency_key, submission.privacy
        recording = Recording(upload.filename, upload.size_bytes, upload.sha256)
        options = replace(submission.options, model=models[0].id)
        title = submission.title or upload.filename
        if privacy:
            recording, options = visible_recording(recording, privacy), visible_options(options)
            title = recording.filename if privacy.hide_name else title
        new = NewTranscript(
            owner=submission.owner,
            title=title,
            recording=recording,
            options=options,
            models=tuple(model.id for model in models),
            priority=submission.priority,
            callback_url=submission.callback_url,
            sender=submission.sender,
        )
        if self._store is None or not submission.keep:
            return self._unkept_record(new), True
        if key is None:
            return await self._store.transcripts.create(new), True
        ttl_s = self._settings.idempotency_hours * 3600
        claim = await self._store.idempotency.claim(submission.owner, key, fingerprint, new, ttl_s)
        return claim.record, claim.created

    def _unkept_record(self, new: NewTranscript) -> TranscriptRecord:
        if new.callback_url:
            raise NotAvailable("callback_url", "the result of this call is not kept")
        self._unkept += 1
        return TranscriptRecord(
            id=-self._unkept,
            slug=secrets.token_urlsafe(16),
            owner=new.owner,
            title=new.title,
            recording=new.recording,
            options=new.options,
            models=new.models,
            priority=new.priority,
            state=JobState.QUEUED,
            created_at=datetime.now(UTC),
        )

    async def _recall(self, record: TranscriptRecord) -> Job:
        """The job of an earlier request with the same key, which has ended since."""
        assert self._store
        whole = await self._store.transcripts.get(record.id, UNLIMITED)
        job = Job(whole, keep=True)
        if whole.private and whole.state is JobState.COMPLETED:
            _conclude(job, whole, Timings(audio_s=whole.recording.duration or 0.0, queued_s=0.0, total_s=0.0))
        elif whole.transcript is None:
            _conclude(job, whole, Interrupted())
        else:
            _conclude(job, whole, Timings(audio_s=whole.transcript.duration, queued_s=0.0, total_s=0.0))
        return job

    def _enqueue(self, run: _Run) -> Job:
        self._runs[run.job.id] = run
        if run.key:
            self._keys[run.key] = run
        self._line.join(run, run.submission.priority)
        self._fill_places()
        return run.job

    # --- running ------------------------------------------------------------------------------------------------------

    def _fill_places(self) -> None:
        while len(self._line) and len(self._runs) - len(self._line) < self._allowed_places():
            self._begin(self._line.take())
        self._tell_positions()

    def _allowed_places(self) -> int:
        limit = self._permit.concurrent_jobs if self._permit else None
        return self._places if limit is None else min(self._places, limit)

    def _begin(self, run: _Run) -> None:
        run.started_at = time.monotonic()
        run.work = asyncio.create_task(self._work(run))
        self._spawn(self._live(run, run.work))

    def _tell_positions(self) -> None:
        wait_s = sum(self._left_s(run) for run in self._runs.values() if run not in self._line)
        for position, run in enumerate(self._line.order(), 1):
            own_s = self._left_s(run)
            eta_s = round(wait_s / self._places + own_s, 1)
            run.job.feed.advance(Progress(state=JobState.QUEUED, eta_s=eta_s, queue_position=position))
            wait_s += own_s

    def _left_s(self, run: _Run) -> float:
        """Seconds of work that a job still needs, as far as can be told."""
        eta_s = run.job.progress.eta_s
        if run.started_at is not None and eta_s is not None:
            return eta_s
        diarize = tells_speakers_apart(run.submission.options)
        return self._speeds.guess_work(run.guessed_s, [model.id for model in run.models], diarize=diarize)

    async def _live(self, run: _Run, work: asyncio.Task[Heard]) -> None:
        """One job from its place to its end. Only the work inside is ever cancelled, so the end is always on record."""
        await asyncio.wait({work})
        await self._finish(run, _outcome(work, run))

    async def _work(self, run: _Run) -> Heard:
        job, submission = run.job, run.submission
        if self._store and job.keep:
            transcripts = self._store.transcripts
            await self._patiently(lambda: transcripts.start(job.id))
        job.record = replace(job.record, state=JobState.PROCESSING, started_at=datetime.now(UTC))
        assignment = Assignment(
            label=str(job.id),
            upload=run.upload,
            options=submission.options,
            models=run.models,
            priority=submission.priority,
            feed=job.feed,
            meter=Meter(self._speeds, [model.id for model in run.models], diarize=tells_speakers_apart(submission.options)),
            describe=lambda recording: self._describe(run, recording),
            private=_private_job(run),
            known_voices=submission.known_voices,
            needs_speakers=submission.needs_speakers,
        )
        assignment.show()
        heard = await self._runner.run(assignment)
        assignment.meter.saving()
        assignment.show()
        return heard

    async def _describe(self, run: _Run, recording: Recording) -> None:
        job, privacy = run.job, run.submission.privacy
        self._totals.receive(recording.duration or 0.0)
        recording = visible_recording(recording, privacy) if privacy else recording
        job.record = replace(job.record, recording=recording)
        if self._store and job.keep:
            transcripts = self._store.transcripts
            await self._patiently(lambda: transcripts.describe(job.id, recording))

    # --- endings ------------------------------------------------------------------------------------------------------

    async def _end_early(self, run: _Run, why: ApplianceError) -> None:
        run.ending = why
        if run in self._line:
            self._line.leave(run)
            await asyncio.shield(self._spawn(self._finish(run, why)))  # the caller may leave
            return
        if run.work:
            run.work.cancel()
        await run.job.ended.wait()

    async def _finish(self, run: _Run, outcome: Heard | ApplianceError) -> None:
        """Save how it ended, tell everybody, give the place to the next."""
        run.upload.close()
        begun = time.monotonic()
        record, saved = await self._save(run, outcome)
        result = saved if isinstance(saved, ApplianceError) else _timings(run, saved, time.monotonic() - begun)
        del self._runs[run.job.id]
        if run.key:
            del self._keys[run.key]
        self._totals.count(record.state, result if isinstance(result, Timings) else None)
        _conclude(run.job, record, result)
        if self._webhooks:
            self._webhooks.notice()
        for listener in self._listeners:
            listener(run.job)
        self._fill_places()

    async def _save(self, run: _Run, outcome: Heard | ApplianceError) -> tuple[TranscriptRecord, Heard | ApplianceError]:
        """The record at its end, and the outcome: a result that cannot be saved is a failure."""
        if isinstance(outcome, Heard):
            try:
                return await self._save_result(run.job, outcome), outcome
            except NotFound:  # erased meanwhile
                outcome = Cancelled()
            except ApplianceError as error:
                outcome = error
            except Exception:  # the job ends here
                log.exception("job %d could not be saved", run.job.id)
                outcome = _unexpected()
        return await self._save_failure(run.job, outcome), outcome

    async def _save_result(self, job: Job, heard: Heard) -> TranscriptRecord:
        used = _used(job, heard)
        if heard.private:
            return await self._hold_result(job, heard.private, used)
        first, *others = heard.transcripts
        ended = replace(job.record, state=JobState.COMPLETED, finished_at=datetime.now(UTC))
        ended = replace(ended, transcript=first, alternatives=tuple(others))
        if self._store is None:
            return ended
        if not job.keep:
            for one in used:
                await self._store.usage.record(one)
            return ended
        transcripts = self._store.transcripts
        await self._patiently(lambda: transcripts.complete(job.id, first, others, used))
        try:
            return await transcripts.get(job.id, UNLIMITED)
        except NotFound:
            raise
        except Exception:  # the job ends here, and well: its text is saved
            log.exception("job %d is saved, but could not be read back", job.id)
            return ended

    async def _hold_result(self, job: Job, result: PrivateResult, used: tuple[Used, ...]) -> TranscriptRecord:
        """In memory only, until it was fetched."""
        assert self._store
        envelopes = self._store.envelopes
        self.held_results.hold(job.id, result)
        try:
            await self._patiently(lambda: envelopes.complete(job.id, result.language, used))
        except BaseException:
            self.held_results.wipe(job.id)
            raise
        return replace(job.record, state=JobState.COMPLETED, finished_at=datetime.now(UTC))

    def _expire_private(self, transcript_id: int) -> None:
        self._spawn(self._forget_result(transcript_id))

    async def _forget_result(self, transcript_id: int) -> None:
        assert self._store
        await self._store.envelopes.expire(transcript_id)
        await self._store.audit.record("private.forgotten", "system", str(transcript_id), reason="timeout")

    async def _patiently(self, write: Callable[[], Awaitable[None]]) -> None:
        """Minutes of waiting for another program that holds the database cost less than what was heard. Raises `StoreBusy`."""
        give_up_at, pause_s = time.monotonic() + _STORE_PATIENCE_S, 0.1
        while True:
            try:
                return await write()
            except StoreBusy:
                if self._stopping or time.monotonic() >= give_up_at:
                    raise
                log.warning("the database is held by another program; a job waits to write to it")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _STORE_PAUSE_S)

    async def _save_failure(self, job: Job, error: ApplianceError) -> TranscriptRecord:
        state, failure = _state_after(error), Failure(error.code, error.message, error.hint, error.status)
        if self._store and job.keep:
            try:
                await self._store.transcripts.fail(job.id, state, failure)
            except NotFound:
                pass  # erased meanwhile
            except (DiskFull, StoreBusy):
                self._spawn(self._record_later(job.id, state, failure))
            except Exception:  # the job ends here; at the next start it is marked as interrupted
                log.exception("the end of job %d could not be recorded", job.id)
        return replace(job.record, state=state, failure=failure, finished_at=datetime.now(UTC))

    async def _record_later(self, transcript_id: int, state: JobState, failure: Failure) -> None:
        """Until the disk has room again: nobody must find a job for ever 'processing' that ended long ago."""
        assert self._store
        while True:
            await asyncio.sleep(_RECORD_AGAIN_S)
            try:
                await self._store.transcripts.fail(transcript_id, state, failure)
            except (DiskFull, StoreBusy):
                continue
            except NotFound:
                return
            return

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _fingerprint(submission: Submission, models: tuple[Model, ...], blinding_key: bytes) -> str:
    """Of what decides the result: the recording and the options, not names, titles and addresses.

    A private one is blinded: from what is stored nobody can tell whether it was a recording that they have, too.
    """
    asked = msgspec.json.encode(
        (submission.options, [model.id for model in models], submission.keep, submission.known_voices, submission.privacy)
    )
    content = submission.upload.sha256.encode() + asked
    return hmac.digest(blinding_key, content, "sha256").hex() if submission.privacy else hashlib.sha256(content).hexdigest()


def _private_job(run: _Run) -> PrivateJob | None:
    submission = run.submission
    if submission.privacy is None:
        return None
    asked = replace(submission.options, model=run.models[0].id)
    title = submission.title or submission.upload.filename
    return PrivateJob(replace(run.job.record, options=asked, title=title), submission.privacy)


def _outcome(work: asyncio.Task[Heard], run: _Run) -> Heard | ApplianceError:
    if work.cancelled():
        return run.ending or Cancelled()
    error = work.exception()
    if error is None:
        return work.result()
    if isinstance(error, ApplianceError):
        return error
    log.error("job %d ended with an unexpected error", run.job.id, exc_info=error)
    return _unexpected()


def _unexpected() -> ApplianceError:
    return ApplianceError(
        "An unexpected error ended the transcription.", "Try again; if it happens again, the log of the appliance says why."
    )


def _state_after(error: ApplianceError) -> JobState:
    if isinstance(error, Cancelled):
        return JobState.CANCELLED
    return JobState.INTERRUPTED if isinstance(error, Interrupted) else JobState.FAILED


def _used(job: Job, heard: Heard) -> tuple[Used, ...]:
    """For the usage journal, a line for each model; private recordings count as all others."""
    models = job.record.models
    engine_s = (heard.decode_s + heard.recognize_s) / len(models)
    transcript_id = job.id if job.keep else None
    return tuple(Used(job.owner or SYSTEM, model, heard.recording.duration or 0.0, engine_s, transcript_id) for model in models)


def _timings(run: _Run, heard: Heard, save_s: float) -> Timings:
    assert run.started_at is not None
    return Timings(
        audio_s=heard.recording.duration or 0.0,
        queued_s=run.started_at - run.accepted_at,
        total_s=time.monotonic() - run.started_at,
        decode_s=heard.decode_s,
        detect_s=heard.detect_s,
        recognize_s=heard.recognize_s,
        diarize_s=heard.diarize_s,
        save_s=save_s,
    )


def _conclude(job: Job, record: TranscriptRecord, result: Timings | ApplianceError) -> None:
    """Tell all who wait or follow."""
    job.record = record
    end: EndEvent
    if isinstance(result, ApplianceError):
        job.error = result
        failure = record.failure or Failure(result.code, result.message, result.hint, result.status)
        end = FailedEvent(record.state, failure, record.finished_at or datetime.now(UTC))
    else:
        job.finished = Finished(record, result)
        end = FinishedEvent(job.finished)
    fraction = 1.0 if job.finished else job.progress.fraction
    job.feed.advance(Progress(state=record.state, fraction=fraction))
    job.feed.close(end)
    job.ended.set()
