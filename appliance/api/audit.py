"""The audit log and the usage journal for administrators: their heads, and their entries as JSON lines."""

from __future__ import annotations

from litestar import get
from litestar.response import Stream

from appliance.api.auth import ADMIN, caller
from appliance.api.fields import Fields
from appliance.api.services import ApiRequest, services_of
from appliance.domain import Value
from appliance.store import Head, Journal

MEDIA_TYPE = "application/jsonl"
MAX_SEQUENCE = 999_999_999


class HeadAnswer(Value, frozen=True):
    """Keep it elsewhere: with it, `appliance audit verify --head` shows later that nothing up to here was changed or cut off."""

    chain: str
    sequence: int
    hash: str
    head: str  # the three as one text


@get("/api/v1/audit", opt=ADMIN, tags=["Audit"], summary="The audit log as JSON lines", media_type=MEDIA_TYPE)
async def export_audit(request: ApiRequest) -> Stream:
    """Query: `after` (a sequence: only later entries), `limit`. Streamed; each line verifies against the one before it."""
    return await _export(request, services_of(request).store.audit)


@get("/api/v1/usage", opt=ADMIN, tags=["Audit"], summary="The usage journal as JSON lines", media_type=MEDIA_TYPE)
async def export_usage(request: ApiRequest) -> Stream:
    """Query: `after` (a sequence: only later entries), `limit`. Seconds of audio and work by owner and model."""
    return await _export(request, services_of(request).store.usage)


@get("/api/v1/audit/head", opt=ADMIN, tags=["Audit"], summary="The newest entry of the audit log: its number and hash")
async def read_audit_head(request: ApiRequest) -> HeadAnswer:
    return _answer(await services_of(request).store.audit.head())


@get("/api/v1/usage/head", opt=ADMIN, tags=["Audit"], summary="The newest entry of the usage journal: its number and hash")
async def read_usage_head(request: ApiRequest) -> HeadAnswer:
    return _answer(await services_of(request).store.usage.head())


async def _export(request: ApiRequest, journal: Journal) -> Stream:
    fields = Fields(request.query_params.multi_items(), ("after", "limit"))
    after = fields.integer("after", 0, MAX_SEQUENCE) or 0
    limit = fields.integer("limit", 1, MAX_SEQUENCE)
    await services_of(request).store.audit.record(f"{journal.chain}.exported", caller(request).owner_id, after=after)
    return Stream(journal.lines(after, limit), media_type=MEDIA_TYPE)


def _answer(head: Head) -> HeadAnswer:
    return HeadAnswer(head.chain, head.sequence, head.hash, str(head))
