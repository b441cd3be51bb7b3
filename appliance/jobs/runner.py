"""One recording from upload to transcript: decode, then recognition beside diarization, then speakers. Saving is left to `jobs.py`.

Knows the rules for dying workers: recognition is repeated, from the third time on alone, and given up after the third
death; diarization is repeated alone and given up after its second, and the transcript is kept without speakers, unless it is of
no use without them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from msgspec.structs import replace

from appliance.audio.decode import DecodeLimits, Pcm, decode
from appliance.audio.memory import MemoryBudget
from appliance.audio.upload import Upload
from appliance.catalogue import Model, Shelf
from appliance.domain import Caution, ChannelMode, Priority, Recording, Stage, TranscribeOptions, Transcript, Value
from appliance.engine.pool import WorkerDied, WorkerPool
from appliance.engine.protocol import (
    Diarization,
    DiarizeRequest,
    EngineEvent,
    EngineProgress,
    OnEvent,
    RecognizeRequest,
    Role,
    Sealed,
    VoiceSample,
)
from appliance.errors import ApplianceError, DeviceOutOfMemory, DiarizationFailed, InvalidField, MemoryFull, WorkerCrashed
from appliance.jobs.feed import Feed
from appliance.jobs.known_voices import KnownVoice, read_samples
from appliance.jobs.private import Joiner, PrivateJob, PrivateResult, join_order, start_joiner
from appliance.jobs.progress import Meter, Speeds
from appliance.joining.join import join
from appliance.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MAX_RECOGNITION_DEATHS = 3
MAX_DIARIZATION_DEATHS = 2
_URGENCY = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}


class Heard(Value, frozen=True):
    """What came of a recording: one transcript per model, in their order, and the seconds it took."""

    recording: Recording
    transcripts: tuple[Transcript, ...]  # none of a private recording
    decode_s: float
    detect_s: float | None
    recognize_s: float
    diarize_s: float | None
    private: PrivateResult | None = None


def tells_speakers_apart(options: TranscribeOptions) -> bool:
    """Whether diarization runs; in a transcript by channels the channels are the speakers."""
    return options.diarize and options.channels is ChannelMode.MIX


class Recognize(Protocol[T_co]):
    """`WorkerPool.recognize`, or its sister that answers sealed."""

    async def __call__(self, request: RecognizeRequest, pcm_fd: int, on_event: OnEvent, *, alone: bool = False) -> T_co: ...


@dataclass
class Assignment:
    """What the runner needs to know of a job, and what it keeps up to date."""

    label: str  # for the workers' messages; not a name
    upload: Upload
    options: TranscribeOptions
    models: tuple[Model, ...]
    priority: Priority
    feed: Feed
    meter: Meter
    describe: Callable[[Recording], Awaitable[None]]  # called once the recording is decoded
    private: PrivateJob | None = None
    known_voices: tuple[KnownVoice, ...] = ()
    needs_speakers: bool = False
    deaths: int = 0  # of workers that were recognising this
    detect_s: float | None = None  # voice detection, of all models together
    _heard_at: float | None = None  # first news of the recognition that runs now
    _words_at: float | None = None  # first news of its words
    _diarized_at: float | None = None  # first news of the diarization

    def show(self) -> None:
        self.feed.advance(self.meter.progress())

    def recognition_events(self, number: int) -> Callable[[EngineEvent], None]:
        """What to do with the events of one model, from now on. Segments are shown of the first only."""
        self._heard_at = self._words_at = None

        def on_event(event: EngineEvent) -> None:
            if isinstance(event, EngineProgress):
                self._note_time(event.stage)
                self.meter.recognizing(number, event.stage, event.fraction)
                self.show()
            elif number == 0 and self.private is None:
                self.feed.add(event.segments)

        return on_event

    def on_diarization(self, event: EngineEvent) -> None:
        if isinstance(event, EngineProgress):
            self._diarized_at = self._diarized_at or time.monotonic()
            self.meter.diarizing(event.fraction)
            self.show()

    def start_over(self, number: int) -> None:
        self.meter.start_over(number)
        if number == 0:
            self.feed.start_over()
        self.show()

    def recognition_s(self, begun: float) -> float:
        """Seconds of the last recognition; not counting, where it told anything, that a model had to be loaded first."""
        return time.monotonic() - (self._heard_at or begun)

    def diarization_s(self, begun: float) -> float:
        """As `recognition_s`; here it is a process that may have had to start."""
        return time.monotonic() - (self._diarized_at or begun)

    def _note_time(self, stage: Stage) -> None:
        now = time.monotonic()
        self._heard_at = self._heard_at or now
        if stage is Stage.RECOGNIZE and self._words_at is None:
            self._words_at = now
            self.detect_s = (self.detect_s or 0.0) + now - self._heard_at


class Room:
    """Lets a job wait for memory while others run that will free theirs."""

    def __init__(self) -> None:
        self._working = 0
        self._freed = asyncio.Event()

    @contextlib.contextmanager
    def work(self) -> Iterator[None]:
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            self._freed.set()
            self._freed = asyncio.Event()

    async def wait(self) -> bool:
        """Until another job has ended; False at once when there is no other, and waiting would be for ever."""
        if self._working <= 1:
            return False
        self._working -= 1
        try:
            await self._freed.wait()
        finally:
            self._working += 1
        return True


class Runner:
    def __init__(self, settings: Settings, pool: WorkerPool, shelf: Shelf, budget: MemoryBudget, speeds: Speeds) -> None:
        self._settings = settings
        self._pool = pool
        self._shelf = shelf
        self._budget = budget
        self._speeds = speeds
        self._decoders = asyncio.Semaphore(settings.decode_children)
        self._room = Room()
        self._limits = DecodeLimits(settings.max_audio_hours * 3600, settings.decode_memory_bytes, settings.decode_cpu_s)

    async def run(self, job: Assignment) -> Heard:
        """Takes the upload over; when this ends, in whatever way, no audio of the job is left. Raises `ApplianceError`."""
        with self._room.work(), contextlib.closing(job.upload):
            if tells_speakers_apart(job.options):
                self._pool.prepare(Role.DIARIZE)
            voices = await self._with_room(lambda: self._read_voices(job)) if job.known_voices else ()
            pcm, decode_s = await self._with_room(lambda: self._decode(job))
            with contextlib.closing(pcm):
                job.upload.close()  # the samples are all that is needed now
                self._speeds.learn_decode(decode_s, pcm.layout.duration)
                return await self._hear(job, pcm, voices, decode_s)

    # --- decoding -----------------------------------------------------------------------------------------------------

    async def _with_room(self, decoding: Callable[[], Awaitable[T]]) -> T:
        """What `decoding` returns. When the memory is full of other jobs, it waits: this one was accepted.

        The last one that works tries once more, since those that wait have just given back what they had begun.
        """
        was_last = False
        while True:
            try:
                async with self._decoders:
                    return await decoding()
            except MemoryFull:
                is_last = not await self._room.wait()
                if is_last and was_last:
                    raise
                was_last = is_last

    async def _read_voices(self, job: Assignment) -> tuple[VoiceSample, ...]:
        return await read_samples(job.known_voices, self._budget, self._limits)

    async def _decode(self, job: Assignment) -> tuple[Pcm, float]:
        """The samples, and the seconds it took."""

        def on_fraction(fraction: float) -> None:
            job.meter.decoding(fraction)
            job.show()

        options, begun = job.options, time.monotonic()
        pcm = await decode(
            job.upload.file,
            self._budget,
            self._limits,
            channels=options.channels,
            audio_track=options.audio_track,
            on_fraction=on_fraction,
        )
        return pcm, time.monotonic() - begun

    # --- hearing ------------------------------------------------------------------------------------------------------

    async def _hear(self, job: Assignment, pcm: Pcm, voices: tuple[VoiceSample, ...], decode_s: float) -> Heard:
        """Recognition and diarization beside each other; whatever ends this ends both."""
        recording = _describe(job.upload, pcm)
        await job.describe(recording)
        job.meter.decoded(pcm.layout.duration)
        job.show()
        diarizing = asyncio.create_task(self._diarize(job, pcm, voices)) if tells_speakers_apart(job.options) else None
        try:
            begun = time.monotonic()
            if job.private:
                return await self._hear_privately(job, job.private, pcm, diarizing, recording=recording, decode_s=decode_s)
            transcripts = [await self._recognize(job, pcm, n) for n in range(len(job.models))]
            recognize_s = time.monotonic() - begun
            diarized = await diarizing if diarizing else None
        finally:
            if diarizing:
                diarizing.cancel()
                await asyncio.wait({diarizing})
        found = diarized.found if diarized else None
        return Heard(
            recording=recording,
            transcripts=await asyncio.to_thread(join, transcripts, found, _cautions(pcm, diarized)),
            decode_s=decode_s,
            detect_s=job.detect_s,
            recognize_s=recognize_s,
            diarize_s=diarized.seconds if diarized else None,
        )

    async def _hear_privately(
        self,
        job: Assignment,
        private: PrivateJob,
        pcm: Pcm,
        diarizing: asyncio.Task[Diarized] | None,
        *,
        recording: Recording,
        decode_s: float,
    ) -> Heard:
        """The words go sealed from the worker to the joining child: none of them is ever a value of this process."""
        begun = time.monotonic()
        async with start_joiner() as joiner:
            sealed = await self._recognize_sealed(job, pcm, joiner)
            recognize_s = time.monotonic() - begun
            diarized = await diarizing if diarizing else None
            record = replace(private.record, recording=recording)
            found = diarized.found if diarized else None
            result = await joiner.join(join_order(sealed, found, _cautions(pcm, diarized), record, private.privacy))
        return Heard(
            recording=recording,
            transcripts=(),
            decode_s=decode_s,
            detect_s=job.detect_s,
            recognize_s=recognize_s,
            diarize_s=diarized.seconds if diarized else None,
            private=result,
        )

    async def _recognize(self, job: Assignment, pcm: Pcm, number: int) -> Transcript:
        """One model's transcript."""
        request = await self._request(job, pcm, job.models[number])
        return await self._persistently(self._pool.recognize, request, job, pcm, number)

    async def _recognize_sealed(self, job: Assignment, pcm: Pcm, joiner: Joiner) -> Sealed:
        request = replace(await self._request(job, pcm, job.models[0]), seal_to=joiner.public_key)
        return await self._persistently(self._pool.recognize_sealed, request, job, pcm, 0)

    async def _request(self, job: Assignment, pcm: Pcm, model: Model) -> RecognizeRequest:
        return RecognizeRequest(
            job_id=job.label,
            model=model.id,
            model_dir=await asyncio.to_thread(self._shelf.path, model.id),
            options=replace(job.options, model=model.id),
            pcm=pcm.layout,
            priority=_URGENCY[job.priority],
        )

    async def _persistently(self, recognize: Recognize[T], request: RecognizeRequest, job: Assignment, pcm: Pcm, number: int) -> T:
        """A recording that brought workers down twice gets one for itself, so that no other suffers."""
        while True:
            begun = time.monotonic()
            try:
                alone = job.deaths >= MAX_RECOGNITION_DEATHS - 1
                heard = await recognize(request, pcm.file.fd, job.recognition_events(number), alone=alone)
            except WorkerDied as died:
                job.deaths += 1
                log.warning("a worker died (%s) while it recognised job %s, for the %d. time", died.reason, job.label, job.deaths)
                if job.deaths >= MAX_RECOGNITION_DEATHS:
                    raise DeviceOutOfMemory if died.out_of_memory else WorkerCrashed(job.deaths) from died
                job.start_over(number)
            else:
                self._speeds.learn_recognize(request.model, job.recognition_s(begun), pcm.layout.duration)
                return heard

    async def _diarize(self, job: Assignment, pcm: Pcm, voices: tuple[VoiceSample, ...]) -> Diarized:
        """Whatever goes wrong here, the words are kept. Raises `InvalidField` for what was asked wrongly.

        Raises `DiarizationFailed` where words without speakers are no result.
        """
        begun = time.monotonic()
        try:
            found = await self._diarize_again(job, pcm, voices)
        except InvalidField:
            raise
        except ApplianceError as error:
            log.warning("job %s has no speakers: %s", job.label, error.message)
            found, reason = None, error.message
        except Exception:  # this part of the job ends here, the other goes on
            log.exception("job %s has no speakers", job.label)
            found, reason = None, "an unexpected error, see the log of the appliance."
        else:
            self._speeds.learn_diarize(job.diarization_s(begun), pcm.layout.duration)
            reason = ""
        if found is None and job.needs_speakers:
            raise DiarizationFailed(reason)
        job.meter.diarizing(1.0)
        job.show()
        return Diarized(found, time.monotonic() - begun, reason)

    async def _diarize_again(self, job: Assignment, pcm: Pcm, voices: tuple[VoiceSample, ...]) -> Diarization:
        """The last attempt is alone: a worker that dies takes those with it that only wait in it for their turn."""
        model_dir = await asyncio.to_thread(self._shelf.path, self._settings.diarization_model)
        request = DiarizeRequest(job.label, model_dir, job.options.speakers, pcm.layout, voices)
        for death in range(1, MAX_DIARIZATION_DEATHS + 1):
            try:
                alone = death == MAX_DIARIZATION_DEATHS
                return await self._pool.diarize(request, pcm.file.fd, job.on_diarization, alone=alone)
            except WorkerDied as died:
                log.warning("a worker died (%s) while it diarized job %s, for the %d. time", died.reason, job.label, death)
        raise WorkerCrashed(MAX_DIARIZATION_DEATHS)


class Diarized(Value, frozen=True):
    found: Diarization | None  # None: it failed, for this reason
    seconds: float
    reason: str


def _describe(upload: Upload, pcm: Pcm) -> Recording:
    return Recording(
        filename=upload.filename,
        size_bytes=upload.size_bytes,
        sha256=upload.sha256,
        duration=pcm.layout.duration,
        container=pcm.media.container,
        codec=pcm.media.codec,
        sample_rate_hz=pcm.media.sample_rate_hz,
        channels=pcm.media.channels,
        audio_tracks=pcm.media.audio_tracks,
    )


def _cautions(pcm: Pcm, diarized: Diarized | None) -> tuple[Caution, ...]:
    cautions = []
    if pcm.media.truncated:
        cautions.append(Caution("truncated_media", "The file is damaged or cut off; this is the part that could be read."))
    if diarized and diarized.found is None:
        cautions.append(Caution("diarization_failed", f"The speakers could not be told apart: {diarized.reason}"))
    return tuple(cautions)
