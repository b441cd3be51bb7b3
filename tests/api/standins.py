"""What stands in for the engine where HTTP is the subject: a pool that says the same two sentences about every recording."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from appliance.crypto.sealing import WORKER_INFO, seal
from appliance.domain import Segment, Stage, Transcript, Turn, Word
from appliance.engine.gpu import Device, DeviceChoice
from appliance.engine.pool import WorkerPool, WorkerState, WorkerStatus
from appliance.engine.protocol import (
    Diarization,
    DiarizeRequest,
    EngineProgress,
    OnEvent,
    RecognizeRequest,
    Role,
    Sealed,
    SegmentsDecided,
)
from appliance.engine.wire import pack

SENTENCES = (("Good", "morning."), ("Who", "is", "there?"))
HOLD = "hold"  # a prompt that keeps the work waiting until `release` is called


def sentence(number: int, words: tuple[str, ...], start: float, end: float) -> Segment:
    step = (end - start) / len(words)
    spoken = tuple(
        Word(start=start + i * step, end=start + (i + 1) * step, text=word, probability=0.9 - i / 10)
        for i, word in enumerate(words)
    )
    return Segment(
        id=number,
        start=start,
        end=end,
        text=" ".join(words),
        words=spoken,
        language="en",
        tokens=(50364, 1042, 2446, 50464),
        avg_logprob=-0.2,
        compression_ratio=1.1,
        no_speech_prob=0.01,
    )


class TwoSentences(WorkerPool):
    """Obeys the pool's contract without processes; `held` counts recordings that wait for `release`."""

    def __init__(self) -> None:
        self.devices = DeviceChoice(devices=(Device(kind="cpu", name="a stand-in"),), reason="tests")
        self.requests: list[RecognizeRequest] = []
        self.diarizations: list[DiarizeRequest] = []
        self.models: tuple[str, ...] = ()
        self.warm_model: Path | None = None
        self._released = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.holding = threading.Semaphore(0)
        self.cancelled = threading.Semaphore(0)

    def release(self) -> None:
        """From a test's thread: let what is held go on."""
        self._loop.call_soon_threadsafe(self._released.set)

    def forget(self) -> None:
        """What earlier tests did."""
        self._loop.call_soon_threadsafe(self._released.clear)
        self.requests.clear()
        self.diarizations.clear()
        self.holding = threading.Semaphore(0)
        self.cancelled = threading.Semaphore(0)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def prepare(self, role: Role) -> None: ...

    def check_usable(self) -> None: ...

    async def warm(self, model_dir: Path, role: Role = Role.RECOGNIZE) -> None:
        self.models = (*self.models, model_dir.name)

    async def recognize(self, request: RecognizeRequest, pcm_fd: int, on_event: OnEvent, *, alone: bool = False) -> Transcript:
        self.requests.append(request)
        half = request.pcm.duration / 2
        segments = tuple(sentence(n, words, n * half, (n + 1) * half) for n, words in enumerate(SENTENCES))
        on_event(SegmentsDecided(job_id=request.job_id, segments=segments[:1]))
        on_event(EngineProgress(job_id=request.job_id, stage=Stage.RECOGNIZE, fraction=0.5))
        if request.options.initial_prompt == HOLD:
            await self._hold()
        on_event(SegmentsDecided(job_id=request.job_id, segments=segments[1:]))
        return Transcript(
            text=" ".join(segment.text for segment in segments),
            language=request.options.language or "en",
            language_probability=0.98,
            languages=(request.options.language or "en",),
            duration=request.pcm.duration,
            model=request.model,
            segments=segments,
            task=request.options.task,
        )

    async def recognize_sealed(self, request: RecognizeRequest, pcm_fd: int, on_event: OnEvent, *, alone: bool = False) -> Sealed:
        transcript = await self.recognize(request, pcm_fd, on_event, alone=alone)
        return Sealed(seal(pack(transcript), request.seal_to, WORKER_INFO))

    async def _hold(self) -> None:
        self.holding.release()
        try:
            await self._released.wait()
        except asyncio.CancelledError:
            self.cancelled.release()
            raise

    async def diarize(self, request: DiarizeRequest, pcm_fd: int, on_event: OnEvent, *, alone: bool = False) -> Diarization:
        self.diarizations.append(request)
        half = request.pcm.duration / 2
        turns = (
            Turn(start=0.0, end=half, speaker="SPEAKER_00"),
            Turn(start=half, end=request.pcm.duration, speaker="SPEAKER_01"),
        )
        names = {f"SPEAKER_{n:02d}": voice.name for n, voice in enumerate(reversed(request.voices), 2 - len(request.voices))}
        return Diarization(turns=turns, exclusive=turns, names=names)

    def status(self) -> tuple[WorkerStatus, ...]:
        return (
            WorkerStatus(
                role=Role.RECOGNIZE,
                device="cpu",
                state=WorkerState.READY,
                pid=None,
                calls=0,
                restarts=0,
                out_of_memory=0,
                batches=3,
                windows=7,
                batch_s=1.5,
                batch_sizes=((1, 1), (3, 2)),
                models=self.models,
                warm=self.warm_model,
            ),
        )
