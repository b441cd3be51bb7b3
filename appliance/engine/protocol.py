"""What the engine offers: requests and results as values, and the interfaces every backend implements.

A backend file (`whisper.py`, `pyannote.py`) imports only this, `domain` and its own library. It runs in a worker
process; the API process sees the same values through `pool.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from appliance.audio.pcm import PcmLayout
from appliance.domain import Segment, SpeakerCount, Stage, TranscribeOptions, Turn, Value

if TYPE_CHECKING:  # numpy is heavy, and the API process imports this file
    import numpy as np
    from numpy.typing import NDArray


# For the environment of a worker that recognises on a CPU; glibc reads it when the process starts. Decoding allocates and
# frees tens of MiB per step: with huge pages, and freed memory kept up to 256 MiB, it takes a quarter less processor time.
CPU_WORKER_ENVIRONMENT = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=268435456:glibc.malloc.trim_threshold=268435456"
}


class Role(StrEnum):
    """What a worker process does: the two run beside each other, and one may die without the other."""

    RECOGNIZE = "recognize"
    DIARIZE = "diarize"


class Capabilities(Value, frozen=True):
    """What a recognition backend can do with one model; requests beyond it are refused, never ignored."""

    languages: tuple[str, ...]  # ISO 639-1
    translation: bool


class RecognizeRequest(Value, frozen=True):
    job_id: str
    model: str  # catalogue id, for the result
    model_dir: Path
    options: TranscribeOptions
    pcm: PcmLayout
    priority: int = 0  # smaller goes first
    seal_to: bytes = b""  # a public key: the result leaves the worker sealed to it, and no word is told before


class Sealed(Value, frozen=True):
    """A packed `Transcript` that only the holder of the private key can read."""

    content: bytes


class VoiceSample(Value, frozen=True):
    """How a person sounds whose name is known."""

    name: str
    pcm: bytes  # int16, 16 kHz, mono, some seconds


class DiarizeRequest(Value, frozen=True):
    job_id: str
    model_dir: Path
    speakers: SpeakerCount
    pcm: PcmLayout  # one channel
    voices: tuple[VoiceSample, ...] = ()  # to be recognised among the speakers


class Diarization(Value, frozen=True):
    turns: tuple[Turn, ...]  # may overlap; ordered by start
    exclusive: tuple[Turn, ...]  # one speaker at a time; what words are assigned to
    names: Mapping[str, str] = {}  # of the turns' speakers, those whose voice is like one of the samples


class EngineProgress(Value, frozen=True, tag="progress"):
    """Work done so far on one job by one role."""

    job_id: str
    stage: Stage
    fraction: float  # of this role's work, 0..1


class SegmentsDecided(Value, frozen=True, tag="segments"):
    """Segments that are ready to show; ids may still change, speakers are not known yet."""

    job_id: str
    segments: tuple[Segment, ...]


EngineEvent = EngineProgress | SegmentsDecided
OnEvent = Callable[[EngineEvent], None]


class StopCheck(Protocol):
    """Raises `Cancelled` when the job is no longer wanted; called at least once per batch."""

    def __call__(self) -> None: ...


class Diarizer(Protocol):
    """Who spoke when. Loaded once per process; not thread-safe."""

    def diarize(
        self,
        samples: NDArray[np.int16],
        speakers: SpeakerCount,
        on_fraction: Callable[[float], None],
        check: StopCheck,
        *,
        voices: Sequence[VoiceSample] = (),
    ) -> Diarization: ...


class Window(Value, frozen=True):
    """A stretch of one channel to decode in one go, at most 30 s."""

    start: float
    end: float
    language: str | None = None


class DecodedWindow(Value, frozen=True):
    """What a recognition backend heard in one window, with the evidence for the guard."""

    window: Window
    language: str
    segments: tuple[Segment, ...]  # times from the start of the recording
    temperature: float
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    language_probabilities: Mapping[str, float] = {}  # empty when the language was given
