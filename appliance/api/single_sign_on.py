"""Signing in with an account of elsewhere: what the sign-in page offers, the way to the OpenID Connect provider and back,
and the directory's name and password. Who somebody is, `identity` finds out; the session is opened as for everybody.
"""

from __future__ import annotations

import logging
from typing import Final

from litestar import Response, get, post
from litestar.datastructures import Cookie
from litestar.response import Redirect

from appliance.api.auth import PUBLIC
from appliance.api.json_body import read_json
from appliance.api.json_schema import json_body
from appliance.api.services import ApiRequest, Services, services_of
from appliance.api.session_guard import check_own_page
from appliance.api.sign_in import SessionAnswer, answer_opened, check_second_factor, guarded_attempt, open_session
from appliance.domain import Value
from appliance.errors import ApplianceError, NotInAllowedGroup, SignInNotOffered, SignInRefusedElsewhere, SignInSourceDown
from appliance.identity import Callback, ExternalIdentity, LdapDirectory, NameAndPassword, OidcProvider
from appliance.identity.oidc import PENDING_S
from appliance.store import Person

log = logging.getLogger(__name__)

TAGS: Final = ["Session"]
PATH: Final = "/api/v1/session"
MAX_PARAMETER_CHARS: Final = 4096
SEE_OTHER: Final = 303


class OidcOffer(Value, frozen=True):
    label: str
    start_url: str  # where the button leads


class LdapOffer(Value, frozen=True):
    label: str


class ProvidersAnswer(Value, frozen=True):
    password: bool  # accounts of the appliance itself: always
    oidc: OidcOffer | None
    ldap: LdapOffer | None


class DirectorySignIn(Value, frozen=True, forbid_unknown_fields=True):
    name: str
    password: str
    code: str | None = None  # of the authenticator, where the person added one here


@get(f"{PATH}/providers", opt=PUBLIC, tags=TAGS, summary="The ways to sign in here")
async def list_providers(request: ApiRequest) -> ProvidersAnswer:
    """For the sign-in page; says nothing about accounts."""
    sources = services_of(request).identities
    return ProvidersAnswer(
        password=True,
        oidc=OidcOffer(sources.oidc.label, f"{PATH}/oidc/start") if sources.oidc else None,
        ldap=LdapOffer(sources.ldap.label) if sources.ldap else None,
    )


# --- OpenID Connect ---------------------------------------------------------------------------------------------------


@get(f"{PATH}/oidc/start", opt=PUBLIC, tags=TAGS, summary="To the single sign-on provider", status_code=SEE_OTHER)
async def start_oidc(request: ApiRequest) -> Redirect:
    """Where it cannot be reached, back to the sign-in page, with the error's code after `#sign_in_error=`."""
    try:
        start = await _oidc(request).start()
    except SignInSourceDown as error:
        return _back_with(request, error)
    return Redirect(start.url, status_code=SEE_OTHER, cookies=[_pending_cookie(request, start.cookie, PENDING_S)])


@get(f"{PATH}/oidc/callback", opt=PUBLIC, tags=TAGS, summary="Back from the single sign-on provider", status_code=SEE_OTHER)
async def finish_oidc(request: ApiRequest) -> Redirect:
    """Leads to the start page and nowhere else, whatever the address says: signed in, or with `#sign_in_error=<code>`."""
    try:
        identity = await _oidc(request).identify(_callback(request))
        person = await _person_of(services_of(request), identity)
        opened = await open_session(request, person, "oidc")
    except ApplianceError as error:
        await _note_refusal(services_of(request), error, "oidc")
        return _back_with(request, error)
    return Redirect("/", status_code=SEE_OTHER, cookies=[opened.cookie, _pending_cookie(request, "", 0)])


def _oidc(request: ApiRequest) -> OidcProvider:
    provider = services_of(request).identities.oidc
    if provider is None:
        raise SignInNotOffered
    return provider


def _callback(request: ApiRequest) -> Callback:
    """Providers add parameters of their own, which say nothing here."""
    given = {name: _clean(value) for name, value in request.query_params.items()}
    return Callback(
        cookie=_clean(request.cookies.get(_pending_name(request), "")),
        state=given.get("state", ""),
        code=given.get("code", ""),
        error=given.get("error", ""),
        issuer=given.get("iss"),
    )


def _clean(value: str) -> str:
    return value[:MAX_PARAMETER_CHARS].encode(errors="replace").decode()


def _back_with(request: ApiRequest, error: ApplianceError) -> Redirect:
    log.warning("%s %s", error.message, error.hint)
    return Redirect(f"/#sign_in_error={error.code}", status_code=SEE_OTHER, cookies=[_pending_cookie(request, "", 0)])


def _pending_cookie(request: ApiRequest, value: str, seconds: int) -> Cookie:
    """Lax, because the browser comes back from the provider's site; of no use to anybody but the browser that started."""
    return Cookie(
        key=_pending_name(request),
        value=value,
        path="/",
        max_age=seconds,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def _pending_name(request: ApiRequest) -> str:
    return "__Host-sign-in" if request.url.scheme == "https" else "sign-in"


# --- the directory ----------------------------------------------------------------------------------------------------


@post(
    f"{PATH}/ldap",
    opt=PUBLIC,
    tags=TAGS,
    status_code=200,
    operation_class=json_body(DirectorySignIn),
    summary="Sign in with the directory's name and password",
)
async def sign_in_ldap(request: ApiRequest) -> Response[SessionAnswer]:
    """401 `sign_in_refused` does not say what was wrong; 503 `sign_in_source_down` is no failed attempt."""
    check_own_page(request)
    directory = services_of(request).identities.ldap
    if directory is None:
        raise SignInNotOffered
    given = await read_json(request, DirectorySignIn)
    account = f"ldap {given.name}"  # apart from the appliance's own accounts
    person = await _prove(request, directory, given, account)
    return await answer_opened(request, await open_session(request, person, "ldap"), account=account)


async def _prove(request: ApiRequest, directory: LdapDirectory, given: DirectorySignIn, account: str) -> Person:
    services = services_of(request)
    try:
        async with guarded_attempt(request, account):
            identity = await directory.identify(NameAndPassword(given.name, given.password))
            person = await _person_of(services, identity)
            await check_second_factor(services, person, given.code)
            return person
    except SignInSourceDown as error:
        log.warning("%s %s", error.message, error.hint)
        raise
    except (SignInRefusedElsewhere, NotInAllowedGroup) as error:
        await _note_refusal(services, error, "ldap")
        raise


# --- both -------------------------------------------------------------------------------------------------------------


async def _person_of(services: Services, identity: ExternalIdentity) -> Person:
    """Somebody new takes a seat. Raises `SeatsTaken`."""
    people = services.store.people
    if not await people.knows(identity):
        services.licensing.check_seat(await people.count_active())
    return await people.find_or_create_external(identity)


async def _note_refusal(services: Services, error: ApplianceError, method: str) -> None:
    """In the audit log stands only what cannot be brought about without an account there, or is slowed down here."""
    if isinstance(error, NotInAllowedGroup):
        await services.store.audit.record("session.refused", "nobody", method=method, reason="unknown")
    elif isinstance(error, SignInRefusedElsewhere) and method == "ldap":
        await services.store.audit.record("session.refused", "nobody", method=method, reason="password")
