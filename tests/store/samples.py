"""Recordings, transcripts and people to store, made up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from appliance.domain import Recording, Segment, Speaker, TranscribeOptions, Transcript, TranscriptRecord, Value, Word
from appliance.store import UNLIMITED, NewTranscript, Store
from appliance.writing import join_texts

RECORDING = Recording(filename="interview.mp3", size_bytes=123, sha256="ab" * 32)
OPTIONS = TranscribeOptions(model="whisper-base")


class Known(Value, frozen=True):
    """Somebody of a directory: the cheapest person there is, for no password is hashed."""

    subject: str = "1"
    name: str = "Ann"
    email: str = "ann@example.org"
    is_admin: bool = False
    provider: str = "ldap"


def new_transcript(owner: str = "key_a", title: str = "Interview", callback_url: str | None = None) -> NewTranscript:
    return NewTranscript(owner, title, RECORDING, OPTIONS, ("whisper-base",), callback_url=callback_url)


def segment_of(text: str, n: int = 0, start: float = 0.0, speaker: str | None = "SPEAKER_00") -> Segment:
    """One word every half second, each lasting 0.4 s."""
    words = tuple(Word(start + i / 2, start + i / 2 + 0.4, word, 0.9, speaker) for i, word in enumerate(text.split()))
    end = words[-1].end if words else start
    return Segment(n, start, end, text, words, speaker, "en", None, (50, 51), 0, 0.2, -0.3, 1.4, 0.01)


def transcript_of(texts: Sequence[str], model: str = "whisper-base") -> Transcript:
    segments = tuple(segment_of(text, n, n * 5.0) for n, text in enumerate(texts))
    return Transcript(
        text=join_texts(texts),
        language="en",
        language_probability=0.98,
        languages=("en",),
        duration=len(texts) * 5.0,
        model=model,
        segments=segments,
        speakers=(Speaker("SPEAKER_00"),),
    )


async def save(store: Store, texts: Sequence[str], new: NewTranscript | None = None) -> TranscriptRecord:
    record = await store.transcripts.create(new or new_transcript())
    await store.transcripts.start(record.id)
    await store.transcripts.complete(record.id, transcript_of(texts))
    return await store.transcripts.get(record.id, UNLIMITED)


def raw_bytes(path: Path) -> dict[str, bytes]:
    """Every file of the database as it lies on the disk; not the room kept free, which is never written to."""
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file() and file.suffix != ".reserve"}
