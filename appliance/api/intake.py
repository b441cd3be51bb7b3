"""From an HTTP request to a job, for every dialect: admission, the body into memory, the options checked, submitted.

Litestar's own form parsing is never used: it would spool the recording to a temporary file (TRAPS 1).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import TypeVar

from msgspec import structs

from appliance.api.auth import caller
from appliance.api.fields import Fields
from appliance.api.services import ApiRequest, Services
from appliance.api.site_models import resolve_model
from appliance.audio.upload import MAX_FIELD_BYTES, Form, Upload, UploadLimits, body_chunks, receive_body, receive_form
from appliance.domain import Priority, TranscribeOptions, Value
from appliance.errors import InvalidField, MissingFile, NotAvailable, UnsupportedBody
from appliance.jobs import Job, KnownVoice, Privacy, Submission

MAX_FILENAME_CHARS = 200
FORM = "multipart/form-data"
UNTOLD = "application/x-www-form-urlencoded"  # what curl says of --data-binary when it is told nothing
RAW_BODY_TYPES = ("audio/", "video/", "application/octet-stream", "application/ogg", "application/mp4", UNTOLD)


class Ask(Value, frozen=True):
    """What a request wants, in no dialect any more."""

    options: TranscribeOptions
    models: tuple[str, ...]  # catalogue ids; the first is options.model
    title: str = ""
    workspace: str | None = None  # None: it is the caller's own
    priority: Priority | None = None  # None: the site's default
    callback_url: str | None = None
    privacy: Privacy | None = None
    known_voices: tuple[KnownVoice, ...] = ()
    needs_speakers: bool = False  # as in `Submission`
    response_format: str = "json"


A = TypeVar("A", bound=Ask)


async def submit(
    request: ApiRequest,
    services: Services,
    known: Collection[str],
    parse: Callable[[Fields], A],
    *,
    keep: bool,
    raw_body: bool = True,
    max_field_bytes: int = MAX_FIELD_BYTES,
) -> tuple[Job, A]:
    """Receive the recording and hand it to the queue.

    Everything that can be refused before the body is read is: the query (all there is, for a raw body), the key
    header, the licence and the queue. Where the key is known, these two wait until it is clear that it is no repetition.
    Raises what `parse`, `receive_form`, `receive_body` and `Jobs.submit` raise.
    """
    idempotency_key = read_idempotency_key(request)
    query = list(request.query_params.multi_items())
    _check_query(request, services, Fields(query, known), parse)
    is_known = idempotency_key is not None and await services.jobs.is_known(caller(request).reach, idempotency_key)
    services.jobs.check_room(is_known=is_known)
    form = await _receive(request, services, raw_body=raw_body, max_field_bytes=max_field_bytes)
    upload = form.upload
    if upload is None:
        raise MissingFile
    try:
        ask = parse(Fields([*query, *form.fields], known))
        _check_workspace(request, ask)
        submission = _submission(request, services, ask, upload)
    except BaseException:
        upload.close()
        raise
    submission = structs.replace(submission, keep=keep, idempotency_key=idempotency_key)
    return await services.jobs.submit(submission), ask


def _check_query(request: ApiRequest, services: Services, fields: Fields, parse: Callable[[Fields], A]) -> None:
    """All of it for a raw body. A form may still name the model, and what goes with it: then only what stands by itself."""
    if _content_type(request) != FORM:
        _check_workspace(request, parse(fields))
        return
    for name in (fields.text("model"), *fields.many("models", separators=",")):
        if name is not None:
            resolve_model(services, name)
    fields.language("language")
    fields.languages("languages", separators=",")


def _check_workspace(request: ApiRequest, ask: Ask) -> None:
    """Raises `NotFound`, `RoleTooLow`, `NotAvailable`."""
    if ask.workspace is None:
        return
    caller(request).reach.ensure_may_add(ask.workspace)
    if ask.privacy is not None:
        raise NotAvailable("workspace", "only the browser of its owner can read a private transcript")


def _content_type(request: ApiRequest) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _submission(request: ApiRequest, services: Services, ask: Ask, upload: Upload) -> Submission:
    return Submission(
        upload=replace(upload, filename=clean_filename(upload.filename)),
        options=ask.options,
        models=ask.models,
        title=ask.title or title_of(upload.filename),
        owner=ask.workspace or caller(request).owner_id,
        sender=caller(request).owner_id,
        priority=ask.priority or services.settings.default_priority,
        callback_url=ask.callback_url,
        privacy=ask.privacy,
        known_voices=ask.known_voices,
        needs_speakers=ask.needs_speakers,
    )


# --- the body ---------------------------------------------------------------------------------------------------------


async def _receive(request: ApiRequest, services: Services, *, raw_body: bool, max_field_bytes: int) -> Form:
    kind = _content_type(request)
    limits = UploadLimits(services.settings.max_upload_bytes, services.settings.upload_stall_timeout_s, max_field_bytes)
    declared = request.content_length
    if kind == FORM:
        return await receive_form(
            body_chunks(request.receive),
            services.budget,
            limits,
            content_type=request.headers["content-type"],
            declared_bytes=declared,
        )
    if raw_body and (not kind or kind.startswith(RAW_BODY_TYPES)):
        filename = clean_filename(request.query_params.get("filename", "recording"))
        upload = await receive_body(
            body_chunks(request.receive),
            services.budget,
            limits,
            declared_bytes=declared,
            filename=filename,
            content_type=kind if kind not in ("", UNTOLD) else "application/octet-stream",
        )
        return Form((), upload)
    raise UnsupportedBody(kind or "unknown", _body_hint(raw_body))


def _body_hint(raw_body: bool) -> str:
    hint = "Send a form ('multipart/form-data') with the recording in the field 'file'"
    return f"{hint}, or the recording as the whole body with a content type such as 'audio/mpeg'." if raw_body else f"{hint}."


def clean_filename(name: str) -> str:
    """The last part of whatever path a client sent, without control characters, of bounded length."""
    last = PurePosixPath(PureWindowsPath(name).name).name
    kept = "".join(char for char in last if char.isprintable())[:MAX_FILENAME_CHARS].strip()
    return kept if kept.strip(".") else "recording"


def title_of(filename: str) -> str:
    name = clean_filename(filename)
    return name.rpartition(".")[0] or name


def read_idempotency_key(request: ApiRequest) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= 255 and key.isascii() and key.isprintable()):
        raise InvalidField("Idempotency-Key", "must be 1 to 255 printable ASCII characters")
    return key
