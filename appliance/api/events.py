"""A transcript's progress as server-sent events: `state`, `segments`, then `done` or `error`, and the stream ends.

Whoever comes late, or again, first gets the present state and all segments so far, so `Last-Event-ID` need not be understood;
only a browser that reconnects after the end is told to stop (204).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import ServerSentEvent, ServerSentEventMessage

from appliance.api.answer_bodies import EventsAnswer
from appliance.api.auth import READ, caller, identify
from appliance.api.live import find_live
from appliance.api.native_answers import (
    ProgressAnswer,
    SegmentAnswer,
    SummaryAnswer,
    failure_answer,
    progress_answer,
    segment_answer,
    summary_answer,
)
from appliance.api.services import ApiRequest, Services, services_of
from appliance.api.sse import heartbeat, message, with_heartbeats
from appliance.domain import Failure, JobState, Progress, TranscriptRecord, Value
from appliance.errors import ApplianceError
from appliance.jobs import FailedEvent, FinishedEvent, Job, JobEvent, ProgressEvent, SegmentsEvent
from appliance.store import Right

END_ID = "end"


class StateData(Value, frozen=True):
    status: JobState
    progress: ProgressAnswer


class SegmentsData(Value, frozen=True):
    segments: tuple[SegmentAnswer, ...]  # without speakers; ids may still change
    replaces_all: bool  # forget the earlier ones: the work began again


class ErrorData(Value, frozen=True):
    status: JobState
    error: str
    code: str
    hint: str


@get(
    "/api/v1/transcripts/{key:str}/events",
    opt=READ,
    operation_class=EventsAnswer,
    responses={204: ResponseSpec(None, description="There is no more: the client has heard the end", generate_examples=False)},
    tags=["Transcripts"],
    summary="Follow a transcript as it is made (server-sent events)",
)
async def follow_transcript(request: ApiRequest, key: str) -> Response[Any]:
    """Events: `state` (status, progress), `segments`, then `done` (the summary) or `error` (status, error, code, hint)."""
    services = services_of(request)
    record, job = await find_live(services, key, caller(request).reach, Right.READ)
    if request.headers.get("last-event-id") == END_ID and record.state.is_final:
        return Response(None, status_code=204)
    return ServerSentEvent(_live(request, services, job) if job else _ended(record))


async def _live(request: ApiRequest, services: Services, job: Job) -> AsyncIterator[ServerSentEventMessage]:
    async with aclosing(with_heartbeats(services.jobs.subscribe(job))) as events:
        async for event in events:
            if not isinstance(event, FailedEvent) and not await _may_still_read(request, services, job):
                return
            yield heartbeat() if event is None else _message(event, job)


async def _may_still_read(request: ApiRequest, services: Services, job: Job) -> bool:
    """Meanwhile somebody may be signed out, suspended or out of the workspace, or their key revoked."""
    try:
        who = await identify(request, services)
        await services.store.transcripts.locate(job.id, who.reach, Right.READ)
    except ApplianceError:
        return False
    return True


async def _ended(record: TranscriptRecord) -> AsyncIterator[ServerSentEventMessage]:
    """A record without a job. One that has not ended, whose job somebody else has, ends the stream: a browser asks again."""
    progress = Progress(state=record.state, fraction=1.0 if record.state.is_final else 0.0)
    yield message(StateData(record.state, progress_answer(progress)), event="state")
    if record.failure:
        yield _error(record.state, record.failure)
    elif record.state is JobState.COMPLETED:
        yield _done(summary_answer(record, None))


def _message(event: JobEvent, job: Job) -> ServerSentEventMessage:
    match event:
        case ProgressEvent(progress=progress):
            return message(StateData(progress.state, progress_answer(progress)), event="state")
        case SegmentsEvent(segments=segments, replaces_all=replaces_all):
            answers = tuple(segment_answer(segment, {}) for segment in segments)
            return message(SegmentsData(answers, replaces_all), event="segments")
        case FinishedEvent(finished=finished):
            return _done(summary_answer(finished.record, None))
        case FailedEvent(state=state, failure=failure):
            return _error(state, failure)


def _done(summary: SummaryAnswer) -> ServerSentEventMessage:
    return message(summary, event="done", id=END_ID)


def _error(state: JobState, failure: Failure) -> ServerSentEventMessage:
    answer = failure_answer(failure)
    assert answer is not None
    return message(ErrorData(state, answer.error, answer.code, answer.hint), event="error", id=END_ID)
