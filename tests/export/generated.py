"""Transcripts as hypothesis makes them up: well-behaved speech, and speech as badly timed as recognisers manage."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from hypothesis import strategies as st

from appliance.domain import (
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
from appliance.writing import join_texts

WORDS = st.one_of(
    st.sampled_from(
        ["and", "the", "Ann", "Marie", "fish.", "well,", "Mr.", "-", "…", "<b>", "a&b", "{\\an8}", "-->", "don't", "I"]
    ),
    st.sampled_from(
        ["東京", "会議。", "話し合いました", "は", "ไทย", "שלום", "مرحبا،", "Donaudampfschifffahrtsgesellschaftskapitänsmütze"]
    ),
    st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=12),
)
PAUSES = st.sampled_from([0.0, 0.02, 0.1, 0.3, 0.8, 2.5])
LENGTHS = st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.4, 0.9])
SPEAKERS = st.sampled_from(["SPEAKER_00", "SPEAKER_01", None])


@st.composite
def spoken(
    draw: Callable[..., object],
    start: float,
    speaker: str | None,
    word_texts: st.SearchStrategy[str],
    lengths: st.SearchStrategy[float],
) -> tuple[Word, ...]:
    """Words one after the other, with pauses; some of them without any length."""
    words: list[Word] = []
    for text in draw(st.lists(word_texts, min_size=1, max_size=25)):  # type: ignore[attr-defined]
        start += draw(PAUSES)  # type: ignore[operator]
        end = start + draw(lengths)  # type: ignore[operator]
        words.append(Word(round(start, 3), round(end, 3), text, 0.9, speaker, bool(draw(st.booleans())) or not words))
        start = end
    return tuple(words)


@st.composite
def transcripts(
    draw: Callable[..., object],
    word_texts: st.SearchStrategy[str] = WORDS,
    lengths: st.SearchStrategy[float] = LENGTHS,
    overlapping: bool = True,
) -> Transcript:
    segments: list[Segment] = []
    start = 0.0
    for n in range(draw(st.integers(0, 6))):  # type: ignore[call-overload]
        speaker = draw(SPEAKERS)
        words: tuple[Word, ...] = draw(spoken(start, speaker, word_texts, lengths))  # type: ignore[assignment, arg-type]
        text = "".join((" " if word.space_before and index else "") + word.text for index, word in enumerate(words))
        channel = n % 2 if overlapping else None
        has_words = draw(st.integers(0, 5)) != 0
        segments.append(Segment(n, words[0].start, words[-1].end, text, words if has_words else (), speaker, channel=channel))  # type: ignore[arg-type]
        start = words[0].start + 0.1 if overlapping and draw(st.booleans()) else words[-1].end
    return transcript_of(segments)


def transcript_of(segments: list[Segment], *names: str) -> Transcript:
    return Transcript(
        text=join_texts(segment.text for segment in segments),
        language="en",
        language_probability=0.9,
        languages=("en",),
        duration=max((segment.end for segment in segments), default=0.0) + 0.5,
        model="whisper-base",
        segments=tuple(segments),
        speakers=tuple(Speaker(f"SPEAKER_0{n}", name) for n, name in enumerate(names)),
    )


def record_of(transcript: Transcript | None, filename: str = "interview.mp3") -> TranscriptRecord:
    return TranscriptRecord(
        id=7,
        slug="slug",
        owner="key_a",
        title="Interview",
        recording=Recording(filename, 123, "ab" * 32, 12.0),
        options=TranscribeOptions("whisper-base"),
        models=("whisper-base",),
        priority=Priority.NORMAL,
        state=JobState.COMPLETED if transcript else JobState.PROCESSING,
        created_at=datetime(2026, 11, 22, tzinfo=UTC),
        transcript=transcript,
    )


def sentence(text: str, n: int = 0, start: float = 0.0, speaker: str | None = None, word_s: float = 0.3) -> Segment:
    """Evenly spoken, without pauses."""
    words = tuple(
        Word(round(start + i * word_s, 3), round(start + (i + 1) * word_s, 3), word, 0.9, speaker)
        for i, word in enumerate(text.split())
    )
    return Segment(n, words[0].start, words[-1].end, text, words, speaker)
