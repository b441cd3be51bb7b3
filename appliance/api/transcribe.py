"""`POST /v1/transcribe`: send a recording, wait, get the transcript; what the STT.ai clients call.

The client waits as long as it takes and nothing is sent before the result is there, so that a failure has its right status.
Behind a proxy that gives up on silent connections, use `POST /api/v1/transcripts/` and its events instead.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from litestar import Response, post
from litestar.openapi.datastructures import ResponseSpec
from msgspec import structs

from appliance.api.auth import TRANSCRIBE
from appliance.api.fields import Fields
from appliance.api.intake import Ask, submit
from appliance.api.native_answers import TranscriptAnswer, transcript_answer
from appliance.api.native_fields import KNOWN, parse_native
from appliance.api.request_bodies import NativeUpload
from appliance.api.services import ApiRequest, Services, services_of
from appliance.api.waiting import wait_for_result
from appliance.domain import TranscriptRecord
from appliance.errors import NoPrivateHere
from appliance.export import export
from appliance.jobs import Finished

DOCUMENT_OF_MEDIA_TYPE = {"text/plain": "txt", "text/vtt": "vtt", "application/x-subrip": "srt"}


@post(
    "/v1/transcribe",
    opt=TRANSCRIBE,
    status_code=200,
    request_max_body_size=None,
    operation_class=NativeUpload,
    responses={200: ResponseSpec(TranscriptAnswer, description="The transcript; see Accept for documents")},
    tags=["Transcribe"],
    summary="Transcribe a recording and wait for the result",
)
async def transcribe(request: ApiRequest) -> Response[Any]:
    """Always JSON, the rendered document standing under `srt`, `vtt` or `text`; unless `Accept` names a document type alone."""
    services = services_of(request)
    job, ask = await submit(request, services, KNOWN, partial(_parse, services=services), keep=True)
    finished = await wait_for_result(request, services, job)
    wanted = DOCUMENT_OF_MEDIA_TYPE.get(request.accept.best_match(["application/json", *DOCUMENT_OF_MEDIA_TYPE]) or "")
    if wanted is None:
        return Response(await _answer(finished, ask.response_format), status_code=200)
    document = await asyncio.to_thread(export, finished.record, wanted)
    return Response(document.content, status_code=200, media_type=document.media_type)


def _parse(fields: Fields, services: Services) -> Ask:
    ask = parse_native(fields, services)
    if ask.privacy:
        raise NoPrivateHere
    return ask


async def _answer(finished: Finished, response_format: str) -> TranscriptAnswer:
    answer = await asyncio.to_thread(transcript_answer, finished.record, verbose=response_format == "verbose_json")
    answer = structs.replace(answer, timings=finished.timings)
    match response_format:
        case "srt":
            return structs.replace(answer, srt=await _render(finished.record, "srt"))
        case "vtt":
            return structs.replace(answer, vtt=await _render(finished.record, "vtt"))
    return answer


async def _render(record: TranscriptRecord, file_format: str) -> str:
    return (await asyncio.to_thread(export, record, file_format)).content.decode()
