"""Transcripts in the shapes of OpenAI's audio API. Pure: a transcript in, what is sent as JSON or text out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from appliance.api.language_names import language_name
from appliance.domain import Segment, Transcript, Word
from appliance.export import render_segments

Json = dict[str, Any]

MEDIA_TYPES = {
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}
_LEAST_PROBABILITY = 1e-9


def usage(duration_s: float) -> Json:
    return {"type": "duration", "seconds": round(duration_s, 3)}


def render_document(transcript: Transcript, response_format: str) -> str:
    match response_format:
        case "srt":
            return render_segments(transcript.segments, "srt")
        case "vtt":
            return render_segments(transcript.segments, "vtt")
    return f"{transcript.text}\n"


def plain_json(transcript: Transcript, *, logprobs: bool = False) -> Json:
    answer: Json = {
        "text": transcript.text,
        "languages": [{"code": code} for code in transcript.languages],
        "usage": usage(transcript.duration),
    }
    return answer | ({"logprobs": word_logprobs(all_words(transcript.segments))} if logprobs else {})


def verbose_json(transcript: Transcript, granularities: Sequence[str]) -> Json:
    answer: Json = {
        "task": transcript.task,
        "language": language_name("en" if transcript.task == "translate" else transcript.language).lower(),
        "duration": transcript.duration,
        "text": transcript.text,
    }
    if "segment" in granularities:
        answer["segments"] = [verbose_segment(segment) for segment in transcript.segments]
    if "word" in granularities:
        answer["words"] = [{"word": w.text, "start": w.start, "end": w.end} for w in all_words(transcript.segments)]
    return answer | {"usage": usage(transcript.duration)}


def verbose_segment(segment: Segment) -> Json:
    return {
        "id": segment.id,
        "seek": segment.seek,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": segment.temperature,
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": segment.compression_ratio,
        "no_speech_prob": segment.no_speech_prob,
    }


def diarized_json(transcript: Transcript) -> Json:
    return {
        "task": "transcribe",
        "duration": transcript.duration,
        "text": transcript.text,
        "segments": diarized_segments(transcript),
        "usage": usage(transcript.duration),
    }


def diarized_segments(transcript: Transcript) -> list[Json]:
    called = speakers_called(transcript)
    return [
        {
            "type": "transcript.text.segment",
            "id": f"seg_{segment.id}",
            "start": segment.start,
            "end": segment.end,
            "text": segment.text,
            "speaker": called[segment.speaker],
        }
        for segment in transcript.segments
    ]


def speakers_called(transcript: Transcript) -> dict[str | None, str]:
    """Known speakers by their names, the others A, B, … Z, AA, AB, … in the order in which they first speak."""
    names = {speaker.label: speaker.name for speaker in transcript.speakers if speaker.name}
    labels = dict.fromkeys(segment.speaker for segment in transcript.segments)
    letters = (_letters(position) for position in count())
    return {label: names.get(label or "") or next(letters) for label in labels}


def _letters(position: int) -> str:
    rest, last = divmod(position, 26)
    return (_letters(rest - 1) if rest else "") + chr(ord("A") + last)


def all_words(segments: Iterable[Segment]) -> list[Word]:
    return [word for segment in segments for word in segment.words]


def word_logprobs(words: Iterable[Word]) -> list[Json]:
    """One entry per word, not per token: the engine keeps one probability for each word, the mean of its tokens'."""
    return [
        {
            "token": token,
            "bytes": list(token.encode()),
            "logprob": round(math.log(max(word.probability, _LEAST_PROBABILITY)), 6),
        }
        for position, word in enumerate(words)
        for token in [f" {word.text}" if position and word.space_before else word.text]
    ]
