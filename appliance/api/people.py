"""People, for administrators: invite, change, help, erase. None of it shows what anybody said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import Response, delete, get, patch, post
from msgspec import UNSET, UnsetType

from appliance.api.auth import ADMIN, RECENTLY, caller
from appliance.api.erasing import ERASURE_ANSWERS, erasure_answer
from appliance.api.json_body import read_json
from appliance.api.json_schema import json_body
from appliance.api.people_answers import LinkAnswer, PersonAnswer, link_answer, person_answer
from appliance.api.services import ApiRequest, Services, services_of
from appliance.domain import Value
from appliance.errors import InvalidField
from appliance.store import Person, PersonEdit, PersonRole, PersonState, fold_email

TAGS = ["People"]
PATH = "/api/v1/people"
INVITATIONS = "/api/v1/invitations"


class PeopleListing(Value, frozen=True):
    results: tuple[PersonAnswer, ...]  # who came first, first


class Invitation(Value, frozen=True, forbid_unknown_fields=True):
    email: str
    name: str = ""  # what the address begins with, when absent
    role: PersonRole = PersonRole.MEMBER


class PersonPatch(Value, frozen=True, forbid_unknown_fields=True):
    name: str | UnsetType = UNSET
    role: PersonRole | UnsetType = UNSET
    state: PersonState | UnsetType = UNSET  # active or disabled


@get(PATH, opt=ADMIN, tags=TAGS, summary="Everybody, the invited and the disabled too")
async def list_people(request: ApiRequest) -> PeopleListing:
    return PeopleListing(tuple(map(person_answer, await services_of(request).store.people.list())))


@get(f"{PATH}/{{person_id:str}}", opt=ADMIN, tags=TAGS, summary="One person")
async def read_person(request: ApiRequest, person_id: str) -> PersonAnswer:
    return person_answer(await services_of(request).store.people.get(person_id))


@patch(
    f"{PATH}/{{person_id:str}}",
    opt=ADMIN | RECENTLY,
    tags=TAGS,
    operation_class=json_body(PersonPatch),
    summary="Change name or role; disable or enable",
)
async def change_person(request: ApiRequest, person_id: str) -> PersonAnswer:
    """JSON: `name`, `role` (`member`, `admin`), `state` (`active`, `disabled`). A new role or state ends their sessions."""
    change = await read_json(request, PersonPatch)
    if change == PersonPatch():
        raise InvalidField("body", "changes nothing", "Send 'name', 'role' or 'state'.")
    if change.state is PersonState.ACTIVE:
        await _check_seat(services_of(request), lambda person: person.id == person_id)
    edit = PersonEdit(name=change.name, role=change.role, state=change.state)
    return person_answer(await services_of(request).store.people.change(person_id, edit, caller(request).owner_id))


@delete(
    f"{PATH}/{{person_id:str}}",
    opt=ADMIN | RECENTLY,
    tags=TAGS,
    status_code=202,
    responses=ERASURE_ANSWERS,
    summary="Erase an account for good",
)
async def erase_person(request: ApiRequest, person_id: str) -> Response[Any]:
    """With all their own transcripts, keys and sessions. 204: nothing of it is left in any file; 202: as soon as a reader lets go.

    What they sent to a workspace stays there.
    """
    services = services_of(request)
    await services.store.people.check_erasable(person_id)
    await services.jobs.cancel_of(person_id)
    erased = await services.store.people.erase(person_id, caller(request).owner_id)
    return erasure_answer(erased)


@post(f"{PATH}/{{person_id:str}}/password-link", opt=ADMIN | RECENTLY, tags=TAGS, summary="A link for a new password")
async def offer_password(request: ApiRequest, person_id: str) -> LinkAnswer:
    """Works once and for a day; the old password works until then."""
    return link_answer(request, await services_of(request).store.people.offer_reset(person_id, caller(request).owner_id))


@delete(
    f"{PATH}/{{person_id:str}}/second-factor",
    opt=ADMIN | RECENTLY,
    tags=TAGS,
    status_code=204,
    summary="Take a lost second factor off",
)
async def remove_second_factor_of(request: ApiRequest, person_id: str) -> None:
    """Somebody else's: one's own asks for a code, on one's own page."""
    if person_id == caller(request).owner_id:
        raise InvalidField("person", "is yourself", "Take your own second factor off on your account page, with a code.")
    await services_of(request).store.second_factors.remove(person_id, caller(request).owner_id)


@post(
    INVITATIONS,
    opt=ADMIN | RECENTLY,
    tags=TAGS,
    operation_class=json_body(Invitation),
    summary="Invite somebody",
)
async def invite_person(request: ApiRequest) -> LinkAnswer:
    """JSON: `email`, `name`, `role`. The link works once, for a week; no mail is sent. Inviting again makes a new link."""
    given = await read_json(request, Invitation)
    await _check_seat(services_of(request), lambda person: fold_email(person.email) == fold_email(given.email))
    name = given.name or given.email.partition("@")[0]
    offer = await services_of(request).store.people.invite(given.email, name, given.role, caller(request).owner_id)
    return link_answer(request, offer)


@delete(f"{INVITATIONS}/{{person_id:str}}", opt=ADMIN, tags=TAGS, status_code=204, summary="Withdraw an invitation")
async def withdraw_invitation(request: ApiRequest, person_id: str) -> None:
    await services_of(request).store.people.withdraw_invitation(person_id, caller(request).owner_id)


async def _check_seat(services: Services, is_meant: Callable[[Person], bool]) -> None:
    """Whoever is active or invited has a seat already, and keeps it. Raises `LicenceRefusal`."""
    seated = [person for person in await services.store.people.list() if person.state is not PersonState.DISABLED]
    if not any(map(is_meant, seated)):
        services.licensing.check_seat(len(seated))
