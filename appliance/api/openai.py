"""OpenAI's audio API: `/v1/audio/transcriptions` and `/v1/audio/translations`, for their unmodified packages.

Results are not kept: that API has no way to list or erase them. If all its clients leave, the job is cancelled.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from litestar import Response, post
from litestar.response import ServerSentEvent

from appliance.api.auth import TRANSCRIBE
from appliance.api.errors import OPENAI
from appliance.api.intake import submit
from appliance.api.openai_answers import MEDIA_TYPES, diarized_json, plain_json, render_document, verbose_json
from appliance.api.openai_fields import (
    MAX_VOICE_BYTES,
    TRANSCRIPTION_FIELDS,
    TRANSLATION_FIELDS,
    OpenAiAsk,
    parse_transcription,
    parse_translation,
)
from appliance.api.openai_stream import TranscriptStream
from appliance.api.request_bodies import OpenAiTranslationUpload, OpenAiUpload
from appliance.api.services import ApiRequest, Services, services_of
from appliance.api.waiting import wait_for_result, while_connected
from appliance.domain import Transcript
from appliance.jobs import Job


@post(
    "/v1/audio/transcriptions",
    opt=TRANSCRIBE | OPENAI,
    status_code=200,
    request_max_body_size=None,
    operation_class=OpenAiUpload,
    tags=["OpenAI audio"],
    summary="Transcribe",
)
async def create_transcription(request: ApiRequest) -> Response[Any]:
    services = services_of(request)
    parse = partial(parse_transcription, services=services)
    job, ask = await submit(
        request, services, TRANSCRIPTION_FIELDS, parse, keep=False, raw_body=False, max_field_bytes=MAX_VOICE_BYTES
    )
    return await (_stream if ask.stream else _whole)(request, services, job, ask)


@post(
    "/v1/audio/translations",
    opt=TRANSCRIBE | OPENAI,
    status_code=200,
    request_max_body_size=None,
    operation_class=OpenAiTranslationUpload,
    tags=["OpenAI audio"],
    summary="Translate into English",
)
async def create_translation(request: ApiRequest) -> Response[Any]:
    services = services_of(request)
    parse = partial(parse_translation, services=services)
    job, ask = await submit(request, services, TRANSLATION_FIELDS, parse, keep=False, raw_body=False)
    return await _whole(request, services, job, ask)


async def _whole(request: ApiRequest, services: Services, job: Job, ask: OpenAiAsk) -> Response[Any]:
    finished = await wait_for_result(request, services, job)
    assert finished.record.transcript is not None
    return await asyncio.to_thread(_answer, finished.record.transcript, ask)


def _answer(transcript: Transcript, ask: OpenAiAsk) -> Response[Any]:
    match ask.response_format:
        case "json":
            return Response(plain_json(transcript, logprobs=ask.logprobs), status_code=200)
        case "verbose_json":
            return Response(verbose_json(transcript, ask.granularities), status_code=200)
        case "diarized_json":
            return Response(diarized_json(transcript), status_code=200)
    document = render_document(transcript, ask.response_format).encode()
    return Response(document, status_code=200, media_type=MEDIA_TYPES[ask.response_format])


async def _stream(request: ApiRequest, services: Services, job: Job, ask: OpenAiAsk) -> Response[Any]:
    stream = TranscriptStream(services, job, ask)
    await while_connected(request, services, job, stream.open())
    return ServerSentEvent(stream.messages())
