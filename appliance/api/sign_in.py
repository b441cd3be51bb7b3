"""Opens sessions, for every way of signing in: the limits on guessing before it, the cookie and the audit entry after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import NamedTuple

from litestar import Response
from litestar.datastructures import Cookie

from appliance.api.auth import Caller, caller_of_session
from appliance.api.known_browsers import known_cookie, origin_of_attempt
from appliance.api.people_answers import KeyInUse, PersonAnswer, SessionEntry, person_answer, session_entry
from appliance.api.services import ApiRequest, Services, services_of
from appliance.api.session_guard import RECENT, csrf_token, session_cookie, session_secret
from appliance.domain import Value
from appliance.errors import AccountDisabled, SecondFactorNeeded, SignedOut, SignInSourceDown, WrongCredentials
from appliance.store import NewSession, Person, PersonState, Scope, Session, fold_email


class SessionAnswer(Value, frozen=True):
    """Also to who is not signed in: then only `signed_in` and `setup_needed` say anything."""

    signed_in: bool
    setup_needed: bool  # there is no administrator yet; the set-up link stands in the appliance's log
    csrf_token: str | None = None  # for the header X-CSRF-Token of every change
    person: PersonAnswer | None = None
    scopes: tuple[Scope, ...] = ()
    recent_until: datetime | None = None  # until then no password is asked again
    session: SessionEntry | None = None
    key: KeyInUse | None = None  # the one in the header Authorization, which wins over a cookie everywhere


class Opened(NamedTuple):
    """A session that begins with the answer to this request."""

    session: Session
    secret: str
    cookie: Cookie


async def open_session(request: ApiRequest, person: Person, method: str) -> Opened:
    """`method` is `password`, `oidc`, `ldap`, `invitation` or `setup`. The session the browser had before ends.

    Raises `AccountDisabled`. Whatever proves the person (password, code, directory) has been checked.
    """
    services = services_of(request)
    if person.state is not PersonState.ACTIVE:
        await services.store.audit.record("session.refused", person.id, method=method, reason="suspended")
        raise AccountDisabled
    await _close_earlier(request, services)
    new = NewSession(
        person_id=person.id,
        lasts=timedelta(hours=services.settings.session_max_hours),
        user_agent=request.headers.get("user-agent", ""),
        address=address_of(request),
    )
    session, secret = await services.store.sessions.open(new)
    await services.store.audit.record("session.opened", person.id, session.id, method=method)
    return Opened(session, secret, session_cookie(request, secret))


async def _close_earlier(request: ApiRequest, services: Services) -> None:
    secret = session_secret(request)
    found = await services.store.sessions.authenticate(secret, timedelta.max) if secret else None
    if found is not None:
        await services.store.sessions.close(found[0].person_id, found[0].id)


async def answer_opened(
    request: ApiRequest, opened: Opened, status_code: int = 200, *, account: str = ""
) -> Response[SessionAnswer]:
    """The state of the new session, with its cookie; at the door also the one by which this browser is known for `account`."""
    answer = await describe_session(request, opened.secret)
    known = [known_cookie(request, _folded(account))] if account else []
    return Response(answer, status_code=status_code, cookies=[opened.cookie, *known])


async def describe_session(request: ApiRequest, secret: str | None) -> SessionAnswer:
    """Whoever this secret makes of somebody; for None and what is not valid any more, that nobody is signed in."""
    services = services_of(request)
    idle = timedelta(hours=services.settings.session_idle_hours)
    found = await services.store.sessions.authenticate(secret, idle) if secret else None
    if found is None or secret is None:
        return SessionAnswer(signed_in=False, setup_needed=await services.store.people.needs_setup())
    session, standing = found
    return SessionAnswer(
        signed_in=True,
        setup_needed=False,
        csrf_token=csrf_token(secret),
        person=person_answer(standing.person),
        scopes=tuple(sorted(caller_of_session(session, standing).scopes)),
        recent_until=session.authenticated_at + RECENT,
        session=session_entry(session, session.id),
    )


async def renew_session(request: ApiRequest, who: Caller) -> Response[SessionAnswer]:
    """After a change of password or second factor, which ended all sessions of the person: a new one for this browser."""
    assert who.person_id is not None
    person = await services_of(request).store.people.get(who.person_id)
    return await answer_opened(request, await open_session(request, person, "password"))


# --- proving ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def guarded_attempt(request: ApiRequest, account: str) -> AsyncIterator[None]:
    """Around every check of a password or code; `account` is what the person calls it. Raises `TooManyAttempts`.

    Ending without an error counts as a success; `SecondFactorNeeded` and `SignInSourceDown` as neither; all else as a failure.
    """
    services, account = services_of(request), _folded(account)
    origin = origin_of_attempt(request, account)
    services.throttle.begin(account, origin)  # not audited: whoever floods us must not fill the disk
    try:
        yield
    except (SecondFactorNeeded, SignInSourceDown):
        services.throttle.undecided(account, origin)
        raise
    services.throttle.succeeded(account, origin)


def _folded(account: str) -> str:
    return fold_email(account)[:254]


async def check_second_factor(services: Services, person: Person, code: str | None) -> None:
    """Raises `SecondFactorNeeded`, `WrongCredentials`; a person without one needs none."""
    if not person.has_second_factor:
        return
    if not code:
        raise SecondFactorNeeded
    if not await services.store.second_factors.check(person.id, code):
        await services.store.audit.record("session.refused", person.id, reason="second_factor")
        raise WrongCredentials


async def confirm_password(request: ApiRequest, who: Caller, password: str) -> None:
    """Of somebody who is signed in. Raises `WrongCredentials`, `TooManyAttempts`, `SignedOut`."""
    services = services_of(request)
    if who.person_id is None or who.session is None:
        raise SignedOut
    person = await services.store.people.get(who.person_id)
    async with guarded_attempt(request, person.email):
        if not await services.store.people.check_own_password(person.id, password):
            await services.store.audit.record("session.refused", person.id, reason="password")
            raise WrongCredentials


def address_of(request: ApiRequest) -> str:
    return request.client.host if request.client else ""
