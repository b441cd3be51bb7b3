"""Who may call what. Every route declares its rule as `opt={"access": …}`; one without a rule is closed to everybody.

The rules are plain strings so that the pages can declare theirs without importing anything of `api`:
`public`; a scope (`transcribe`, `read`, `write`, `admin`: a caller with that scope, `admin` having all of them); `metrics`
(`admin`, or nobody at all where `metrics_public` is set); `signed_in` (a person with a session, not a key).
`"also": "read"` beside it: the answer, or what is made, shows text, so that scope is needed as well.
`"recent": True` beside it: a person must have proved who they are within a quarter of an hour.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from litestar.handlers import BaseRouteHandler
from msgspec import structs

from appliance.api.services import ApiRequest, Services, services_of
from appliance.api.session_guard import RECENT, AnyConnection, check_change, session_secret
from appliance.domain import Value
from appliance.errors import Forbidden, RecentSignInNeeded, SessionNeeded, SignedOut, Unauthorized
from appliance.store import ApiKeys, Asker, KeyRecord, Reach, Scope, Session, Standing, own_reach

PUBLIC = {"access": "public"}
TRANSCRIBE = {"access": "transcribe"}
READ = {"access": "read"}
WRITE = {"access": "write"}
ADMIN = {"access": "admin"}
METRICS = {"access": "metrics"}
SIGNED_IN = {"access": "signed_in"}
ALSO_READ = {"also": "read"}
RECENTLY = {"recent": True}

SCOPE_OF_RULE = {"transcribe": "transcribe", "read": "read", "write": "write", "admin": "admin", "metrics": "admin"}
RULES = frozenset(("public", "signed_in", *SCOPE_OF_RULE))


class Caller(Value, frozen=True):
    """Who calls, and how far they reach."""

    owner_id: str  # whose what they send becomes: a person's, or a site key's own
    person_id: str | None  # None: a site key
    name: str
    scopes: frozenset[Scope]
    is_admin: bool  # may manage people and erase anything; reads no more than anybody else
    reach: Reach
    session: Session | None = None  # None: an API key

    @property
    def asker(self) -> Asker:
        return Asker(self.owner_id, self.is_admin)


async def require_access(connection: AnyConnection, handler: BaseRouteHandler) -> None:
    """The guard of the whole application; runs before a byte of the body is read. Raises Unauthorized, Forbidden."""
    rule = handler.opt.get("access")
    services = services_of(connection)
    if rule == "public" or (rule == "metrics" and services.settings.metrics_public):
        return
    who = await identify(connection, services)
    if rule not in RULES:
        raise Forbidden("that this address forgot to name")
    if rule == "signed_in":
        require_session(who)
    else:
        for scope in (SCOPE_OF_RULE[rule], *filter(None, [handler.opt.get("also")])):
            require_scope(who, scope)
    if handler.opt.get("recent"):
        require_recent(who)
    connection.scope["user"] = who


async def identify(connection: AnyConnection, services: Services) -> Caller:
    """By the `Authorization` header, else by the cookie. Raises `Unauthorized`, `SignedOut`, and what a change raises."""
    header, secret = connection.headers.get("authorization"), session_secret(connection)
    if header is not None or secret is None:
        return await _caller_of_key(await authenticate(header, services.store.keys), services)
    found = await services.store.sessions.authenticate(secret, timedelta(hours=services.settings.session_idle_hours))
    if found is None:
        raise SignedOut
    check_change(connection, secret)
    return caller_of_session(*found)


async def authenticate(header: str | None, keys: ApiKeys) -> KeyRecord:
    """The key behind an `Authorization` header, `Bearer <key>` or `Token <key>`. Raises Unauthorized."""
    scheme, _, secret = (header or "").partition(" ")
    if scheme.lower() not in ("bearer", "token") or not secret.strip():
        raise Unauthorized
    key = await keys.authenticate(secret.strip())
    if key is None:
        raise Unauthorized("This API key is not valid here, or no longer.")
    return key


async def _caller_of_key(key: KeyRecord, services: Services) -> Caller:
    if key.person_id is None:
        return caller_of_site_key(key)
    standing = await services.store.people.standing(key.person_id)
    if standing is None:
        raise Unauthorized("This API key is not valid here, or no longer.")
    return caller_of_own_key(key, standing)


def caller_of_site_key(key: KeyRecord) -> Caller:
    """A key of nobody's: it owns what it sends. An administrator may erase anything, and read only their own."""
    is_admin = Scope.ADMIN in key.scopes
    reach = own_reach(key.id)
    return Caller(
        owner_id=key.id,
        person_id=None,
        name=key.name,
        scopes=key.scopes,
        is_admin=is_admin,
        reach=structs.replace(reach, erases=None) if is_admin else reach,
    )


def caller_of_own_key(key: KeyRecord, standing: Standing) -> Caller:
    """Never more than its person may, whatever the key was once made for."""
    person = standing.person
    is_admin = person.is_admin and Scope.ADMIN in key.scopes
    reach = standing.reach
    return Caller(
        owner_id=person.id,
        person_id=person.id,
        name=person.name,
        scopes=key.scopes & person.scopes,
        is_admin=is_admin,
        reach=reach if is_admin or not person.is_admin else structs.replace(reach, erases=standing.erases_as_member),
    )


def caller_of_session(session: Session, standing: Standing) -> Caller:
    person = standing.person
    return Caller(person.id, person.id, person.name, person.scopes, person.is_admin, standing.reach, session)


def require_scope(who: Caller, scope: str) -> None:
    if scope not in who.scopes and not who.is_admin:
        raise Forbidden(scope)


def may_read(who: Caller) -> bool:
    return Scope.READ in who.scopes or who.is_admin


def require_session(who: Caller) -> Session:
    if who.session is None:
        raise SessionNeeded
    return who.session


def require_recent(who: Caller) -> None:
    """A site key passes: it was made by somebody who has the database itself. A person's key does not."""
    if who.person_id is None:
        return
    if datetime.now(UTC) - require_session(who).authenticated_at >= RECENT:
        raise RecentSignInNeeded(int(RECENT.total_seconds() // 60))


def caller(request: ApiRequest) -> Caller:
    """Who sent this request; only in handlers whose rule wants somebody."""
    who = request.user
    assert isinstance(who, Caller)
    return who
