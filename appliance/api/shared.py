"""What a link shows to whoever holds it: one transcript, to read and to download, without a word about whose it is.

Opening counts as a view and sets a cookie for half an hour; with it reading and downloading go on without being counted.
"""

from __future__ import annotations

import asyncio
import hashlib
from datetime import datetime
from typing import Final

from litestar import Response, get, post
from litestar.datastructures import Cookie
from msgspec import structs

from appliance.api.answer_bodies import DocumentAnswer
from appliance.api.auth import PUBLIC
from appliance.api.fields import Fields
from appliance.api.headers import content_disposition
from appliance.api.json_body import read_json
from appliance.api.json_schema import json_body
from appliance.api.native_answers import SpeakerAnswer, WarningAnswer, speakers_of, warnings_of
from appliance.api.services import ApiRequest, services_of
from appliance.api.session_guard import check_own_page
from appliance.domain import Recording, Segment, TranscribeOptions, Transcript, TranscriptRecord, Value
from appliance.errors import NotFound, NotReady, ShareNotOpened
from appliance.export import FORMATS, PROFILES, export, parse_profile
from appliance.store import Share

PATH: Final = "/api/v1/shared/{token:str}"
COOKIE_PATH: Final = "/api/v1/shared"
NO_INDEX: Final = {"X-Robots-Tag": "noindex, nofollow, noarchive", "Cache-Control": "no-store"}


class ShareOpening(Value, frozen=True, forbid_unknown_fields=True):
    password: str | None = None


class SharedSegment(Value, frozen=True):
    id: int
    start: float
    end: float
    text: str
    speaker: str | None  # a label of `speakers`
    speaker_name: str | None
    language: str | None
    space_before: bool  # whether a space stands before it in the text


class SharedTranscript(Value, frozen=True):
    title: str
    created_at: datetime
    duration: float
    language: str
    languages: tuple[str, ...]
    segments: tuple[SharedSegment, ...]
    speakers: tuple[SpeakerAnswer, ...]
    warnings: tuple[WarningAnswer, ...]
    formats: tuple[str, ...]  # in which it may be downloaded


class SharedAnswer(Value, frozen=True):
    needs_password: bool
    expires_at: datetime | None
    views_left: int | None  # null: any number
    transcript: SharedTranscript | None  # null: not opened yet


@get(PATH, opt=PUBLIC, tags=["Sharing"], summary="What a link is, and the transcript once it is opened")
async def read_shared(request: ApiRequest, token: str) -> Response[SharedAnswer]:
    """Counts nothing, so that a preview of the link in a message costs no view."""
    shares, secret = services_of(request).store.shares, _view_secret(request, token)
    try:
        share = await shares.find_view(token, secret)
    except ShareNotOpened:
        return Response(_answer(await shares.look(token), None), headers=NO_INDEX)
    return Response(_answer(share, await _transcript(request, share)), headers=NO_INDEX)


@post(
    PATH,
    opt=PUBLIC,
    status_code=200,
    operation_class=json_body(ShareOpening),
    tags=["Sharing"],
    summary="Open a link: one view, for half an hour",
)
async def open_shared(request: ApiRequest, token: str) -> Response[SharedAnswer]:
    """Sets a cookie that reads and downloads for half an hour. After wrong passwords: 429 with `Retry-After`."""
    check_own_page(request)
    opening = await read_json(request, ShareOpening)
    view = await services_of(request).store.shares.open(token, opening.password)
    answer = _answer(view.share, await _transcript(request, view.share))
    seconds = int((view.expires_at - datetime.now(view.expires_at.tzinfo)).total_seconds())
    return Response(answer, headers=NO_INDEX, cookies=[_cookie(request, token, view.secret, seconds)])


@get(
    f"{PATH}/export/{{file_format:str}}",
    opt=PUBLIC,
    operation_class=DocumentAnswer,
    tags=["Sharing"],
    summary="Download what a link shows",
)
async def export_shared(request: ApiRequest, token: str, file_format: str) -> Response[bytes]:
    """After opening. `?profile=` shapes subtitles, as for the owner."""
    if file_format not in FORMATS:
        raise NotFound(f"format '{file_format}'")
    fields = Fields(request.query_params.multi_items(), ("profile",))
    profile = parse_profile(text) if (text := fields.text("profile")) else PROFILES["default"]
    services = services_of(request)
    share = await services.store.shares.find_view(token, _view_secret(request, token))
    record = without_its_owner(await services.store.transcripts.get(share.transcript_id, share.reach))
    document = await asyncio.to_thread(export, record, file_format, profile)
    disposition = {"Content-Disposition": content_disposition(document.filename)}
    return Response(document.content, media_type=document.media_type, headers=NO_INDEX | disposition)


def without_its_owner(record: TranscriptRecord) -> TranscriptRecord:
    """With nothing in it but what was said: no ids, no owner, no file, no hints that were given to the model."""
    title, recording = record.title, record.recording
    named = title if title == recording.filename else f"{title}."  # the last part of a name is taken for its kind
    return structs.replace(
        record,
        id=0,
        slug="",
        owner="",
        recording=Recording(filename=named, size_bytes=0, sha256="", duration=recording.duration),
        options=TranscribeOptions(model=record.options.model),
        models=record.models[:1],
        alternatives=(),
    )


async def _transcript(request: ApiRequest, share: Share) -> SharedTranscript:
    record = await services_of(request).store.transcripts.get(share.transcript_id, share.reach)
    if record.transcript is None:
        raise NotReady("transcript", record.state)
    return await asyncio.to_thread(_shown, record, record.transcript)


def _shown(record: TranscriptRecord, transcript: Transcript) -> SharedTranscript:
    names = {speaker.label: speaker.name for speaker in transcript.speakers}
    return SharedTranscript(
        title=record.title,
        created_at=record.created_at,
        duration=transcript.duration,
        language=transcript.language,
        languages=transcript.languages,
        segments=tuple(_shown_segment(segment, names) for segment in transcript.segments),
        speakers=speakers_of(transcript.speakers),
        warnings=warnings_of(transcript.warnings),
        formats=FORMATS,
    )


def _shown_segment(segment: Segment, names: dict[str, str | None]) -> SharedSegment:
    return SharedSegment(
        id=segment.id,
        start=segment.start,
        end=segment.end,
        text=segment.text,
        speaker=segment.speaker,
        speaker_name=names.get(segment.speaker or ""),
        language=segment.language,
        space_before=not segment.words or segment.words[0].space_before,
    )


def _answer(share: Share, transcript: SharedTranscript | None) -> SharedAnswer:
    views_left = None if share.max_views is None else max(0, share.max_views - share.views)
    return SharedAnswer(share.has_password, share.expires_at, views_left, transcript)


def _view_secret(request: ApiRequest, token: str) -> str:
    return request.cookies.get(_cookie_name(token), "")


def _cookie(request: ApiRequest, token: str, secret: str, seconds: int) -> Cookie:
    return Cookie(
        key=_cookie_name(token),
        value=secret,
        path=COOKIE_PATH,
        max_age=seconds,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def _cookie_name(token: str) -> str:
    """One for each link, so that several may be open; says nothing about the token."""
    return f"view_{hashlib.sha256(token.encode(errors='replace')).hexdigest()[:16]}"
