"""What both engines heard becomes one transcript: warnings of the whole recording, and who said which word.

Pure; runs in a thread of the API process, and for private transcripts in a process of its own (`child.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from appliance.domain import Caution, Transcript, TranscriptRecord, Value
from appliance.engine.protocol import Diarization
from appliance.engine.speakers import assign_speakers


class ChildOrder(Value, frozen=True):
    """The only command-line argument."""

    parent_pid: int
    content_fd: int  # a pipe: the document, nothing else


class JoinOrder(Value, frozen=True):
    """Comes on standard input, which then ends."""

    sealed: bytes  # a packed `Transcript`, sealed to the public key that was told
    found: Diarization | None
    cautions: tuple[Caution, ...]
    record: TranscriptRecord  # without a transcript
    seal_to: bytes  # empty: the document stays as it is


class Joined(Value, frozen=True):
    """The second line of standard output: what the server may know."""

    language: str


def join(transcripts: Sequence[Transcript], found: Diarization | None, cautions: tuple[Caution, ...]) -> tuple[Transcript, ...]:
    """With speakers, where they were told apart, and the cautions that concern the whole. Takes seconds for long recordings."""
    cautious = [replace(transcript, warnings=(*cautions, *transcript.warnings)) for transcript in transcripts]
    return tuple(cautious if found is None else (_with_speakers(transcript, found) for transcript in cautious))


def _with_speakers(transcript: Transcript, found: Diarization) -> Transcript:
    segments, speakers = assign_speakers(transcript.segments, found.exclusive, found.names)
    return replace(transcript, segments=segments, speakers=speakers)
