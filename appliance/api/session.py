"""The session of a browser: its state, signing in, proving again who one is, signing out."""

from __future__ import annotations

from litestar import Response, delete, get, post
from msgspec import structs

from appliance.api.auth import PUBLIC, SIGNED_IN, authenticate, caller
from appliance.api.json_body import read_json
from appliance.api.json_schema import json_body
from appliance.api.people_answers import KeyInUse, KeyOwner
from appliance.api.services import ApiRequest, services_of
from appliance.api.session_guard import check_own_page, forgotten_cookie, session_secret
from appliance.api.sign_in import (
    SessionAnswer,
    answer_opened,
    check_second_factor,
    confirm_password,
    describe_session,
    guarded_attempt,
    open_session,
)
from appliance.domain import Value
from appliance.errors import Unauthorized, WrongCredentials
from appliance.store import Person

TAGS = ["Session"]
PATH = "/api/v1/session"


class SignIn(Value, frozen=True, forbid_unknown_fields=True):
    email: str
    password: str
    code: str | None = None  # of the authenticator, or a recovery code


class Confirmation(Value, frozen=True, forbid_unknown_fields=True):
    password: str


@get(PATH, opt=PUBLIC, tags=TAGS, summary="Who is signed in, and the token that changes need")
async def read_session(request: ApiRequest) -> SessionAnswer:
    """Answers everybody; a cookie or a key that is not valid any more is like none. A key is also told whose it is."""
    answer = await describe_session(request, session_secret(request))
    return structs.replace(answer, key=await _key_in_use(request))


async def _key_in_use(request: ApiRequest) -> KeyInUse | None:
    services = services_of(request)
    try:
        key = await authenticate(request.headers.get("authorization"), services.store.keys)
    except Unauthorized:
        return None
    if key.person_id is None:
        return KeyInUse(key.name, None)
    owner = await services.store.people.get(key.person_id)
    return KeyInUse(key.name, KeyOwner(owner.name, owner.email))


@post(PATH, opt=PUBLIC, tags=TAGS, status_code=200, operation_class=json_body(SignIn), summary="Sign in")
async def sign_in(request: ApiRequest) -> Response[SessionAnswer]:
    """JSON: `email`, `password`, and `code` for an account with a second factor (without it: 401 `second_factor_needed`).

    401 `wrong_credentials` does not say what was wrong. 429 says in `Retry-After` when to try again.
    """
    check_own_page(request)
    given = await read_json(request, SignIn)
    person = await _prove(request, given)
    return await answer_opened(request, await open_session(request, person, "password"), account=given.email)


async def _prove(request: ApiRequest, given: SignIn) -> Person:
    services = services_of(request)
    async with guarded_attempt(request, given.email):
        person = await services.store.people.check_password(given.email, given.password)
        if person is None:
            await services.store.audit.record("session.refused", "nobody", reason="password")
            raise WrongCredentials
        await check_second_factor(services, person, given.code)
    return person


@post(
    f"{PATH}/confirm",
    opt=SIGNED_IN,
    tags=TAGS,
    status_code=200,
    operation_class=json_body(Confirmation),
    summary="Enter the password again, for a change that asks for it",
)
async def confirm_session(request: ApiRequest) -> SessionAnswer:
    """JSON: `password`. Holds for a quarter of an hour."""
    given = await read_json(request, Confirmation)
    who = caller(request)
    await confirm_password(request, who, given.password)
    assert who.session is not None
    await services_of(request).store.sessions.confirm(who.session.id)
    return await describe_session(request, session_secret(request))


@delete(PATH, opt=SIGNED_IN, tags=TAGS, status_code=204, summary="Sign out")
async def sign_out(request: ApiRequest) -> Response[None]:
    who, services = caller(request), services_of(request)
    assert who.session is not None
    await services.store.sessions.close(who.session.person_id, who.session.id)
    await services.store.audit.record("session.closed", who.owner_id, who.session.id)
    return Response(None, status_code=204, cookies=[forgotten_cookie(request)])
