"""Who may call what. Every route declares its rule as `opt={"access": …}`; one without a rule is closed to everybody.

The rules are plain strings so that the pages can declare theirs without importing anything of `api`:
`public`; a scope (`transcribe`, `read`, `write`, `admin`: a key with that scope, `admin` having all of them); `metrics`
(`admin`, or nobody's key at all where `metrics_public` is set).
"""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler

from appliance.api.services import ApiRequest, services_of
from appliance.errors import Forbidden, Unauthorized
from appliance.store import ApiKeys, KeyRecord

PUBLIC = {"access": "public"}
TRANSCRIBE = {"access": "transcribe"}
READ = {"access": "read"}
WRITE = {"access": "write"}
ADMIN = {"access": "admin"}
METRICS = {"access": "metrics"}

SCOPE_OF_RULE = {"transcribe": "transcribe", "read": "read", "write": "write", "admin": "admin", "metrics": "admin"}


async def require_access(connection: ASGIConnection[Any, Any, Any, State], handler: BaseRouteHandler) -> None:
    """The guard of the whole application; runs before a byte of the body is read. Raises Unauthorized, Forbidden."""
    rule = handler.opt.get("access")
    services = services_of(connection)
    if rule == "public" or (rule == "metrics" and services.settings.metrics_public):
        return
    key = await authenticate(connection.headers.get("authorization"), services.store.keys)
    if rule not in SCOPE_OF_RULE:
        raise Forbidden("that this address forgot to name")
    require_scope(key, SCOPE_OF_RULE[rule])
    connection.scope["user"] = key


async def authenticate(header: str | None, keys: ApiKeys) -> KeyRecord:
    """The key behind an `Authorization` header, `Bearer <key>` or `Token <key>`. Raises Unauthorized."""
    scheme, _, secret = (header or "").partition(" ")
    if scheme.lower() not in ("bearer", "token") or not secret.strip():
        raise Unauthorized
    key = await keys.authenticate(secret.strip())
    if key is None:
        raise Unauthorized("This API key is not valid here, or no longer.")
    return key


def require_scope(key: KeyRecord, scope: str) -> None:
    if scope not in key.scopes and "admin" not in key.scopes:
        raise Forbidden(scope)


def caller(request: ApiRequest) -> KeyRecord:
    """The key of this request; only in handlers whose rule wants one."""
    key = request.user
    assert isinstance(key, KeyRecord)
    return key


def visible_owner(request: ApiRequest) -> str | None:
    """Whose transcripts this request may see: its key's own, or everybody's (None) for an administrator."""
    key = caller(request)
    return None if "admin" in key.scopes else str(key.id)
