"""The engine inside this process's reach, without HTTP and without a database: for `transcribe` and `bench`."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from appliance.api.language_names import language_code
from appliance.audio.memory import MemoryBudget
from appliance.audio.sandbox import forbid_dumps
from appliance.audio.upload import Upload, UploadLimits, receive_body
from appliance.catalogue import Catalogue, Model, Shelf
from appliance.cli.wish import OnProgress, Wish, report
from appliance.domain import SpeakerCount, TranscribeOptions
from appliance.engine.gpu import DeviceChoice, choose_device
from appliance.engine.pool import WorkerPool
from appliance.errors import ApplianceError, InvalidRequest, LanguageUnsupported, MemoryFull
from appliance.export import export
from appliance.jobs import Finished, Job, Jobs, ProgressEvent, Submission
from appliance.jobs.runner import Room
from appliance.settings import Settings

CHUNK_BYTES = 2**20


class LocalTranscriber:
    """Texts made here are returned and kept nowhere."""

    def __init__(self, settings: Settings, jobs: Jobs, shelf: Shelf, budget: MemoryBudget, devices: DeviceChoice) -> None:
        self.settings = settings
        self.at_once = settings.jobs_per_worker
        self.devices = devices
        self._jobs, self._shelf, self._budget = jobs, shelf, budget
        self._room = Room()

    async def transcribe(self, recording: Path, wish: Wish, on_progress: OnProgress) -> bytes:
        finished = await self.run(recording, wish, on_progress)
        return (await asyncio.to_thread(export, finished.record, wish.format)).content

    async def run(self, recording: Path, wish: Wish, on_progress: OnProgress) -> Finished:
        """Where the memory is full of other recordings, it waits until one of them is done.

        The last one tries once more, since those that wait have just given back what they had begun.
        """
        options = options_for(wish, self._shelf, self.settings)
        was_last = False
        with self._room.work():
            while True:
                try:
                    return await self._run_now(recording, options, on_progress)
                except MemoryFull:
                    is_last = not await self._room.wait()
                    if is_last and was_last:
                        raise
                    was_last = is_last

    async def _run_now(self, recording: Path, options: TranscribeOptions, on_progress: OnProgress) -> Finished:
        upload = await self._read(recording)
        job = await self._jobs.submit(
            Submission(upload=upload, options=options, models=(options.model,), title=recording.name, owner="console", keep=False)
        )
        try:
            await self._follow(job, on_progress)
            return await self._jobs.wait(job)
        finally:
            if not job.ended.is_set():
                await asyncio.shield(self._jobs.cancel(job))

    async def _follow(self, job: Job, on_progress: OnProgress) -> None:
        async for event in self._jobs.subscribe(job):
            if isinstance(event, ProgressEvent):
                report(event.progress, on_progress)

    async def _read(self, recording: Path) -> Upload:
        limits = UploadLimits(max_bytes=self.settings.max_upload_bytes, stall_timeout_s=self.settings.upload_stall_timeout_s)
        return await receive_body(
            chunks_of(recording),
            self._budget,
            limits,
            declared_bytes=size_of(recording),
            filename=recording.name,
            content_type=mimetypes.guess_type(recording.name)[0] or "application/octet-stream",
        )


@asynccontextmanager
async def local_transcriber(settings: Settings) -> AsyncIterator[LocalTranscriber]:
    """Starts the speech engine and stops it at the end. Raises StartRefused."""
    forbid_dumps()  # recordings pass through this process, too (TRAPS 5)
    shelf = Shelf(Catalogue.load(settings.catalogue_dir), settings.models_dir)
    budget = MemoryBudget(settings.memory_budget_bytes)
    devices = choose_device(settings.device)
    pool = WorkerPool(settings, devices)
    jobs = Jobs(settings, None, pool, shelf, budget)
    await pool.start()
    try:
        await jobs.start()
        try:
            yield LocalTranscriber(settings, jobs, shelf, budget, devices)
        finally:
            await jobs.stop()
    finally:
        await pool.stop()


def options_for(wish: Wish, shelf: Shelf, settings: Settings) -> TranscribeOptions:
    """Raises UnknownModel, ModelNotInstalled, and LanguageUnsupported or InvalidRequest where it cannot do it."""
    model = shelf.resolve(wish.model or settings.default_model, settings.default_model, settings.model_aliases)
    language = known_language(wish.language, model)
    if wish.translate and not model.translation:
        raise InvalidRequest(f"The model '{model.id}' does not translate.", "Leave --translate out, or choose a model that does.")
    return TranscribeOptions(
        model=model.id,
        language=language,
        task="translate" if wish.translate else "transcribe",
        word_timestamps=model.word_timestamps,
        diarize=wish.diarize,
        speakers=SpeakerCount(exact=wish.speakers),
        hotwords=wish.hotwords,
    )


def known_language(wanted: str | None, model: Model) -> str | None:
    """The code, for a code or an English name."""
    if wanted is None:
        return None
    code = language_code(wanted)
    if code is None or code not in model.languages:
        raise LanguageUnsupported(wanted, model.id)
    return code


def size_of(recording: Path) -> int:
    try:
        return recording.stat().st_size
    except OSError as error:
        raise _unreadable(recording, error) from error


async def chunks_of(recording: Path) -> AsyncIterator[bytes]:
    try:
        with recording.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise _unreadable(recording, error) from error


def _unreadable(recording: Path, error: OSError) -> ApplianceError:
    return InvalidRequest(f"'{recording}' cannot be read: {error.strerror}.", "Check its name and its permissions.")
