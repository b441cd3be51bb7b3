"""Transcripts whose owner is gone, such as those of a revoked key: for administrators, who may erase them and see no word."""

from __future__ import annotations

from datetime import datetime

from litestar import get

from appliance.api.auth import ADMIN
from appliance.api.fields import Fields
from appliance.api.services import ApiRequest, services_of
from appliance.domain import JobState, TranscriptRecord, Value

DEFAULT_LIMIT, MAX_LIMIT = 50, 200


class Orphan(Value, frozen=True):
    """No title and no file name: they say what a recording is about."""

    id: int
    owner: str  # who it was
    status: JobState
    created_at: datetime
    duration: float | None
    size_bytes: int


class OrphanListing(Value, frozen=True):
    results: tuple[Orphan, ...]  # the newest first
    count: int


@get("/api/v1/orphans", opt=ADMIN, tags=["People"], summary="Transcripts whose owner is gone")
async def list_orphans(request: ApiRequest) -> OrphanListing:
    """Query: `limit` (50, at most 200), `offset`. `DELETE /api/v1/transcripts/{id}/` erases one."""
    fields = Fields(request.query_params.multi_items(), ("limit", "offset"))
    limit = fields.integer("limit", 1, MAX_LIMIT) or DEFAULT_LIMIT
    page = await services_of(request).store.transcripts.list_unowned(limit, fields.integer("offset", 0, 2**31) or 0)
    return OrphanListing(tuple(map(_orphan, page.results)), page.count)


def _orphan(record: TranscriptRecord) -> Orphan:
    return Orphan(
        id=record.id,
        owner=record.owner,
        status=record.state,
        created_at=record.created_at,
        duration=record.recording.duration,
        size_bytes=record.recording.size_bytes,
    )
