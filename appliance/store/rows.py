"""How values become rows and rows values again; no SQL of its own and no decisions.

Words and decoder evidence of a segment are one msgpack blob each: an hour of speech is about 10,000 words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from appliance.domain import (
    Caution,
    Failure,
    JobState,
    Priority,
    Recording,
    Segment,
    Speaker,
    TranscribeOptions,
    Transcript,
    TranscriptRecord,
    Word,
)

WordRow = tuple[float, float, str, float, str | None, bool]
Evidence = tuple[tuple[int, ...], int, float, float, float, float]

_pack = msgspec.msgpack.Encoder().encode
_words: Final = msgspec.msgpack.Decoder(list[WordRow])
_evidence: Final = msgspec.msgpack.Decoder(Evidence)
_recording: Final = msgspec.json.Decoder(Recording)
_options: Final = msgspec.json.Decoder(TranscribeOptions)
_names: Final = msgspec.json.Decoder(tuple[str, ...])
_failure: Final = msgspec.json.Decoder(Failure)
_speakers: Final = msgspec.json.Decoder(tuple[Speaker, ...])
_warnings: Final = msgspec.json.Decoder(tuple[Caution, ...])
Row = dict[str, Any]


def json_text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def now() -> datetime:
    return datetime.now(UTC)


def time_text(moment: datetime) -> str:
    """UTC with microseconds always: sorts as text."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def read_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def read_options(text: str) -> TranscribeOptions:
    return _options.decode(text)


def read_failure(text: str | None) -> Failure | None:
    return None if text is None else _failure.decode(text)


def read_record(row: Row, transcripts: Sequence[Transcript] = ()) -> TranscriptRecord:
    return TranscriptRecord(
        id=row["id"],
        slug=row["slug"],
        owner=row["owner"],
        title=row["title"],
        recording=_recording.decode(row["recording"]),
        options=_options.decode(row["options"]),
        models=_names.decode(row["models"]),
        priority=Priority(row["priority"]),
        state=JobState(row["state"]),
        created_at=datetime.fromisoformat(row["created_at"]),
        started_at=read_time(row["started_at"]),
        finished_at=read_time(row["finished_at"]),
        failure=read_failure(row["failure"]),
        revision=row["revision"],
        transcript=transcripts[0] if transcripts else None,
        alternatives=tuple(transcripts[1:]),
    )


def result_row(transcript_id: int, variant: int, transcript: Transcript) -> tuple[object, ...]:
    return (
        transcript_id,
        variant,
        transcript.model,
        transcript.task,
        transcript.text,
        transcript.language,
        transcript.language_probability,
        json_text(transcript.languages),
        transcript.duration,
        json_text(transcript.speakers),
        json_text(transcript.warnings),
    )


def read_result(row: Row, segments: Iterable[Row]) -> Transcript:
    return Transcript(
        text=row["text"],
        language=row["language"],
        language_probability=row["language_probability"],
        languages=_names.decode(row["languages"]),
        duration=row["duration"],
        model=row["model"],
        segments=tuple(read_segment(segment) for segment in segments),
        speakers=read_speakers(row["speakers"]),
        warnings=_warnings.decode(row["warnings"]),
        task=row["task"],
    )


def read_speakers(text: str) -> tuple[Speaker, ...]:
    return _speakers.decode(text)


def segment_row(transcript_id: int, variant: int, segment: Segment) -> tuple[object, ...]:
    return (
        transcript_id,
        variant,
        segment.id,
        segment.start,
        segment.end,
        segment.text,
        segment.speaker,
        segment.language,
        segment.channel,
        pack_words(segment.words),
        _pack(
            (
                segment.tokens,
                segment.seek,
                segment.temperature,
                segment.avg_logprob,
                segment.compression_ratio,
                segment.no_speech_prob,
            )
        ),
    )


def pack_words(words: Iterable[Word]) -> bytes:
    return _pack([(word.start, word.end, word.text, word.probability, word.speaker, word.space_before) for word in words])


def read_segment(row: Row) -> Segment:
    tokens, seek, temperature, avg_logprob, compression_ratio, no_speech_prob = _evidence.decode(row["evidence"])
    return Segment(
        id=row["n"],
        start=row["start"],
        end=row["end"],
        text=row["text"],
        words=tuple(Word(*word) for word in _words.decode(row["words"])),
        speaker=row["speaker"],
        language=row["language"],
        channel=row["channel"],
        tokens=tokens,
        seek=seek,
        temperature=temperature,
        avg_logprob=avg_logprob,
        compression_ratio=compression_ratio,
        no_speech_prob=no_speech_prob,
    )
