"""API keys of a person, for programs that act as them: never more than the person may, and dead when the person is disabled."""

from __future__ import annotations

from datetime import UTC, datetime

from litestar import delete, get, post

from appliance.api.auth import RECENTLY, SIGNED_IN, caller
from appliance.api.json_body import read_json
from appliance.api.json_schema import json_body
from appliance.api.people_answers import KeyAnswer, key_answer
from appliance.api.services import ApiRequest, services_of
from appliance.domain import Value
from appliance.errors import InvalidField
from appliance.store import EVERYDAY, Scope

TAGS = ["My account"]
PATH = "/api/v1/me/keys"
MAX_NAME_CHARS = 200


class NewKey(Value, frozen=True, forbid_unknown_fields=True):
    name: str
    scopes: frozenset[Scope] = EVERYDAY
    expires_at: datetime | None = None


class KeyListing(Value, frozen=True):
    results: tuple[KeyAnswer, ...]  # the oldest first


class MadeKey(Value, frozen=True):
    key: KeyAnswer
    secret: str  # shown once


@get(PATH, opt=SIGNED_IN, tags=TAGS, summary="My API keys")
async def list_keys(request: ApiRequest) -> KeyListing:
    return KeyListing(tuple(map(key_answer, await services_of(request).store.keys.list_of(caller(request).owner_id))))


@post(PATH, opt=SIGNED_IN | RECENTLY, tags=TAGS, operation_class=json_body(NewKey), summary="Make an API key")
async def make_key(request: ApiRequest) -> MadeKey:
    """JSON: `name`, `scopes` (`transcribe`, `read` and `write` when absent), `expires_at`. The secret is shown once."""
    given, who, services = await read_json(request, NewKey), caller(request), services_of(request)
    name = " ".join(given.name.split())
    _check(given, name, who.scopes)
    key, secret = await services.store.keys.create(name, given.scopes, given.expires_at, who.person_id)
    await services.store.audit.record("key.created", who.owner_id, key.id)
    return MadeKey(key_answer(key), secret)


def _check(given: NewKey, name: str, allowed: frozenset[Scope]) -> None:
    """Raises `InvalidField`."""
    if not name or len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise InvalidField("name", f"must be 1 to {MAX_NAME_CHARS} characters of text")
    if not given.scopes or not given.scopes <= allowed:
        raise InvalidField("scopes", f"must be some of {', '.join(sorted(allowed))}", "A key never may more than its person.")
    if given.expires_at is not None and (given.expires_at.tzinfo is None or given.expires_at <= datetime.now(UTC)):
        raise InvalidField("expires_at", "must be a time to come, with its time zone", "For example 2030-01-31T00:00:00Z.")


@delete(f"{PATH}/{{key_id:str}}", opt=SIGNED_IN, tags=TAGS, status_code=204, summary="Revoke one of my keys")
async def revoke_key(request: ApiRequest, key_id: str) -> None:
    who, services = caller(request), services_of(request)
    key = await services.store.keys.revoke_of(who.owner_id, key_id)
    await services.store.audit.record("key.revoked", who.owner_id, key.id)
