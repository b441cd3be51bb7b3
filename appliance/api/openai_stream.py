"""`stream=true` of OpenAI's audio API: text deltas as segments are decided, then the speakers' segments, then the whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from litestar.response import ServerSentEventMessage

from appliance.api.errors import openai_error
from appliance.api.openai_answers import Json, all_words, diarized_segments, usage, word_logprobs
from appliance.api.openai_fields import OpenAiAsk
from appliance.api.services import Services
from appliance.api.sse import heartbeat, message, with_heartbeats
from appliance.domain import Segment, Transcript
from appliance.errors import ApplianceError
from appliance.jobs import FailedEvent, FinishedEvent, Job, JobEvent, ProgressEvent, SegmentsEvent
from appliance.writing import space_between

QUIET_START_S = 10.0  # so long the answer waits for a first word or a failure; then the headers go out with a heartbeat


class TranscriptStream:
    """The events of one job. `open` tells an early failure with its HTTP status; `messages` is the rest.

    Whoever stops listening before the end leaves the job, which is cancelled unless somebody else waits for it.
    """

    def __init__(self, services: Services, job: Job, ask: OpenAiAsk, quiet_start_s: float = QUIET_START_S) -> None:
        self._services = services
        self._job = job
        self._ask = ask
        self._quiet_start_s = quiet_start_s
        self._events = with_heartbeats(services.jobs.subscribe(job))
        self._first: JobEvent | None = None
        self._text_end = ""  # last character sent
        self._sent_until_s = 0.0

    async def open(self) -> None:
        """Returns when there is something to send, or after a while. Raises the job's error."""
        try:
            async with asyncio.timeout(self._quiet_start_s):
                async for event in self._services.jobs.subscribe(self._job):
                    if not isinstance(event, ProgressEvent):
                        break
        except TimeoutError:
            return
        if self._job.error is not None:
            raise self._job.error

    async def messages(self) -> AsyncIterator[ServerSentEventMessage]:
        try:
            async for event in self._events:
                for item in self._write(event):
                    yield item
        except ApplianceError as error:
            yield message(openai_error(error))
        finally:
            if not self._job.ended.is_set():
                leave_unheard(self._services, self._job)

    def _write(self, event: JobEvent | None) -> Iterable[ServerSentEventMessage]:
        match event:
            case None:
                yield heartbeat()
            case SegmentsEvent(segments=segments):
                yield from (message(delta) for segment in segments if (delta := self._delta(segment)))
            case FinishedEvent(finished=finished):
                assert finished.record.transcript is not None
                yield from map(message, self._ending(finished.record.transcript))
            case FailedEvent(failure=failure):
                error = self._job.error or ApplianceError(failure.message, failure.hint)
                yield message(openai_error(error))

    def _delta(self, segment: Segment) -> Json | None:
        text = segment.text.strip()
        if not text or (segment.start + segment.end) / 2 <= self._sent_until_s:
            return None  # what was sent stays sent: work that began again goes on from there
        self._sent_until_s = max(self._sent_until_s, segment.end)
        space = space_between(self._text_end, text)
        self._text_end = text[-1]
        delta: Json = {"type": "transcript.text.delta", "delta": f"{space}{text}"}
        return delta | ({"logprobs": word_logprobs(segment.words)} if self._ask.logprobs else {})

    def _ending(self, transcript: Transcript) -> Iterable[Json]:
        if self._ask.response_format == "diarized_json":
            yield from diarized_segments(transcript)
        done: Json = {"type": "transcript.text.done", "text": transcript.text, "usage": usage(transcript.duration)}
        yield done | ({"logprobs": word_logprobs(all_words(transcript.segments))} if self._ask.logprobs else {})


_leaving: set[asyncio.Task[None]] = set()  # asyncio itself keeps no strong reference to a task


def leave_unheard(services: Services, job: Job) -> None:
    """Leave from where nothing can be awaited: a generator that is being closed."""
    task = asyncio.ensure_future(services.jobs.leave(job))
    _leaving.add(task)
    task.add_done_callback(_leaving.discard)
