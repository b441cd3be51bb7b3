"""Documents of a finished transcript, as downloads."""

from __future__ import annotations

import asyncio

from litestar import Response, get
from msgspec import structs

from appliance.api.answer_bodies import DocumentAnswer
from appliance.api.auth import READ, caller
from appliance.api.fields import Fields
from appliance.api.headers import content_disposition
from appliance.api.services import ApiRequest, services_of
from appliance.domain import TranscriptRecord
from appliance.errors import InvalidField, NotAvailable, NotFound, NotReady, PrivateTranscript
from appliance.export import FORMATS, PROFILES, export, parse_profile

LATER_FORMATS = ("docx", "pdf")


@get(
    "/api/v1/transcripts/{key:str}/export/{file_format:str}",
    opt=READ,
    operation_class=DocumentAnswer,
    tags=["Transcripts"],
    summary="Download as txt, srt, vtt, json or csv",
)
async def export_transcript(request: ApiRequest, key: str, file_format: str) -> Response[bytes]:
    """`?profile=` shapes subtitles (a name, or numbers: `max_line_chars=32,max_lines=1`); `?model=` picks one of the compared."""
    if file_format in LATER_FORMATS:
        raise NotAvailable(file_format, "it comes with a later version", f"Now there are {', '.join(FORMATS)}.")
    if file_format not in FORMATS:
        raise NotFound(f"format '{file_format}'")
    fields = Fields(request.query_params.multi_items(), ("profile", "model"))
    profile = parse_profile(text) if (text := fields.text("profile")) else PROFILES["default"]
    services, who = services_of(request), caller(request)
    record = await services.store.transcripts.get(key, who.reach)
    if record.private:
        raise PrivateTranscript("no document can be made of it here")
    if record.transcript is None:
        raise NotReady("document", record.state, record.failure)
    chosen = version_of(record, fields.text("model"))
    document = await asyncio.to_thread(export, chosen, file_format, profile)  # hours of speech take a while
    await services.store.audit.record("transcript.exported", who.owner_id, str(record.id), format=file_format)
    return Response(
        document.content,
        media_type=document.media_type,
        headers={"Content-Disposition": content_disposition(document.filename)},
    )


def version_of(record: TranscriptRecord, model: str | None) -> TranscriptRecord:
    """The record with the result of this model as its transcript, the others as alternatives. Raises `InvalidField`."""
    versions = [version for version in (record.transcript, *record.alternatives) if version is not None]
    for version in versions:
        if model in (None, version.model):
            others = tuple(other for other in versions if other is not version)
            return structs.replace(record, transcript=version, alternatives=others)
    raise InvalidField("model", f"must be one of {', '.join(version.model for version in versions)}, not '{model}'")
