"""How long transcripts are kept: the site's rule, and each owner's own."""

from __future__ import annotations

from litestar import get, put

from appliance.api.auth import READ, WRITE, caller
from appliance.api.json_body import read_json
from appliance.api.json_schema import json_body
from appliance.api.services import ApiRequest, services_of
from appliance.domain import Value
from appliance.errors import InvalidField, NotFound
from appliance.store import MAX_DAYS, Right

PATH = "/api/v1/retention"


class Rule(Value, frozen=True):
    owner: str  # a person, a workspace or a site key
    days: int  # 0: kept


class Rules(Value, frozen=True):
    site_days: int  # for everybody without a rule; 0: kept. It is the setting `retention_days`
    results: tuple[Rule, ...]  # of those within reach


class RuleChange(Value, frozen=True, forbid_unknown_fields=True):
    days: int | None  # null: the site's rule


@get(PATH, opt=READ, tags=["Retention"], summary="How long transcripts are kept")
async def read_retention(request: ApiRequest) -> Rules:
    services, reach = services_of(request), caller(request).reach
    rules = await services.store.retention.rules()
    seen = tuple(Rule(owner, days) for owner, days in sorted(rules.items()) if reach.has(Right.ERASE, owner))
    return Rules(services.settings.retention_days, seen)


@put(
    f"{PATH}/{{owner:str}}",
    opt=WRITE,
    operation_class=json_body(RuleChange),
    tags=["Retention"],
    summary="Set how long an owner's transcripts are kept",
)
async def change_retention(request: ApiRequest, owner: str) -> Rules:
    """JSON: `days`; 0 keeps them, null follows the site. Only for who may erase them. What is due then goes within minutes."""
    change = await read_json(request, RuleChange)
    if change.days is not None and not 0 <= change.days <= MAX_DAYS:
        raise InvalidField("days", f"must lie between 0 and {MAX_DAYS}")
    services, who = services_of(request), caller(request)
    if not who.reach.has(Right.ERASE, owner) or not await services.store.retention.knows(owner):
        raise NotFound(f"owner '{owner}'")
    await services.store.retention.change(owner, change.days, who.owner_id)
    days = services.settings.retention_days if change.days is None else change.days
    return Rules(services.settings.retention_days, (Rule(owner, days),))
