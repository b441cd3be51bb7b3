"""Who may call what. Every route declares its rule as `opt={"access": …}`; one without a rule is closed to everybody.

The rules are plain strings so that the pages can declare theirs without importing anything of `api`:
`public`; a scope (`transcribe`, `read`, `write`, `admin`: a caller with that scope, `admin` having all of them); `metrics`
(`admin`, or nobody's key at all where `metrics_public` is set).
"""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from msgspec import structs

from appliance.api.services import ApiRequest, services_of
from appliance.domain import Value
from appliance.errors import Forbidden, Unauthorized
from appliance.store import ApiKeys, KeyRecord, Reach, Scope, own_reach

PUBLIC = {"access": "public"}
TRANSCRIBE = {"access": "transcribe"}
READ = {"access": "read"}
WRITE = {"access": "write"}
ADMIN = {"access": "admin"}
METRICS = {"access": "metrics"}

SCOPE_OF_RULE = {"transcribe": "transcribe", "read": "read", "write": "write", "admin": "admin", "metrics": "admin"}


class Caller(Value, frozen=True):
    """Who calls, and how far they reach."""

    owner_id: str  # whose what they send becomes: a person's, or a site key's own
    person_id: str | None  # None: a site key
    name: str
    scopes: frozenset[Scope]
    is_admin: bool  # may manage people and erase anything; reads no more than anybody else
    reach: Reach


async def require_access(connection: ASGIConnection[Any, Any, Any, State], handler: BaseRouteHandler) -> None:
    """The guard of the whole application; runs before a byte of the body is read. Raises Unauthorized, Forbidden."""
    rule = handler.opt.get("access")
    services = services_of(connection)
    if rule == "public" or (rule == "metrics" and services.settings.metrics_public):
        return
    who = caller_of(await authenticate(connection.headers.get("authorization"), services.store.keys))
    if rule not in SCOPE_OF_RULE:
        raise Forbidden("that this address forgot to name")
    require_scope(who, SCOPE_OF_RULE[rule])
    connection.scope["user"] = who


async def authenticate(header: str | None, keys: ApiKeys) -> KeyRecord:
    """The key behind an `Authorization` header, `Bearer <key>` or `Token <key>`. Raises Unauthorized."""
    scheme, _, secret = (header or "").partition(" ")
    if scheme.lower() not in ("bearer", "token") or not secret.strip():
        raise Unauthorized
    key = await keys.authenticate(secret.strip())
    if key is None:
        raise Unauthorized("This API key is not valid here, or no longer.")
    return key


def caller_of(key: KeyRecord) -> Caller:
    """An administrator may erase anything, and read only their own."""
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


def require_scope(who: Caller, scope: str) -> None:
    if scope not in who.scopes and not who.is_admin:
        raise Forbidden(scope)


def caller(request: ApiRequest) -> Caller:
    """Who sent this request; only in handlers whose rule wants somebody."""
    who = request.user
    assert isinstance(who, Caller)
    return who
