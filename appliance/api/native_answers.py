"""What the native dialect answers with: one value per JSON object, and how each is made from the domain's values."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import UNSET, UnsetType, structs

from appliance.domain import (
    Caution,
    Failure,
    JobState,
    Progress,
    Recording,
    Segment,
    Speaker,
    TranscribeOptions,
    Transcript,
    TranscriptRecord,
    Value,
    Word,
)
from appliance.jobs import Timings
from appliance.jobs.compare import Comparison, compare


class WordAnswer(Value, frozen=True):
    word: str
    start: float
    end: float
    probability: float
    speaker: str | None
    space_before: bool  # whether a space stands before it in the text


class EvidenceAnswer(Value, frozen=True):
    """What the decoder thought of a segment; only in `verbose_json`."""

    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class SegmentAnswer(Value, frozen=True):
    id: int
    start: float
    end: float
    text: str
    speaker: str | None  # a label of `speakers`
    speaker_name: str | None  # what a person called them
    language: str | None
    channel: int | None
    words: tuple[WordAnswer, ...] | UnsetType = UNSET  # absent when word times were not asked for
    evidence: EvidenceAnswer | UnsetType = UNSET


class SpeakerAnswer(Value, frozen=True):
    label: str
    name: str | None


class WarningAnswer(Value, frozen=True):
    """Doubt that the reader should know of, with its place where it has one."""

    code: str
    message: str
    start: float | None
    end: float | None


class VersionAnswer(Value, frozen=True):
    """The result of one of several compared models."""

    model: str
    text: str
    language: str
    segments: tuple[SegmentAnswer, ...]
    speakers: tuple[SpeakerAnswer, ...]
    warnings: tuple[WarningAnswer, ...]


class FailureAnswer(Value, frozen=True):
    error: str
    code: str
    hint: str


class ProgressAnswer(Value, frozen=True):
    stage: str | None  # decode, detect, recognize, diarize, save
    fraction: float  # 0..1, never falling
    eta_s: float | None
    queue_position: int | None  # from 1, while waiting


class SummaryAnswer(Value, frozen=True):
    """A transcript in a list: everything but its text."""

    id: int
    slug: str
    title: str
    status: JobState
    model: str
    models: tuple[str, ...]
    duration: float | None
    filename: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    revision: int
    priority: str
    workspace: str | None  # id; null: its owner's own
    private: bool  # its text is not here: see …/private/
    progress: ProgressAnswer | None  # while queued or processing
    failure: FailureAnswer | None


class TranscriptAnswer(SummaryAnswer, frozen=True):
    """The whole transcript. Until it is completed `text` and what belongs to it are null or empty."""

    text: str | None
    language: str | None
    language_probability: float | None
    languages: tuple[str, ...]
    task: str
    segments: tuple[SegmentAnswer, ...]
    speakers: tuple[SpeakerAnswer, ...]
    warnings: tuple[WarningAnswer, ...]
    recording: Recording
    options: TranscribeOptions
    alternatives: tuple[VersionAnswer, ...] | UnsetType = UNSET  # of the other models, when several were compared
    comparison: Comparison | UnsetType = UNSET  # word by word, the others against the first
    erase_after: datetime | UnsetType | None = UNSET  # when a retention rule erases it; null: it is kept
    timings: Timings | UnsetType = UNSET  # only in the answer to the upload
    srt: str | UnsetType = UNSET  # the rendered document, when `response_format` asked for it
    vtt: str | UnsetType = UNSET


def words_of(words: Iterable[Word]) -> tuple[WordAnswer, ...]:
    return tuple(WordAnswer(w.text, w.start, w.end, w.probability, w.speaker, w.space_before) for w in words)


def segment_answer(segment: Segment, names: dict[str, str | None], *, verbose: bool = False) -> SegmentAnswer:
    return SegmentAnswer(
        id=segment.id,
        start=segment.start,
        end=segment.end,
        text=segment.text,
        speaker=segment.speaker,
        speaker_name=names.get(segment.speaker or ""),
        language=segment.language,
        channel=segment.channel,
        words=words_of(segment.words) if segment.words else UNSET,
        evidence=_evidence(segment) if verbose else UNSET,
    )


def _evidence(segment: Segment) -> EvidenceAnswer:
    return EvidenceAnswer(segment.temperature, segment.avg_logprob, segment.compression_ratio, segment.no_speech_prob)


def segments_of(transcript: Transcript, *, verbose: bool = False) -> tuple[SegmentAnswer, ...]:
    names = {speaker.label: speaker.name for speaker in transcript.speakers}
    return tuple(segment_answer(segment, names, verbose=verbose) for segment in transcript.segments)


def speakers_of(speakers: Iterable[Speaker]) -> tuple[SpeakerAnswer, ...]:
    return tuple(SpeakerAnswer(speaker.label, speaker.name) for speaker in speakers)


def warnings_of(cautions: Iterable[Caution]) -> tuple[WarningAnswer, ...]:
    return tuple(WarningAnswer(c.code, c.message, c.start, c.end) for c in cautions)


def version_answer(transcript: Transcript) -> VersionAnswer:
    return VersionAnswer(
        model=transcript.model,
        text=transcript.text,
        language=transcript.language,
        segments=segments_of(transcript),
        speakers=speakers_of(transcript.speakers),
        warnings=warnings_of(transcript.warnings),
    )


def failure_answer(failure: Failure | None) -> FailureAnswer | None:
    return None if failure is None else FailureAnswer(failure.message, failure.code, failure.hint)


def progress_answer(progress: Progress) -> ProgressAnswer:
    return ProgressAnswer(progress.stage, round(progress.fraction, 4), progress.eta_s, progress.queue_position)


def summary_answer(record: TranscriptRecord, progress: Progress | None) -> SummaryAnswer:
    """`progress` is the running job's, which knows better than the stored state; None when there is none."""
    live = progress is not None and not progress.state.is_final
    return SummaryAnswer(
        id=record.id,
        slug=record.slug,
        title=record.title,
        status=progress.state if progress is not None and live else record.state,
        model=record.models[0],
        models=record.models,
        duration=record.recording.duration,
        filename=record.recording.filename,
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        revision=record.revision,
        priority=record.priority,
        workspace=record.owner if record.owner.startswith("workspace_") else None,
        private=record.private,
        progress=progress_answer(progress) if progress is not None and live else None,
        failure=failure_answer(record.failure),
    )


def transcript_answer(record: TranscriptRecord, progress: Progress | None = None, *, verbose: bool = False) -> TranscriptAnswer:
    """Takes seconds for several long versions that differ much: not on the event loop."""
    transcript = record.transcript
    return TranscriptAnswer(
        **structs.asdict(summary_answer(record, progress)),
        text=transcript.text if transcript else None,
        language=transcript.language if transcript else None,
        language_probability=transcript.language_probability if transcript else None,
        languages=transcript.languages if transcript else (),
        task=record.options.task,
        segments=segments_of(transcript, verbose=verbose) if transcript else (),
        speakers=speakers_of(transcript.speakers) if transcript else (),
        warnings=warnings_of(transcript.warnings) if transcript else (),
        recording=record.recording,
        options=record.options,
        alternatives=tuple(map(version_answer, record.alternatives)) or UNSET,
        comparison=compare(transcript, record.alternatives) if transcript and record.alternatives else UNSET,
    )
