"""One-time links: the first administrator sets the appliance up, somebody invited joins, a forgotten password is replaced.

The token stands behind the `#` of a link and comes here in a body, never in an address that somebody may log.
"""

from __future__ import annotations

from datetime import datetime

from litestar import Response, post

from appliance.api.auth import PUBLIC
from appliance.api.json_body import read_json
from appliance.api.json_schema import json_body
from appliance.api.services import ApiRequest, services_of
from appliance.api.session_guard import check_own_page
from appliance.api.sign_in import SessionAnswer, answer_opened, open_session
from appliance.domain import Value
from appliance.store import PersonRole, Purpose

TAGS = ["Joining"]


class Token(Value, frozen=True, forbid_unknown_fields=True):
    token: str


class LinkPurpose(Value, frozen=True):
    purpose: Purpose
    expires_at: datetime
    name: str | None  # of whom it is for; none for setup
    email: str | None
    role: PersonRole | None


class SetUp(Value, frozen=True, forbid_unknown_fields=True):
    token: str
    name: str
    email: str
    password: str


class Acceptance(Value, frozen=True, forbid_unknown_fields=True):
    token: str
    name: str
    password: str


class NewPassword(Value, frozen=True, forbid_unknown_fields=True):
    token: str
    password: str


@post("/api/v1/links/look", opt=PUBLIC, tags=TAGS, status_code=200, operation_class=json_body(Token), summary="What a link is for")
async def look_at_link(request: ApiRequest) -> LinkPurpose:
    """JSON: `token`. It stays usable. 410 `link_spent` when it was used, has expired, or was replaced."""
    given = await read_json(request, Token)
    offer = await services_of(request).store.people.look_up(given.token)
    person = offer.person
    return LinkPurpose(
        purpose=offer.link.purpose,
        expires_at=offer.link.expires_at,
        name=person.name if person else None,
        email=person.email if person else None,
        role=person.role if person else None,
    )


@post(
    "/api/v1/setup",
    opt=PUBLIC,
    tags=TAGS,
    status_code=201,
    operation_class=json_body(SetUp),
    summary="Make the first administrator, and sign in",
)
async def set_up(request: ApiRequest) -> Response[SessionAnswer]:
    """JSON: `token` (from the link that the appliance prints at its first start), `name`, `email`, `password`."""
    check_own_page(request)
    given = await read_json(request, SetUp)
    person = await services_of(request).store.people.set_up(given.token, given.name, given.email, given.password)
    return await answer_opened(request, await open_session(request, person, "setup"), 201)


@post(
    "/api/v1/invitations/accept",
    opt=PUBLIC,
    tags=TAGS,
    status_code=201,
    operation_class=json_body(Acceptance),
    summary="Accept an invitation, and sign in",
)
async def accept_invitation(request: ApiRequest) -> Response[SessionAnswer]:
    """JSON: `token`, `name`, `password`."""
    check_own_page(request)
    given = await read_json(request, Acceptance)
    person = await services_of(request).store.people.join(given.token, given.name, given.password)
    return await answer_opened(request, await open_session(request, person, "invitation"), 201)


@post(
    "/api/v1/password",
    opt=PUBLIC,
    tags=TAGS,
    status_code=204,
    operation_class=json_body(NewPassword),
    summary="Choose a new password with a link for it",
)
async def reset_password(request: ApiRequest) -> None:
    """JSON: `token`, `password`. Ends all sessions of the person, who then signs in with it, second factor included."""
    check_own_page(request)
    given = await read_json(request, NewPassword)
    await services_of(request).store.people.reset_password(given.token, given.password)
