"""Teams: who is in, who may do what with what they share, and how transcripts come in and out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from appliance.store import Person
from tests.api.conftest import Api
from tests.api.people import Browser, new_person, signed_in

WORKSPACES = "/api/v1/workspaces"


@dataclass(frozen=True)
class Team:
    """A workspace with one of each role, and somebody who is not in it."""

    id: str
    people: dict[str, Person]
    browsers: dict[str, Browser]

    def __getitem__(self, role: str) -> httpx.Client:
        return self.browsers[role].client

    @property
    def url(self) -> str:
        return f"{WORKSPACES}/{self.id}"


@pytest.fixture
def team(api: Api) -> Team:
    people = {role: new_person(api, name=role) for role in ("owner", "editor", "viewer", "stranger")}
    people["admin"] = new_person(api, is_admin=True, name="admin")
    browsers = {role: signed_in(api, person) for role, person in people.items()}
    workspace = browsers["owner"].post(WORKSPACES, name="Newsroom").json()
    for role in ("editor", "viewer"):
        body = {"email": people[role].email, "role": role}
        assert browsers["owner"].post(f"{WORKSPACES}/{workspace['id']}/members", **body).status_code == 201
    return Team(workspace["id"], people, browsers)


def send(client: httpx.Client, wav: bytes, **fields: str) -> dict[str, Any]:
    made: dict[str, Any] = client.post("/v1/transcribe", files={"file": ("a.wav", wav)}, data=fields).json()
    return made


def test_everybody_in_it_reads_what_an_editor_sent(team: Team, wav: bytes) -> None:
    made = send(team["editor"], wav, workspace=team.id)
    assert made["workspace"] == team.id
    url = f"/api/v1/transcripts/{made['id']}/"
    for role in ("owner", "editor", "viewer"):
        assert team[role].get(url).json()["text"] == made["text"]
        assert team[role].get("/api/v1/transcripts/").json()["count"] == 1
        assert team[role].get(f"/api/v1/transcripts/?workspace={team.id}&q=morning").json()["count"] == 1
        assert team[role].get("/api/v1/transcripts/?workspace=none").json()["count"] == 0
    for role in ("stranger", "admin"):
        assert team[role].get(url).status_code == 404
        assert team[role].get(f"/api/v1/transcripts/?workspace={team.id}").status_code == 404


def test_viewers_change_nothing_and_editors_erase_nothing(team: Team, wav: bytes) -> None:
    made = send(team["owner"], wav, workspace=team.id)
    url = f"/api/v1/transcripts/{made['id']}/"
    for role in ("viewer", "editor", "owner"):
        changed = team[role].patch(url, json={"revision": made["revision"], "title": role})
        assert (changed.status_code == 200) == (role != "viewer")
        made["revision"] += changed.status_code == 200
    assert team["viewer"].patch(url, json={"revision": 2, "title": "x"}).json()["code"] == "role_too_low"
    for role, status in (("viewer", 403), ("editor", 403), ("stranger", 404), ("owner", 204)):
        assert team[role].delete(url).status_code == status


def test_an_administrator_may_erase_but_not_read_a_workspaces_transcript(team: Team, wav: bytes) -> None:
    url = f"/api/v1/transcripts/{send(team['owner'], wav, workspace=team.id)['id']}/"
    assert team["admin"].get(f"{url}export/txt/").status_code == 404
    assert team["admin"].delete(url).status_code == 204


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("stranger", 404), ("admin", 404), ("editor", 202)])
def test_only_who_may_change_sends_to_it(team: Team, wav: bytes, role: str, status: int) -> None:
    """In the query of a raw body, this is refused before the body is read."""
    form = team[role].post("/api/v1/transcripts/", files={"file": ("a.wav", wav)}, data={"workspace": team.id})
    raw = team[role].post(f"/api/v1/transcripts/?workspace={team.id}", content=wav, headers={"Content-Type": "audio/wav"})
    assert (form.status_code, raw.status_code) == (status, status)


def test_a_transcript_moves_in_and_out_with_the_right_to_erase_it(team: Team, wav: bytes) -> None:
    made = send(team["editor"], wav)
    assert made["workspace"] is None
    url = f"/api/v1/transcripts/{made['id']}/"
    moved = team["editor"].patch(url, json={"revision": 0, "workspace": team.id})
    assert (moved.status_code, moved.json()["workspace"]) == (200, team.id)
    assert team["viewer"].get(url).status_code == 200
    out = {"revision": 0, "workspace": None}
    assert team["editor"].patch(url, json=out).status_code == 403
    assert team["viewer"].patch(url, json=out).status_code == 403
    assert team["stranger"].patch(url, json=out).status_code == 404
    assert team["admin"].patch(url, json=out).status_code == 404
    assert team["owner"].patch(url, json=out).json()["workspace"] is None
    assert team["owner"].get(url).status_code == 200
    assert team["editor"].get(url).status_code == 404


def test_nothing_moves_to_where_one_may_not_add(team: Team, wav: bytes) -> None:
    for role, status in (("viewer", 403), ("stranger", 404)):
        made = send(team[role], wav)
        moved = team[role].patch(f"/api/v1/transcripts/{made['id']}/", json={"revision": 0, "workspace": team.id})
        assert moved.status_code == status
        assert team[role].get(f"/api/v1/transcripts/{made['id']}/").json()["workspace"] is None


def test_who_is_removed_reaches_nothing_any_more(team: Team, wav: bytes) -> None:
    made = send(team["editor"], wav, workspace=team.id)
    url = f"/api/v1/transcripts/{made['id']}/"
    assert team["owner"].delete(f"{team.url}/members/{team.people['editor'].id}").status_code == 204
    assert team["editor"].get(url).status_code == 404
    assert team["viewer"].delete(f"{team.url}/members/{team.people['viewer'].id}").status_code == 204, "anybody may leave"
    assert team["viewer"].get(url).status_code == 404
    assert team["owner"].get(url).status_code == 200


def test_only_owners_choose_members(team: Team) -> None:
    stranger = {"email": team.people["stranger"].email, "role": "viewer"}
    for role, status in (("viewer", 403), ("editor", 403), ("admin", 403), ("stranger", 404)):
        assert team[role].post(f"{team.url}/members", json=stranger).status_code == status
        assert team[role].patch(team.url, json={"name": "Mine"}).status_code == status
    promoted = team["owner"].put(f"{team.url}/members/{team.people['editor'].id}", json={"role": "owner"})
    assert promoted.json()["role"] == "owner"
    assert team["editor"].post(f"{team.url}/members", json=stranger).status_code == 201


def test_the_last_owner_stays_one(team: Team) -> None:
    own = f"{team.url}/members/{team.people['owner'].id}"
    assert team["owner"].put(own, json={"role": "viewer"}).json()["code"] == "last_owner"
    assert team["owner"].delete(own).json()["code"] == "last_owner"


def test_an_administrator_appoints_an_owner_where_none_is_left_and_never_themselves(api: Api, team: Team, wav: bytes) -> None:
    send(team["owner"], wav, workspace=team.id)
    api.run(api.services.store.people.erase(team.people["owner"].id, "console"))
    own = {"email": team.people["admin"].email, "role": "owner"}
    assert team["admin"].post(f"{team.url}/members", json=own).status_code == 403
    editor = f"{team.url}/members/{team.people['editor'].id}"
    assert team["admin"].put(editor, json={"role": "owner"}).status_code == 200
    assert team["admin"].put(editor, json={"role": "viewer"}).status_code == 403
    assert team["editor"].get("/api/v1/transcripts/").json()["count"] == 1


def test_a_workspace_goes_with_its_transcripts(team: Team, wav: bytes) -> None:
    made, own = send(team["editor"], wav, workspace=team.id), send(team["editor"], wav)
    for role, status in (("stranger", 404), ("viewer", 403), ("editor", 403), ("owner", 204)):
        assert team[role].delete(team.url).status_code == status
    assert team["editor"].get(f"/api/v1/transcripts/{made['id']}/").status_code == 404
    assert team["editor"].get(f"/api/v1/transcripts/{own['id']}/").status_code == 200
    assert team["owner"].get(team.url).status_code == 404
    assert team["editor"].get(WORKSPACES).json() == {"results": []}


def test_administrators_see_the_names_of_all_workspaces_and_others_theirs(team: Team) -> None:
    seen = {role: [one["id"] for one in team[role].get(WORKSPACES).json()["results"]] for role in team.people}
    assert seen["owner"] == seen["viewer"] == [team.id]
    assert seen["stranger"] == []
    assert team.id in seen["admin"]
    assert team["admin"].get(team.url).json()["role"] is None
    assert [member["role"] for member in team["viewer"].get(f"{team.url}/members").json()["results"]] == [
        "owner",
        "editor",
        "viewer",
    ]


def test_a_private_transcript_belongs_to_no_workspace(team: Team, wav: bytes) -> None:
    refused = team["editor"].post(
        "/api/v1/transcripts/", files={"file": ("a.wav", wav)}, data={"workspace": team.id, "private": "true"}
    )
    assert refused.status_code == 422


def test_an_administrator_finds_what_has_no_owner_left_and_may_erase_it(api: Api, team: Team, wav: bytes) -> None:
    key, secret = api.new_key()
    with api.client(secret) as client:
        made = send(client, wav, title="The secret meeting")
    orphans = "/api/v1/orphans"
    assert team["owner"].get(orphans).status_code == 403
    assert made["id"] not in {one["id"] for one in team["admin"].get(orphans).json()["results"]}
    api.run(api.services.store.keys.revoke(key.id))
    found = team["admin"].get(orphans)
    assert made["id"] in {one["id"] for one in found.json()["results"]}
    assert "secret" not in found.text
    assert "a.wav" not in found.text
    assert team["admin"].delete(f"/api/v1/transcripts/{made['id']}/").status_code == 204


def test_the_audit_log_tells_who_was_let_in_and_where_a_transcript_went(api: Api, team: Team, wav: bytes) -> None:
    made = send(team["owner"], wav)
    team["owner"].patch(f"/api/v1/transcripts/{made['id']}/", json={"revision": 0, "workspace": team.id})
    editor = team.people["editor"].id
    sent = send(team["editor"], wav, workspace=team.id)
    team["owner"].put(f"{WORKSPACES}/{team.id}/members/{editor}", json={"role": "viewer"})
    team["owner"].delete(f"{WORKSPACES}/{team.id}/members/{editor}")
    told = api.run(api.services.store.audit.page(after=0, limit=10_000))
    of_editor = [entry.event for entry in told if entry.subject == team.id and entry.facts.get("person") == editor]
    assert of_editor == ["member.added", "member.changed", "member.removed"]
    [moved] = [entry for entry in told if entry.event == "transcript.moved" and entry.subject == str(made["id"])]
    assert moved.facts["owner"] == team.id
    [created] = [entry for entry in told if entry.event == "transcript.created" and entry.subject == str(sent["id"])]
    assert created.actor == editor
