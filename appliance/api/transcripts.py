"""Transcripts as a resource: sent, listed, read, corrected, cancelled, erased."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from litestar import Response, delete, get, patch, post
from msgspec import UNSET, UnsetType, structs

from appliance.api.auth import ALSO_READ, READ, TRANSCRIBE, WRITE, caller, may_read
from appliance.api.erasing import ERASURE_ANSWERS, erase_everything_of, erasure_answer
from appliance.api.fields import MAX_TITLE_CHARS, Fields
from appliance.api.intake import Ask, submit
from appliance.api.json_body import read_json
from appliance.api.live import find_live
from appliance.api.native_answers import SummaryAnswer, TranscriptAnswer, summary_answer, transcript_answer
from appliance.api.native_fields import KNOWN, parse_native
from appliance.api.request_bodies import NativeUpload, SegmentPatchBody, TranscriptPatchBody
from appliance.api.services import ApiRequest, Services, services_of
from appliance.domain import JobState, Progress, TranscriptRecord, Value
from appliance.errors import AlreadyEnded, InvalidField, NotAvailable, NotConfirmed
from appliance.jobs import Job
from appliance.store import Reach, Revision, Right, SegmentEdit, Snippet, TranscriptEdit, erase_after, own_reach

PATH = "/api/v1/transcripts"
DEFAULT_LIMIT = 20
MAX_LIMIT = 200
MAX_QUERY_CHARS = 1000
MAX_SEGMENT_CHARS = 20_000
MAX_NAME_CHARS = 200


class Accepted(Value, frozen=True):
    id: int
    slug: str
    status: JobState
    url: str
    events_url: str


class Found(SummaryAnswer, frozen=True):
    erase_after: datetime | None = None  # when a retention rule erases it; null: it is kept
    snippets: tuple[Snippet, ...] | UnsetType = UNSET  # where the words of `q` stand


class Listing(Value, frozen=True):
    results: tuple[Found, ...]
    count: int
    next: str | None
    previous: str | None


class Revisions(Value, frozen=True):
    results: tuple[Revision, ...]  # the oldest first


class TranscriptPatch(Value, frozen=True, forbid_unknown_fields=True):
    revision: int  # the one the edit was made on
    title: str | UnsetType = UNSET
    speakers: dict[str, str | None] | UnsetType = UNSET  # label -> name; null takes the name away
    workspace: str | UnsetType | None = UNSET  # moves it there; null: to the caller's own


class SegmentPatch(Value, frozen=True, forbid_unknown_fields=True):
    revision: int
    text: str | UnsetType = UNSET
    speaker: str | UnsetType | None = UNSET


# --- sending ----------------------------------------------------------------------------------------------------------


@post(
    PATH,
    opt=TRANSCRIBE,
    status_code=202,
    request_max_body_size=None,
    operation_class=NativeUpload,
    tags=["Transcripts"],
    summary="Send a recording; the answer comes at once, the transcript later",
)
async def create_transcript(request: ApiRequest) -> Response[Accepted]:
    """A form with the field `file`, or the recording as the whole body and the options in the query."""
    services = services_of(request)
    job, _ = await submit(request, services, KNOWN, partial(_parse, services=services), keep=True)
    accepted = _accepted(job)
    return Response(accepted, status_code=202, headers={"Location": accepted.url})


def _parse(fields: Fields, services: Services) -> Ask:
    ask = parse_native(fields, services)
    if ask.response_format not in ("json", "verbose_json"):
        name = ask.response_format
        raise NotAvailable(
            "response_format", "this call does not wait for the text", f"Fetch …/export/{name}/ when it is completed."
        )
    return ask


def _accepted(job: Job) -> Accepted:
    url = f"{PATH}/{job.id}/"
    return Accepted(job.id, job.slug, job.state, url, f"{url}events/")


# --- reading ----------------------------------------------------------------------------------------------------------


@get(PATH, opt=READ, tags=["Transcripts"], summary="List and search")
async def list_transcripts(request: ApiRequest) -> Listing:
    """Query: `limit` (20, at most 200), `offset`, `status` (several with commas), `q` (words to search for). Newest first.

    `workspace`: only those of this workspace; `none`: only my own. Without it: all that I may read.
    """
    services = services_of(request)
    fields = Fields(request.query_params.multi_items(), ("limit", "offset", "status", "q", "workspace"))
    limit = fields.integer("limit", 1, MAX_LIMIT) or DEFAULT_LIMIT
    offset = fields.integer("offset", 0, 2**31) or 0
    query = fields.text("q") or ""
    if len(query) > MAX_QUERY_CHARS:
        raise InvalidField("q", f"is longer than {MAX_QUERY_CHARS} characters")
    page = await services.store.transcripts.list(
        _reach_of(request, fields.text("workspace")), limit=limit, offset=offset, states=_states(fields), query=query
    )
    rules = await services.store.retention.rules()
    return Listing(
        results=tuple(_found(services, record, rules, page.snippets.get(record.id)) for record in page.results),
        count=page.count,
        next=_page_url(request, limit, offset + limit) if offset + limit < page.count else None,
        previous=_page_url(request, limit, max(0, offset - limit)) if offset > 0 else None,
    )


def _found(services: Services, record: TranscriptRecord, rules: Mapping[str, int], snippets: tuple[Snippet, ...] | None) -> Found:
    return Found(
        **structs.asdict(summary_answer(record, _progress_of(services, record.id))),
        erase_after=erase_after(record, rules, services.settings.retention_days),
        snippets=UNSET if snippets is None else snippets,
    )


def _reach_of(request: ApiRequest, workspace: str | None) -> Reach:
    who = caller(request)
    return who.reach.narrowed(who.owner_id if workspace == "none" else workspace) if workspace else who.reach


def _states(fields: Fields) -> tuple[JobState, ...]:
    names = fields.many("status", separators=",")
    if unknown := [name for name in names if name not in [*JobState]]:
        raise InvalidField("status", f"must be one of {', '.join(JobState)}, not '{unknown[0]}'")
    return tuple(JobState(name) for name in names)


def _page_url(request: ApiRequest, limit: int, offset: int) -> str:
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in ("limit", "offset")]
    base = str(request.base_url).rstrip("/")
    return f"{base}{PATH}/?{urlencode([*kept, ('limit', limit), ('offset', offset)])}"


def _progress_of(services: Services, transcript_id: int) -> Progress | None:
    job = services.jobs.find(transcript_id)
    return job.progress if job else None


@get(f"{PATH}/{{key:str}}", opt=READ, tags=["Transcripts"], summary="The whole transcript, by id or slug")
async def read_transcript(request: ApiRequest, key: str) -> TranscriptAnswer:
    services = services_of(request)
    record = await services.store.transcripts.get(key, caller(request).reach)
    answer = await asyncio.to_thread(transcript_answer, record, _progress_of(services, record.id), verbose=True)
    rules = await services.store.retention.rules()
    return structs.replace(answer, erase_after=erase_after(record, rules, services.settings.retention_days))


@get(f"{PATH}/{{key:str}}/revisions", opt=READ, tags=["Transcripts"], summary="Every edit, with what stood there before")
async def list_revisions(request: ApiRequest, key: str) -> Revisions:
    return Revisions(await services_of(request).store.transcripts.revisions(key, caller(request).reach))


# --- changing ---------------------------------------------------------------------------------------------------------


@patch(
    f"{PATH}/{{key:str}}",
    opt=WRITE | ALSO_READ,
    operation_class=TranscriptPatchBody,
    tags=["Transcripts"],
    summary="Change the title, or name speakers",
)
async def edit_transcript(request: ApiRequest, key: str) -> TranscriptAnswer:
    """JSON: `revision` (the one the edit was made on; a stale one gets 409), `title`, `speakers` {label: name or null}.

    `workspace` moves it there, null to my own: for who may erase it where it is and add to where it goes.
    """
    change = await read_json(request, TranscriptPatch)
    if change.title is UNSET and change.speakers is UNSET and change.workspace is UNSET:
        raise InvalidField("body", "changes nothing", "Send 'title', 'speakers' or 'workspace'.")
    who = caller(request)
    edit = TranscriptEdit(
        title=None if change.title is UNSET else _bounded("title", change.title, MAX_TITLE_CHARS),
        speaker_names=None
        if change.speakers is UNSET
        else {
            label: None if name is None else _bounded("speakers", name, MAX_NAME_CHARS) for label, name in change.speakers.items()
        },
        owner=None if change.workspace is UNSET else change.workspace or who.owner_id,
    )
    record = await services_of(request).store.transcripts.edit(key, who.reach, change.revision, edit)
    return await asyncio.to_thread(transcript_answer, record, verbose=True)


@patch(
    f"{PATH}/{{key:str}}/segments/{{n:int}}",
    opt=WRITE | ALSO_READ,
    operation_class=SegmentPatchBody,
    tags=["Transcripts"],
    summary="Correct a segment's text or speaker",
)
async def edit_segment(request: ApiRequest, key: str, n: int) -> TranscriptAnswer:
    """JSON: `revision`, `text` (its words get new times), `speaker` (a label, or null). A stale revision gets 409."""
    change = await read_json(request, SegmentPatch)
    if change.text is UNSET and change.speaker is UNSET:
        raise InvalidField("body", "changes nothing", "Send 'text', 'speaker' or both.")
    text = None if change.text is UNSET else _bounded("text", change.text, MAX_SEGMENT_CHARS)
    edit = SegmentEdit(text=text, speaker=change.speaker)
    record = await services_of(request).store.transcripts.edit_segment(key, caller(request).reach, change.revision, n, edit)
    return await asyncio.to_thread(transcript_answer, record, verbose=True)


def _bounded(name: str, text: str, limit_chars: int) -> str:
    if len(text) > limit_chars:
        raise InvalidField(name, f"is longer than {limit_chars} characters")
    return text.strip()


@post(f"{PATH}/{{key:str}}/cancel", opt=WRITE, status_code=202, tags=["Transcripts"], summary="Stop a running transcription")
async def cancel_transcript(request: ApiRequest, key: str) -> SummaryAnswer:
    """Takes effect within one batch. One that was cancelled before is answered like one that is cancelled now.

    Title and file name are empty for who may not read.
    """
    services = services_of(request)
    reach = caller(request).reach
    record, job = await find_live(services, key, reach, Right.CHANGE)
    if job is not None:
        await services.jobs.cancel(job)
        await services.store.audit.record("transcript.cancelled", caller(request).owner_id, str(record.id))
        record = await services.store.transcripts.locate(key, reach, Right.CHANGE)
    if record.state is not JobState.CANCELLED:
        raise AlreadyEnded(record.state)
    answer = summary_answer(record, None)
    return answer if may_read(caller(request)) else structs.replace(answer, title="", filename="")


@delete(
    f"{PATH}/{{key:str}}", opt=WRITE, status_code=202, responses=ERASURE_ANSWERS, tags=["Transcripts"], summary="Erase for good"
)
async def erase_transcript(request: ApiRequest, key: str) -> Response[Any]:
    """204: no word of it is left in any file. 202: out of sight, and erased as soon as a reader of the database lets go.

    A running one is cancelled first.
    """
    services = services_of(request)
    reach = caller(request).reach
    record, job = await find_live(services, key, reach, Right.ERASE)
    if job is not None:
        await services.jobs.cancel(job)
    services.jobs.held_results.wipe(record.id)
    return erasure_answer(await services.store.transcripts.erase(record.id, reach))


@delete(
    PATH, opt=WRITE, status_code=202, responses=ERASURE_ANSWERS, tags=["Transcripts"], summary="Erase everything of yours for good"
)
async def erase_own_transcripts(request: ApiRequest) -> Response[Any]:
    """Query: `confirm`, the number of transcripts that are yours now: without it nothing happens, and the answer says how many.

    What belongs to workspaces, or to others, stays. Running ones are cancelled first. Answers as erasing a single one does.
    """
    services, owner = services_of(request), caller(request).owner_id
    confirmed = Fields(request.query_params.multi_items(), ("confirm",)).integer("confirm", 0, 2**53)
    count = (await services.store.transcripts.list(own_reach(owner), limit=1, offset=0)).count
    if confirmed != count:
        raise NotConfirmed(count)
    return erasure_answer(await erase_everything_of(services, owner, owner))
