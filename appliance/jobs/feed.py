"""What is told about one job while it runs, and to whoever asks later.

There are no queues: each follower remembers how much it has seen and is woken when there is more, so a slow one skips
intermediate progress, costs nothing, and never misses a segment or the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime

from appliance.domain import Failure, JobState, Progress, Segment, TranscriptRecord, Value


class Timings(Value, frozen=True):
    """Seconds each stage took; None where it did not run or is not known."""

    audio_s: float
    queued_s: float
    total_s: float  # from the start of decoding to saved
    decode_s: float | None = None
    detect_s: float | None = None  # voice activity and language
    recognize_s: float | None = None  # all models together, detection included
    diarize_s: float | None = None
    save_s: float | None = None

    @property
    def real_time_factor(self) -> float | None:
        """Processing seconds per second of audio; below 1 is faster than real time."""
        return self.total_s / self.audio_s if self.audio_s > 0 else None


class Finished(Value, frozen=True):
    """A completed job."""

    record: TranscriptRecord  # with its transcript and alternatives
    timings: Timings


class ProgressEvent(Value, frozen=True):
    progress: Progress


class SegmentsEvent(Value, frozen=True):
    """Segments of the first model as they are decided: no speakers yet, ids may still change."""

    segments: tuple[Segment, ...]
    replaces_all: bool = False  # a worker died and the work began again: forget the earlier ones


class FinishedEvent(Value, frozen=True):
    finished: Finished


class FailedEvent(Value, frozen=True):
    state: JobState  # failed, cancelled or interrupted
    failure: Failure
    at: datetime


EndEvent = FinishedEvent | FailedEvent
JobEvent = ProgressEvent | SegmentsEvent | FinishedEvent | FailedEvent


class _Follower:
    """How much one subscriber has seen."""

    def __init__(self) -> None:
        self.more = asyncio.Event()
        self.more.set()
        self.progress: Progress | None = None
        self.segments = 0
        self.round = 0


class Feed:
    """Progress, segments and the end of one job; lives on the event loop."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.end: EndEvent | None = None
        self._segments: list[Segment] = []
        self._round = 0
        self._followers: set[_Follower] = set()

    def advance(self, progress: Progress) -> None:
        if progress != self.progress:
            self.progress = progress
            self._wake()

    def add(self, segments: tuple[Segment, ...]) -> None:
        self._segments.extend(segments)
        self._wake()

    def start_over(self) -> None:
        """Forget the segments: the work is repeated."""
        if self._segments:
            self._segments.clear()
            self._round += 1
            self._wake()

    def close(self, end: EndEvent) -> None:
        self.end = end
        self._wake()

    async def follow(self) -> AsyncIterator[JobEvent]:
        """The present state, all segments so far, then everything as it comes; stops after the end event."""
        follower = _Follower()
        self._followers.add(follower)
        try:
            while True:
                await follower.more.wait()
                follower.more.clear()
                end = self.end
                for event in self._news(follower):
                    yield event
                if end is not None:
                    yield end
                    return
        finally:
            self._followers.discard(follower)

    def _news(self, follower: _Follower) -> Iterator[JobEvent]:
        if follower.progress != self.progress:
            follower.progress = self.progress
            yield ProgressEvent(self.progress)
        if follower.round != self._round:
            follower.round, follower.segments = self._round, len(self._segments)
            yield SegmentsEvent(tuple(self._segments), replaces_all=True)
        elif follower.segments < len(self._segments):
            news = tuple(self._segments[follower.segments :])
            follower.segments = len(self._segments)
            yield SegmentsEvent(news)

    def _wake(self) -> None:
        for follower in self._followers:
            follower.more.set()
