"""Private transcripts: the result handed over once, its end acknowledged, and the envelope that a browser keeps here.

Only whoever sent the recording may call these; there is no way around the owner, not for administrators either.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, cast

from litestar import Response, get, post, put
from litestar.types import ASGIApp, Receive, Scope, Send

from appliance.api.answer_bodies import SEALED, SealedAnswer
from appliance.api.auth import READ, WRITE, Caller, caller
from appliance.api.request_bodies import EnvelopeBody
from appliance.api.services import ApiRequest, Services, services_of
from appliance.api.whole_body import large_body
from appliance.crypto.envelope import MAX_ENVELOPE_BYTES, read_envelope
from appliance.domain import TranscriptRecord, Value
from appliance.errors import EnvelopeInvalid, NotPrivate, NotReady, ResultGone
from appliance.jobs import PrivateResult
from appliance.store import PrivateState, Right, own_reach

PATH = "/api/v1/transcripts/{key:str}"
TAGS = ["Private transcripts"]


class PrivateAnswer(Value, frozen=True):
    slug: str
    owner: str  # what the envelope is bound to, with the slug
    language: str | None
    result: Literal["waiting", "gone"]  # in memory, to be fetched; or not, or not any more
    result_sealed: bool | None  # to the public key that was sent with the recording
    result_expires_in_s: int | None
    acknowledged_at: datetime | None
    envelope_version: int  # 0: none is stored; the next one must have one more
    envelope_bytes: int
    envelope_stored_at: datetime | None


@get(f"{PATH}/private", opt=READ, tags=TAGS, summary="Where a private transcript stands")
async def read_private_state(request: ApiRequest, key: str) -> PrivateAnswer:
    services = services_of(request)
    return _answer(services, await services.store.envelopes.state(key, own_reach(caller(request).owner_id)))


def _answer(services: Services, state: PrivateState) -> PrivateAnswer:
    held = services.jobs.held_results
    result, left_s = held.find(state.transcript_id), held.seconds_left(state.transcript_id)
    return PrivateAnswer(
        slug=state.slug,
        owner=state.owner,
        language=state.language,
        result="waiting" if result else "gone",
        result_sealed=result.is_sealed if result else None,
        result_expires_in_s=None if left_s is None else round(left_s),
        acknowledged_at=state.acknowledged_at,
        envelope_version=state.version,
        envelope_bytes=state.size_bytes,
        envelope_stored_at=state.stored_at,
    )


# --- the result -------------------------------------------------------------------------------------------------------


@get(
    f"{PATH}/result",
    opt=READ,
    operation_class=SealedAnswer,
    tags=TAGS,
    summary="The result of a private transcript, while it is in memory",
)
async def read_private_result(request: ApiRequest, key: str) -> Response[Any]:
    """The JSON document; or, where `seal_to` was sent, that document sealed (docs/private-transcripts.md). Then acknowledge it."""
    services = services_of(request)
    record = await _own_private(services, caller(request), key)
    if not record.state.is_final or record.failure:
        raise NotReady("result", record.state, record.failure)
    result = services.jobs.held_results.find(record.id)
    if result is None:
        raise ResultGone
    await services.store.audit.record("private.fetched", caller(request).owner_id, str(record.id))
    return _HandedOver(result)


@post(f"{PATH}/result/ack", opt=WRITE, status_code=204, tags=TAGS, summary="Have the result wiped from memory, at once")
async def acknowledge_result(request: ApiRequest, key: str) -> None:
    """Call it when the result is safe with you. Calling it again does no harm."""
    services = services_of(request)
    record = await _own_private(services, caller(request), key)
    if not record.state.is_final or record.failure:
        raise NotReady("result", record.state, record.failure)
    services.jobs.held_results.wipe(record.id)
    await services.store.envelopes.acknowledge(record.id)
    await services.store.audit.record("private.acknowledged", caller(request).owner_id, str(record.id))


async def _own_private(services: Services, who: Caller, key: str) -> TranscriptRecord:
    record = await services.store.transcripts.locate(key, own_reach(who.owner_id), Right.READ)
    if not record.private:
        raise NotPrivate
    return record


class _HandedOver(Response[Any]):
    """Sends the pieces of memory that `PrivateResult.wipe` overwrites, and makes no copy of them on the way.

    A declared length keeps the server from framing, and so copying, each piece.
    """

    def __init__(self, result: PrivateResult) -> None:
        super().__init__(None)
        self.media_type = SEALED if result.is_sealed else "application/json"
        self._size_bytes = result.size_bytes
        self._chunks: Sequence[bytearray] = result.chunks()

    def to_asgi_response(self, request: ApiRequest, **_: Any) -> ASGIApp:  # type: ignore[override]  # noqa: ANN401
        async def send_result(scope: Scope, receive: Receive, send: Send) -> None:
            headers = [
                (b"content-type", str(self.media_type).encode()),
                (b"content-length", str(self._size_bytes).encode()),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for chunk in self._chunks:
                await send({"type": "http.response.body", "body": cast("bytes", chunk), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        return send_result


# --- the envelope -----------------------------------------------------------------------------------------------------


@get(f"{PATH}/envelope", opt=READ, tags=TAGS, summary="The encrypted transcript, as it was stored")
async def read_private_envelope(request: ApiRequest, key: str) -> Response[bytes]:
    envelope = await services_of(request).store.envelopes.read(key, own_reach(caller(request).owner_id))
    return Response(envelope, media_type="application/json")


@put(
    f"{PATH}/envelope",
    opt=WRITE,
    request_max_body_size=MAX_ENVELOPE_BYTES,
    operation_class=EnvelopeBody,
    tags=TAGS,
    summary="Store the encrypted transcript, in place of the version before",
)
async def store_private_envelope(request: ApiRequest, key: str) -> PrivateAnswer:
    """Its `version` must be one more than the stored one's; otherwise 409 `stale_envelope`, and nothing changes."""
    services, who = services_of(request), caller(request)
    slug = (await _own_private(services, who, key)).slug  # before up to 64 MiB are received
    async with large_body(request, MAX_ENVELOPE_BYTES) as body:
        version = _checked_version(body, who, slug)
        state = await services.store.envelopes.store(key, own_reach(who.owner_id), version, body)
    await services.store.audit.record("private.stored", who.owner_id, str(state.transcript_id))
    return _answer(services, state)


def _checked_version(body: bytes, who: Caller, slug: str) -> int:
    """Raises `EnvelopeInvalid`."""
    envelope = read_envelope(body)
    if envelope.owner != who.owner_id:
        raise EnvelopeInvalid("its 'owner' is not you")
    if envelope.transcript != slug:
        raise EnvelopeInvalid("its 'transcript' is another one")
    return envelope.version
