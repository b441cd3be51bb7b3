"""The words of the domain, as frozen values.

Times are seconds from the start of the recording; probabilities lie in 0..1. Nothing here knows about HTTP, SQL,
processes or models.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

import msgspec

Task = Literal["transcribe", "translate"]


class Value(msgspec.Struct, frozen=True):
    """Base of every value that crosses a process or module boundary."""


class Span(Value, frozen=True):
    start: float
    end: float

    @property
    def duration(self) -> float:
        return self.end - self.start


class Word(Value, frozen=True):
    start: float
    end: float
    text: str  # as spoken, with its punctuation, without surrounding space
    probability: float
    speaker: str | None = None  # a Speaker.label
    space_before: bool = True  # False in scripts without spaces, and inside hyphenated words


class Segment(Value, frozen=True):
    """A stretch of speech by one speaker in one language, about a sentence long."""

    id: int  # position in the transcript, from 0
    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()  # empty when word times were not asked for
    speaker: str | None = None
    language: str | None = None
    channel: int | None = None  # from 0; only in per-channel transcripts
    # Evidence of the decoder, for the guard, the editor and OpenAI's verbose_json:
    tokens: tuple[int, ...] = ()
    seek: int = 0  # start of the decoded window, in frames of 10 ms
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0


class Turn(Value, frozen=True):
    """One speaker talking, as the diarizer heard it; turns may overlap."""

    start: float
    end: float
    speaker: str


class Speaker(Value, frozen=True):
    label: str  # "SPEAKER_00", stable inside one transcript
    name: str | None = None  # what a person called them


class Caution(Value, frozen=True):
    """Doubt that the reader should know of; called a `warning` on every interface.

    Codes: `speech_without_words` (heard, nothing recognised), `possible_hallucination`, `repetition`, `low_confidence`,
    `language_uncertain`, `diarization_failed`, `truncated_media`, `silence` (no speech at all), `channel_silent`,
    `single_channel` (separate channels were asked for, the recording has one), `prompt_truncated`.
    """

    code: str
    message: str
    start: float | None = None
    end: float | None = None


class Transcript(Value, frozen=True):
    """The result of one recording by one model."""

    text: str
    language: str  # the main one, ISO 639-1; "und" when there was no speech
    language_probability: float
    languages: tuple[str, ...]  # all that were spoken, most spoken first
    duration: float
    model: str
    segments: tuple[Segment, ...]
    speakers: tuple[Speaker, ...] = ()
    warnings: tuple[Caution, ...] = ()
    task: Task = "transcribe"


class ChannelMode(StrEnum):
    MIX = "mix"  # all channels into one
    SEPARATE = "separate"  # each channel is its own speaker: a stereo telephone call


class SpeakerCount(Value, frozen=True):
    """How many people speak: all None means detect."""

    exact: int | None = None
    at_least: int | None = None
    at_most: int | None = None


class TranscribeOptions(Value, frozen=True):
    """What a caller may ask of one transcription; every dialect is translated into this."""

    model: str
    language: str | None = None  # None: detect
    allowed_languages: tuple[str, ...] = ()  # detection chooses among these; empty: any
    task: Task = "transcribe"
    word_timestamps: bool = True
    diarize: bool = False
    speakers: SpeakerCount = SpeakerCount()
    channels: ChannelMode = ChannelMode.MIX
    audio_track: int | None = None  # index among a video's audio tracks; None: the default one
    hotwords: tuple[str, ...] = ()
    initial_prompt: str | None = None
    temperature: float | None = None  # None: 0, and the fallback ladder where the guard wants it
    voice_activity: bool = True  # False: decode everything, silence included
    vad_threshold: float | None = None
    vad_min_silence_ms: int | None = None
    vad_speech_pad_ms: int | None = None
    private: bool = False  # no word of the result is told or stored in the clear


class JobState(StrEnum):
    QUEUED = "queued"  # accepted, its audio in memory, waiting for a place
    PROCESSING = "processing"  # being decoded, recognised, diarized or saved
    COMPLETED = "completed"  # the transcript is saved
    FAILED = "failed"  # ended with an error code; the audio is gone
    CANCELLED = "cancelled"  # a person asked for it
    INTERRUPTED = "interrupted"  # the appliance stopped while it ran; send it again

    @property
    def is_final(self) -> bool:
        return self not in (JobState.QUEUED, JobState.PROCESSING)


class Stage(StrEnum):
    """What a processing job is doing; recognition and diarization overlap, the slower one is shown."""

    DECODE = "decode"
    DETECT = "detect"  # voice activity and language
    RECOGNIZE = "recognize"
    DIARIZE = "diarize"
    SAVE = "save"


class Priority(StrEnum):
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Progress(Value, frozen=True):
    """Where a job stands. `fraction` never falls while a job runs."""

    state: JobState
    stage: Stage | None = None
    fraction: float = 0.0
    eta_s: float | None = None  # None while unknown
    queue_position: int | None = None  # from 1, only while queued


class Failure(Value, frozen=True):
    """Why a job failed, as it is shown and stored: the facts of an `ApplianceError`."""

    code: str
    message: str
    hint: str
    status: int


class Recording(Value, frozen=True):
    """What is known about the file that was sent; the file itself is never kept."""

    filename: str
    size_bytes: int
    sha256: str
    duration: float | None = None  # unknown until decoded
    container: str | None = None  # "mp3", "mov,mp4,m4a"
    codec: str | None = None
    sample_rate_hz: int | None = None
    channels: int | None = None
    audio_tracks: int | None = None


class TranscriptRecord(Value, frozen=True):
    """One accepted recording and, once completed, what was said in it."""

    id: int
    slug: str  # unguessable; addresses the transcript like the id
    owner: str  # id of a person, a workspace, or a site key that sent it
    title: str
    recording: Recording
    options: TranscribeOptions
    models: tuple[str, ...]  # more than one when models are compared
    priority: Priority
    state: JobState
    created_at: datetime  # UTC
    started_at: datetime | None = None
    finished_at: datetime | None = None
    failure: Failure | None = None
    revision: int = 0  # counts edits; an edit names the revision it was made on
    transcript: Transcript | None = None  # None until completed, and in lists
    alternatives: tuple[Transcript, ...] = ()  # of the other compared models

    @property
    def private(self) -> bool:
        """Its text is not in the store, but in an envelope that only a browser can open."""
        return self.options.private
