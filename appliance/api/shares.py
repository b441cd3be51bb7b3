"""Links to a transcript, for those who may change it: made, listed, withdrawn. What a link shows is left to `shared`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from litestar import delete, get, post
from msgspec import UNSET, Meta, UnsetType, structs

from appliance.api.auth import ALSO_READ, READ, WRITE, caller
from appliance.api.json_body import read_json
from appliance.api.json_schema import json_body
from appliance.api.services import ApiRequest, services_of
from appliance.domain import Value
from appliance.store import NewShare, Share

PATH: Final = "/api/v1/transcripts/{key:str}/shares"
ShareStatus = Literal["open", "used_up", "expired", "revoked", "ended"]  # ended: whoever made it may not change it any more
USUALLY_OPEN: Final = timedelta(days=7)


class ShareWish(Value, frozen=True, forbid_unknown_fields=True):
    password: Annotated[str | None, Meta(description="8 to 256 characters; null or absent: none is asked for.")] = None
    expires_at: Annotated[
        Annotated[datetime, Meta(tz=True)] | UnsetType | None,
        Meta(description="With its time zone. Absent: in seven days; null: not before it is withdrawn."),
    ] = UNSET
    max_views: Annotated[
        int | None, Meta(description="How often it may be opened, each time for half an hour; null: any number.")
    ] = None


class ShareAnswer(Value, frozen=True):
    id: str
    status: ShareStatus
    made_by: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    max_views: int | None
    views: int
    last_viewed_at: datetime | None
    has_password: bool


class MadeShare(ShareAnswer, frozen=True):
    url: str  # shown once: the appliance keeps only a digest of what stands in it
    path: str  # the same without the host


class ShareListing(Value, frozen=True):
    results: tuple[ShareAnswer, ...]  # the newest first


@post(
    PATH,
    opt=WRITE | ALSO_READ,
    operation_class=json_body(ShareWish),
    tags=["Sharing"],
    summary="Make a link that shows this transcript",
)
async def create_share(request: ApiRequest, key: str) -> MadeShare:
    """Whoever holds the link may read and download the transcript as it is then, and nothing else; never a private one."""
    wish = await read_json(request, ShareWish)
    expires_at = datetime.now(UTC) + USUALLY_OPEN if wish.expires_at is UNSET else wish.expires_at
    new = NewShare(expires_at=expires_at, max_views=wish.max_views, password=wish.password)
    share, token = await services_of(request).store.shares.create(key, caller(request).reach, new)
    path = f"/s/{token}"
    return MadeShare(**structs.asdict(share_answer(share)), url=str(request.base_url).rstrip("/") + path, path=path)


@get(PATH, opt=READ, tags=["Sharing"], summary="The links to this transcript")
async def list_shares(request: ApiRequest, key: str) -> ShareListing:
    """Only for those who may change it. The addresses themselves are not kept, and so not shown again."""
    found = await services_of(request).store.shares.list(key, caller(request).reach)
    return ShareListing(results=tuple(map(share_answer, found)))


@delete(f"{PATH}/{{share_id:str}}", opt=WRITE, tags=["Sharing"], summary="Withdraw a link")
async def revoke_share(request: ApiRequest, key: str, share_id: str) -> None:
    """At once, also for those who have it open."""
    await services_of(request).store.shares.revoke(key, caller(request).reach, share_id)


def share_answer(share: Share) -> ShareAnswer:
    return ShareAnswer(
        id=share.id,
        status=_status(share),
        made_by=share.made_by,
        created_at=share.created_at,
        expires_at=share.expires_at,
        revoked_at=share.revoked_at,
        max_views=share.max_views,
        views=share.views,
        last_viewed_at=share.last_viewed_at,
        has_password=share.has_password,
    )


def _status(share: Share) -> ShareStatus:
    if share.revoked_at is not None:
        return "revoked"
    if not share.stands:
        return "ended"
    if share.expires_at is not None and share.expires_at <= datetime.now(UTC):
        return "expired"
    return "used_up" if share.max_views is not None and share.views >= share.max_views else "open"
