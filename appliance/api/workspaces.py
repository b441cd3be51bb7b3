"""Workspaces of teams, and who is a member as what."""

from __future__ import annotations

from typing import Any

from litestar import Response, delete, get, patch, post, put

from appliance.api.auth import READ, RECENTLY, SIGNED_IN, caller
from appliance.api.erasing import ERASURE_ANSWERS, erasure_answer
from appliance.api.json_body import read_json
from appliance.api.json_schema import json_body
from appliance.api.services import ApiRequest, services_of
from appliance.domain import Value
from appliance.store import Member, MemberRole, Workspace

TAGS = ["Workspaces"]
PATH = "/api/v1/workspaces"
ONE = f"{PATH}/{{workspace_id:str}}"


class WorkspaceListing(Value, frozen=True):
    results: tuple[Workspace, ...]


class MemberListing(Value, frozen=True):
    results: tuple[Member, ...]


class Name(Value, frozen=True, forbid_unknown_fields=True):
    name: str


class NewMember(Value, frozen=True, forbid_unknown_fields=True):
    email: str
    role: MemberRole = MemberRole.VIEWER


class Role(Value, frozen=True, forbid_unknown_fields=True):
    role: MemberRole


@get(PATH, opt=READ, tags=TAGS, summary="My workspaces")
async def list_workspaces(request: ApiRequest) -> WorkspaceListing:
    """`role` is mine there: `viewer` reads, `editor` also sends and changes, `owner` also erases, moves, and chooses members.

    An administrator sees the names of all, with `role` null where they are no member; not what is in them.
    """
    return WorkspaceListing(await services_of(request).store.workspaces.list(caller(request).asker))


@post(PATH, opt=SIGNED_IN, tags=TAGS, operation_class=json_body(Name), summary="Make a workspace; I am its owner")
async def create_workspace(request: ApiRequest) -> Workspace:
    given = await read_json(request, Name)
    return await services_of(request).store.workspaces.create(given.name, caller(request).owner_id)


@get(ONE, opt=READ, tags=TAGS, summary="One workspace")
async def read_workspace(request: ApiRequest, workspace_id: str) -> Workspace:
    return await services_of(request).store.workspaces.get(workspace_id, caller(request).asker)


@patch(ONE, opt=SIGNED_IN, tags=TAGS, operation_class=json_body(Name), summary="Rename it")
async def rename_workspace(request: ApiRequest, workspace_id: str) -> Workspace:
    given = await read_json(request, Name)
    return await services_of(request).store.workspaces.rename(workspace_id, given.name, caller(request).asker)


@delete(
    ONE,
    opt=SIGNED_IN | RECENTLY,
    tags=TAGS,
    status_code=202,
    responses=ERASURE_ANSWERS,
    summary="Erase it with all its transcripts, for good",
)
async def erase_workspace(request: ApiRequest, workspace_id: str) -> Response[Any]:
    """By an owner or an administrator. 204: nothing of it is left in any file; 202: as soon as a reader lets go."""
    services, asker = services_of(request), caller(request).asker
    await services.store.workspaces.ensure_erasable(workspace_id, asker)
    await services.jobs.cancel_of(workspace_id)
    erased = await services.store.workspaces.erase(workspace_id, asker)
    return erasure_answer(erased)


@get(f"{ONE}/members", opt=READ, tags=TAGS, summary="Its members")
async def list_members(request: ApiRequest, workspace_id: str) -> MemberListing:
    return MemberListing(await services_of(request).store.workspaces.members(workspace_id, caller(request).asker))


@post(f"{ONE}/members", opt=SIGNED_IN, tags=TAGS, operation_class=json_body(NewMember), summary="Add a member")
async def add_member(request: ApiRequest, workspace_id: str) -> Member:
    """JSON: `email` of somebody with an account here, `role`. By an owner; by an administrator where no owner is left."""
    given, services, asker = await read_json(request, NewMember), services_of(request), caller(request).asker
    await services.store.workspaces.get(workspace_id, asker)  # a stranger learns nothing about who has an account
    person = await services.store.people.find(given.email)
    return await services.store.workspaces.put_member(workspace_id, person.id, given.role, asker)


@put(f"{ONE}/members/{{person_id:str}}", opt=SIGNED_IN, tags=TAGS, operation_class=json_body(Role), summary="Change a role")
async def change_member(request: ApiRequest, workspace_id: str, person_id: str) -> Member:
    """JSON: `role`. The last owner stays one."""
    given, services = await read_json(request, Role), services_of(request)
    return await services.store.workspaces.put_member(workspace_id, person_id, given.role, caller(request).asker)


@delete(f"{ONE}/members/{{person_id:str}}", opt=SIGNED_IN, tags=TAGS, status_code=204, summary="Remove a member, or leave")
async def remove_member(request: ApiRequest, workspace_id: str, person_id: str) -> None:
    """What they sent to the workspace stays there."""
    await services_of(request).store.workspaces.remove_member(workspace_id, person_id, caller(request).asker)
