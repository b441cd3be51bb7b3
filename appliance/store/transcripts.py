"""Transcripts: from an accepted recording to a finished text, and how they are found again."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.domain import Failure, JobState, Priority, Recording, TranscribeOptions, Transcript, TranscriptRecord, Value
from appliance.store.edits import Revision, SegmentEdit, TranscriptEdit
from appliance.store.search import Snippet


class NewTranscript(Value, frozen=True):
    owner: str
    title: str
    recording: Recording
    options: TranscribeOptions
    models: tuple[str, ...]
    priority: Priority = Priority.NORMAL
    callback_url: str | None = None  # told when the transcript ends, through `Deliveries`


class Page(Value, frozen=True):
    results: tuple[TranscriptRecord, ...]  # without their text, newest first
    count: int  # all that match, on every page
    snippets: dict[int, tuple[Snippet, ...]] = {}  # by TranscriptRecord.id, at most three each; only when searching


class Transcripts:
    """`key` is an id (int, or its digits) or a slug. `owner` None may see all; a stranger's transcript is `NotFound`."""

    async def create(self, new: NewTranscript) -> TranscriptRecord:
        """In state queued. Raises `DiskFull`, like every method that writes."""
        raise NotImplementedError

    async def start(self, transcript_id: int) -> None:
        raise NotImplementedError

    async def describe(self, transcript_id: int, recording: Recording) -> None:
        """What the decoder found out about the recording."""
        raise NotImplementedError

    async def complete(self, transcript_id: int, transcript: Transcript, alternatives: Sequence[Transcript] = ()) -> None:
        """Save the result; when this returns it survives a kill and a power cut. Raises `DiskFull`, and then nothing changed."""
        raise NotImplementedError

    async def fail(self, transcript_id: int, state: JobState, failure: Failure) -> None:
        """`state` is failed, cancelled or interrupted."""
        raise NotImplementedError

    async def interrupt_unfinished(self) -> int:
        """At start-up: what was queued or processing is interrupted; returns how many."""
        raise NotImplementedError

    async def get(self, key: int | str, owner: str | None) -> TranscriptRecord:
        """The whole transcript. Raises `NotFound`."""
        raise NotImplementedError

    async def list(self, owner: str | None, *, limit: int, offset: int, states: Sequence[JobState] = (), query: str = "") -> Page:
        """One page, newest first, with the count of the same moment. `query` may be anything a person types."""
        raise NotImplementedError

    async def edit(self, key: int | str, owner: str | None, revision: int, edit: TranscriptEdit) -> TranscriptRecord:
        """Title and speaker names. Raises `StaleRevision`, `NotReady`, `InvalidField`, `NotFound`."""
        raise NotImplementedError

    async def edit_segment(self, key: int | str, owner: str | None, revision: int, n: int, edit: SegmentEdit) -> TranscriptRecord:
        """Text (words get new times) and speaker of segment `n`. Raises as `edit`."""
        raise NotImplementedError

    async def revisions(self, key: int | str, owner: str | None) -> tuple[Revision, ...]:
        """Every edit with what stood there before, the oldest first."""
        raise NotImplementedError

    async def erase(self, key: int | str, owner: str | None) -> bool:
        """Erase it from the database and its write-ahead log.

        True: no word of it is left in any file. False: it is out of sight, but another reader still holds an old page; the
        rest is done as soon as that reader is gone, also after a restart.
        """
        raise NotImplementedError
