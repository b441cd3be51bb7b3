"""What people manage of their own account: name, password, second factor, sessions."""

from __future__ import annotations

import io
from typing import Any

import segno
from litestar import Response, delete, get, patch, post

from appliance.api.auth import RECENTLY, SIGNED_IN, Caller, caller, require_session
from appliance.api.erasing import ERASURE_ANSWERS, erasure_answer
from appliance.api.json_body import read_json
from appliance.api.json_schema import json_body
from appliance.api.people_answers import PersonAnswer, SessionEntry, person_answer, session_entry
from appliance.api.services import ApiRequest, services_of
from appliance.api.sign_in import (
    SessionAnswer,
    answer_opened,
    check_second_factor,
    confirm_password,
    guarded_attempt,
    open_session,
    renew_session,
)
from appliance.domain import Value
from appliance.errors import SecondFactorElsewhere
from appliance.identity.ldap import PROVIDER as DIRECTORY
from appliance.store import PersonEdit, provisioning_uri

TAGS = ["My account"]
PATH = "/api/v1/me"
SECOND_FACTOR = f"{PATH}/second-factor"


class Profile(Value, frozen=True, forbid_unknown_fields=True):
    name: str


class PasswordChange(Value, frozen=True, forbid_unknown_fields=True):
    current: str
    new: str


class Enrolment(Value, frozen=True):
    """For an authenticator: as text, as the address behind a QR code, and as that code."""

    secret: str
    uri: str
    qr_svg: str


class Code(Value, frozen=True, forbid_unknown_fields=True):
    code: str


class RecoveryCodes(Value, frozen=True):
    """Shown once; each works once."""

    recovery_codes: tuple[str, ...]


class Enrolled(Value, frozen=True):
    recovery_codes: tuple[str, ...]
    session: SessionAnswer  # a new one: the others have ended


class SessionListing(Value, frozen=True):
    results: tuple[SessionEntry, ...]  # the newest first


@get(PATH, opt=SIGNED_IN, tags=TAGS, summary="My account")
async def read_me(request: ApiRequest) -> PersonAnswer:
    return person_answer(await services_of(request).store.people.get(_me(request)))


@patch(PATH, opt=SIGNED_IN, tags=TAGS, operation_class=json_body(Profile), summary="Change my name")
async def change_me(request: ApiRequest) -> PersonAnswer:
    """JSON: `name`."""
    given = await read_json(request, Profile)
    return person_answer(await services_of(request).store.people.change(_me(request), PersonEdit(name=given.name), _me(request)))


@delete(PATH, opt=SIGNED_IN | RECENTLY, tags=TAGS, status_code=202, responses=ERASURE_ANSWERS, summary="Erase my account for good")
async def erase_me(request: ApiRequest) -> Response[Any]:
    """With all my own transcripts, keys and sessions. 204: nothing of it is left in any file; 202: as soon as a reader lets go."""
    services, me = services_of(request), _me(request)
    await services.store.people.check_erasable(me)
    await services.jobs.cancel_of(me)
    return erasure_answer(await services.store.people.erase(me, me))


@post(
    f"{PATH}/password",
    opt=SIGNED_IN,
    tags=TAGS,
    status_code=200,
    operation_class=json_body(PasswordChange),
    summary="Change my password",
)
async def change_password(request: ApiRequest) -> Response[SessionAnswer]:
    """JSON: `current`, `new`. Ends all my sessions; the answer begins a new one, with a new cookie and token."""
    given, who = await read_json(request, PasswordChange), caller(request)
    await confirm_password(request, who, given.current)
    await services_of(request).store.people.change_password(who.owner_id, given.new)
    return await renew_session(request, who)


# --- second factor ----------------------------------------------------------------------------------------------------


@post(SECOND_FACTOR, opt=SIGNED_IN | RECENTLY, tags=TAGS, status_code=200, summary="Begin with a second factor")
async def enrol_second_factor(request: ApiRequest) -> Enrolment:
    """It counts once a code was confirmed; beginning again gives another secret."""
    services = services_of(request)
    person = await services.store.people.get(_me(request))
    if person.provider not in (None, DIRECTORY):
        raise SecondFactorElsewhere
    secret = await services.store.second_factors.begin(person.id)
    uri = provisioning_uri(secret, person.email or person.name)
    return Enrolment(secret, uri, qr_svg(uri))


