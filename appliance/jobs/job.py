"""A submission, and the job it becomes: one recording on its way from accepted to saved."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from appliance.domain import JobState, Priority, Progress, TranscribeOptions, TranscriptRecord, Value
from appliance.errors import ApplianceError
from appliance.jobs.feed import Feed, Finished
from appliance.jobs.known_voices import KnownVoice
from appliance.jobs.private import Privacy

if TYPE_CHECKING:
    from appliance.audio.upload import Upload


class Submission(Value, frozen=True):
    """One accepted upload and what is wanted of it. `Jobs.submit` takes the upload over, also when it raises."""

    upload: Upload
    options: TranscribeOptions
    models: tuple[str, ...] = ()  # catalogue ids or names; empty: options.model; several: compared
    title: str = ""
    owner: str = ""
    priority: Priority = Priority.NORMAL
    keep: bool = True  # False: nothing is written to the store, the result exists only for the waiter
    idempotency_key: str | None = None
    callback_url: str | None = None
    privacy: Privacy | None = None  # set when options.private is
    sender: str = ""  # owner id of whoever sent it; empty: its owner
    known_voices: tuple[KnownVoice, ...] = ()  # looked for among the speakers, where they are told apart
    needs_speakers: bool = False  # the result has no room for a warning: where diarization fails, so does the job


class Job:
    """What the rest of the appliance sees of a queued, running or just ended recording."""

    def __init__(self, record: TranscriptRecord, *, keep: bool) -> None:
        self.record = record  # replaced as the state changes
        self.keep = keep
        self.feed = Feed(Progress(state=record.state))
        self.ended = asyncio.Event()
        self.finished: Finished | None = None
        self.error: ApplianceError | None = None  # set when it ended without a result

    @property
    def id(self) -> int:
        """The transcript's id; negative when it is not kept."""
        return self.record.id

    @property
    def slug(self) -> str:
        return self.record.slug

    @property
    def owner(self) -> str:
        return self.record.owner

    @property
    def state(self) -> JobState:
        return self.record.state

    @property
    def progress(self) -> Progress:
        return self.feed.progress