@post(
    f"{SECOND_FACTOR}/confirm",
    opt=SIGNED_IN | RECENTLY,
    tags=TAGS,
    status_code=200,
    operation_class=json_body(Code),
    summary="Confirm the second factor with its first code",
)
async def confirm_second_factor(request: ApiRequest) -> Response[Enrolled]:
    """JSON: `code`. Ends all my sessions; the answer begins a new one, and holds the recovery codes, shown once."""
    given, who = await read_json(request, Code), caller(request)
    async with guarded_attempt(request, who.owner_id):
        codes = await services_of(request).store.second_factors.confirm(who.owner_id, given.code)
    opened = await open_session(request, await services_of(request).store.people.get(who.owner_id), "password")
    session = (await answer_opened(request, opened)).content
    return Response(Enrolled(codes, session), status_code=200, cookies=[opened.cookie])


@post(
    f"{SECOND_FACTOR}/recovery-codes",
    opt=SIGNED_IN | RECENTLY,
    tags=TAGS,
    status_code=200,
    operation_class=json_body(Code),
    summary="New recovery codes",
)
async def renew_recovery_codes(request: ApiRequest) -> RecoveryCodes:
    """JSON: `code`, of the authenticator or a recovery code. The earlier ones end."""
    given, who = await read_json(request, Code), caller(request)
    await _prove_by_code(request, who, given.code)
    return RecoveryCodes(await services_of(request).store.second_factors.renew_recovery_codes(who.owner_id))


@post(
    f"{SECOND_FACTOR}/remove",
    opt=SIGNED_IN | RECENTLY,
    tags=TAGS,
    status_code=200,
    operation_class=json_body(Code),
    summary="Take my second factor off",
)
async def remove_second_factor(request: ApiRequest) -> Response[SessionAnswer]:
    """JSON: `code`, of the authenticator or a recovery code. Ends all my sessions; the answer begins a new one."""
    given, who = await read_json(request, Code), caller(request)
    await _prove_by_code(request, who, given.code)
    await services_of(request).store.second_factors.remove(who.owner_id, who.owner_id)
    return await renew_session(request, who)


async def _prove_by_code(request: ApiRequest, who: Caller, code: str) -> None:
    """A password that was seen, or a browser left open, is not enough. Raises `WrongCredentials`, `TooManyAttempts`."""
    services = services_of(request)
    async with guarded_attempt(request, who.owner_id):
        await check_second_factor(services, await services.store.people.get(who.owner_id), code)


def qr_svg(text: str) -> str:
    """Without a namespace or a script of its own: it stands inside the page."""
    sink = io.BytesIO()
    segno.make(text, error="m").save(sink, kind="svg", xmldecl=False, svgns=True, scale=4, border=4)
    return sink.getvalue().decode()


# --- sessions ---------------------------------------------------------------------------------------------------------


@get(f"{PATH}/sessions", opt=SIGNED_IN, tags=TAGS, summary="Where I am signed in")
async def list_sessions(request: ApiRequest) -> SessionListing:
    current = require_session(caller(request))
    found = await services_of(request).store.sessions.list(current.person_id)
    return SessionListing(tuple(session_entry(session, current.id) for session in found))


@delete(f"{PATH}/sessions", opt=SIGNED_IN, tags=TAGS, status_code=204, summary="Sign out everywhere else")
async def close_other_sessions(request: ApiRequest) -> None:
    current = require_session(caller(request))
    await services_of(request).store.sessions.close_others(current.person_id, current.id)


@delete(f"{PATH}/sessions/{{session_id:str}}", opt=SIGNED_IN, tags=TAGS, status_code=204, summary="End one of my sessions")
async def close_session(request: ApiRequest, session_id: str) -> None:
    await services_of(request).store.sessions.close(_me(request), session_id)


def _me(request: ApiRequest) -> str:
    return _person_of(caller(request))


def _person_of(who: Caller) -> str:
    return require_session(who).person_id
