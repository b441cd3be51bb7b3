"""Who may do what with whose: every route, every kind of caller, every owner. A route that is not in the tables fails the tests.

First the door (`ROUTES`, `DOOR`): who gets past it at all. Then ownership (`TRANSCRIPTS`, `REACH`; `WORKSPACES`, `ROLES`): what
those who got past it reach. All of it is asked over HTTP, and nothing here looks at how the application decides.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar
from sqlite_utils import Database

from appliance.api.access_log import AccessLog
from appliance.api.session_guard import csrf_token
from appliance.app import create_app
from appliance.crypto.envelope import MIN_ITERATIONS, lock, write_envelope
from appliance.store import UNLIMITED, Asker, MemberRole, NewSession, NewShare, Person, PersonEdit, PersonRole, PersonState, Scope
from tests.api.conftest import Api, settings_for
from tests.api.people import new_person
from tests.store.samples import new_transcript, transcript_of

# --- the door ---------------------------------------------------------------------------------------------------------

ROUTES = """
public                GET     /
public                GET     /static/{name:str}
public                GET     /s/{token:str}
public                GET     /trust
public                GET     /trust/ca.pem
public                GET     /trust/ca.crt
public                GET     /openapi
public                GET     /openapi/openapi.json
public                GET     /openapi/{path:str}
public                GET     /health
public                GET     /healthz
public                GET     /readyz
public                GET     /v1/privacy
public                GET     /v1/tls
public                GET     /api/v1/session
public                POST    /api/v1/session
public                POST    /api/v1/session/ldap
public                GET     /api/v1/session/oidc/start
public                GET     /api/v1/session/oidc/callback
public                GET     /api/v1/session/providers
public                POST    /api/v1/setup
public                POST    /api/v1/invitations/accept
public                POST    /api/v1/links/look
public                POST    /api/v1/password
public                GET     /api/v1/shared/{token:str}
public                POST    /api/v1/shared/{token:str}
public                GET     /api/v1/shared/{token:str}/export/{file_format:str}

transcribe            POST    /v1/transcribe
transcribe            POST    /v1/audio/transcriptions
transcribe            POST    /v1/audio/translations
transcribe            POST    /api/v1/transcripts
transcribe            GET     /v1/models
transcribe            GET     /v1/models/{name:path}
transcribe            GET     /v1/languages

read                  GET     /api/v1/transcripts
read                  GET     /api/v1/transcripts/{key:str}
read                  GET     /api/v1/transcripts/{key:str}/events
read                  GET     /api/v1/transcripts/{key:str}/revisions
read                  GET     /api/v1/transcripts/{key:str}/export/{file_format:str}
read                  GET     /api/v1/transcripts/{key:str}/private
read                  GET     /api/v1/transcripts/{key:str}/result
read                  GET     /api/v1/transcripts/{key:str}/envelope
read                  GET     /api/v1/transcripts/{key:str}/shares
read                  GET     /api/v1/workspaces
read                  GET     /api/v1/workspaces/{workspace_id:str}
read                  GET     /api/v1/workspaces/{workspace_id:str}/members
read                  GET     /api/v1/retention
read                  GET     /v1/licence

write                 DELETE  /api/v1/transcripts
write_and_read        PATCH   /api/v1/transcripts/{key:str}
write                 DELETE  /api/v1/transcripts/{key:str}
write_and_read        PATCH   /api/v1/transcripts/{key:str}/segments/{n:int}
write                 POST    /api/v1/transcripts/{key:str}/cancel
write                 POST    /api/v1/transcripts/{key:str}/result/ack
write                 PUT     /api/v1/transcripts/{key:str}/envelope
write_and_read        POST    /api/v1/transcripts/{key:str}/shares
write                 DELETE  /api/v1/transcripts/{key:str}/shares/{share_id:str}
write                 PUT     /api/v1/retention/{owner:str}

signed_in             DELETE  /api/v1/session
signed_in             POST    /api/v1/session/confirm
signed_in             GET     /api/v1/me
signed_in             PATCH   /api/v1/me
signed_in             POST    /api/v1/me/password
signed_in             GET     /api/v1/me/sessions
signed_in             DELETE  /api/v1/me/sessions
signed_in             DELETE  /api/v1/me/sessions/{session_id:str}
signed_in             GET     /api/v1/me/keys
signed_in             DELETE  /api/v1/me/keys/{key_id:str}
signed_in             POST    /api/v1/workspaces
signed_in             PATCH   /api/v1/workspaces/{workspace_id:str}
signed_in             POST    /api/v1/workspaces/{workspace_id:str}/members
signed_in             PUT     /api/v1/workspaces/{workspace_id:str}/members/{person_id:str}
signed_in             DELETE  /api/v1/workspaces/{workspace_id:str}/members/{person_id:str}

signed_in_recently    DELETE  /api/v1/me
signed_in_recently    POST    /api/v1/me/keys
signed_in_recently    POST    /api/v1/me/second-factor
signed_in_recently    POST    /api/v1/me/second-factor/confirm
signed_in_recently    POST    /api/v1/me/second-factor/recovery-codes
signed_in_recently    POST    /api/v1/me/second-factor/remove
signed_in_recently    DELETE  /api/v1/workspaces/{workspace_id:str}

admin                 GET     /api/v1/people
admin                 GET     /api/v1/people/{person_id:str}
admin                 DELETE  /api/v1/invitations/{person_id:str}
admin                 GET     /api/v1/orphans
admin                 GET     /api/v1/audit
admin                 GET     /api/v1/audit/head
admin                 GET     /api/v1/usage
admin                 GET     /api/v1/usage/head
admin                 GET     /api/v1/releases
admin                 POST    /api/v1/releases
admin                 GET     /api/v1/releases/import
admin                 POST    /api/v1/releases/{channel:str}/rollback
admin                 POST    /api/v1/releases/{name:str}/activate
admin                 POST    /v1/licence
admin                 POST    /v1/tls/confirm
admin                 GET     /metrics

admin_recently        POST    /api/v1/invitations
admin_recently        PATCH   /api/v1/people/{person_id:str}
admin_recently        DELETE  /api/v1/people/{person_id:str}
admin_recently        POST    /api/v1/people/{person_id:str}/password-link
admin_recently        DELETE  /api/v1/people/{person_id:str}/second-factor
"""

# What a caller gets at the door: "in", or 401 (who are you?) or 403 (not you). The site keys have the one scope they are named by.
DOOR = """
                      public  transcribe  read  write  write_and_read  signed_in  signed_in_recently  admin  admin_recently
nobody                in      401         401   401    401             401        401                 401    401
site_transcribe       in      in          403   403    403             403        403                 403    403
site_read             in      403         in    403    403             403        403                 403    403
site_write            in      403         403   in     403             403        403                 403    403
site_admin            in      in          in    in     in              403        403                 in     in
member                in      in          in    in     in              in         in                  403    403
member_long_ago       in      in          in    in     in              in         403                 403    403
members_key           in      in          in    in     in              403        403                 403    403
admin                 in      in          in    in     in              in         in                  in     in
admin_long_ago        in      in          in    in     in              in         403                 in     403
admins_key            in      in          in    in     in              403        403                 in     403
admins_everyday_key   in      in          in    in     in              403        403                 403    403
former_admins_key     in      in          in    in     in              403        403                 403    403
disabled              in      401         401   401    401             401        401                 401    401
disableds_key         in      401         401   401    401             401        401                 401    401
expired               in      401         401   401    401             401        401                 401    401
idle                  in      401         401   401    401             401        401                 401    401
expired_key           in      401         401   401    401             401        401                 401    401
revoked_key           in      401         401   401    401             401        401                 401    401
"""

AT_THE_DOOR = {"forbidden", "session_needed", "recent_sign_in_needed", "csrf_token_wrong"}
NOTHING = {"{key:str}": "0", "{n:int}": "0", "{name:path}": "whisper-base", "{file_format:str}": "txt"}
"""Addresses of nothing, so that whoever gets in does no harm."""


def table(text: str) -> dict[str, dict[str, str]]:
    head, *lines = [line.split() for line in text.strip("\n").splitlines()]
    return {name: dict(zip(head, cells, strict=True)) for name, *cells in lines}


def listed() -> dict[tuple[str, str], str]:
    """(method, path) -> rule."""
    lines = (line.split() for line in ROUTES.splitlines() if line.strip())
    return {(method, path): rule for rule, method, path in lines}


def served(app: Litestar) -> set[tuple[str, str]]:
    """Without OPTIONS, which Litestar answers by itself with the methods of the address, and HEAD, which is GET without a body."""
    routes = [(route.path, handler) for route in app.routes for handler in getattr(route, "route_handlers", [])]
    return {(method, path) for path, handler in routes for method in handler.http_methods - {"OPTIONS", "HEAD"}}


@dataclass(frozen=True)
class Caller:
    """`headers` makes the credentials of one request."""

    headers: Callable[[], dict[str, str]]

    def __call__(self, http: httpx.Client, method: str, path: str, **more: Any) -> httpx.Response:
        return http.request(method, path, headers=self.headers(), **more)


def nobody() -> Caller:
    return Caller(dict)


def key(api: Api, *scopes: Scope, person: Person | None = None, expires_at: datetime | None = None) -> Caller:
    _, secret = api.run(api.services.store.keys.create("k", scopes, expires_at, person.id if person else None))
    return Caller(lambda: {"Authorization": f"Bearer {secret}"})


def session(api: Api, person: Person | None = None, *, aged: str = "", is_admin: bool = False) -> Caller:
    """Without a person: of somebody new each time, because some calls erase them."""

    def headers() -> dict[str, str]:
        who = person or new_person(api, is_admin=is_admin)
        opened, secret = api.run(api.services.store.sessions.open(NewSession(who.id, timedelta(hours=1), "a test", "127.0.0.1")))
        if aged:
            age(api, opened.id, aged)
        return {"Cookie": f"session={secret}", "X-CSRF-Token": csrf_token(secret)}

    return Caller(headers)


def dead_session(api: Api, person: Person) -> Caller:
    """Was opened while the person was active."""
    headers = session(api, person).headers()
    return Caller(lambda: headers)


def age(api: Api, session_id: str, column: str) -> None:
    def work(db: Database) -> None:
        db.conn.execute(f"UPDATE sessions SET {column} = '2020-01-01T00:00:00+00:00' WHERE id = ?", (session_id,))

    api.run(api.services.store.sessions._writer.run(work))


EVERYDAY = (Scope.TRANSCRIBE, Scope.READ, Scope.WRITE)


def disabled(api: Api) -> tuple[Caller, Caller]:
    person = new_person(api)
    callers = dead_session(api, person), key(api, *EVERYDAY, person=person)
    api.run(api.services.store.people.change(person.id, PersonEdit(state=PersonState.DISABLED), "console"))
    return callers


def former_admins_key(api: Api) -> Caller:
    person = new_person(api, is_admin=True)
    made = key(api, *Scope, person=person)
    api.run(api.services.store.people.change(person.id, PersonEdit(role=PersonRole.MEMBER), "console"))
    return made


def revoked_key(api: Api) -> Caller:
    record, secret = api.new_key(*EVERYDAY)
    api.run(api.services.store.keys.revoke(record.id))
    return Caller(lambda: {"Authorization": f"Bearer {secret}"})


@pytest.fixture(scope="module")
def callers(shared_api: Api) -> dict[str, Caller]:
    api = shared_api
    member, admin = new_person(api), new_person(api, is_admin=True)
    gone, gones_key = disabled(api)
    return {
        "nobody": nobody(),
        "site_transcribe": key(api, Scope.TRANSCRIBE),
        "site_read": key(api, Scope.READ),
        "site_write": key(api, Scope.WRITE),
        "site_admin": key(api, Scope.ADMIN),
        "member": session(api),
        "member_long_ago": session(api, aged="authenticated_at"),
        "members_key": key(api, *EVERYDAY, person=member),
        "admin": session(api, is_admin=True),
        "admin_long_ago": session(api, aged="authenticated_at", is_admin=True),
        "admins_key": key(api, *Scope, person=admin),
        "admins_everyday_key": key(api, *EVERYDAY, person=admin),
        "former_admins_key": former_admins_key(api),
        "disabled": gone,
        "disableds_key": gones_key,
        "expired": session(api, aged="expires_at"),
        "idle": session(api, aged="last_seen_at"),
        "expired_key": key(api, *EVERYDAY, person=member, expires_at=datetime.now(UTC) - timedelta(seconds=1)),
        "revoked_key": revoked_key(api),
    }


@pytest.fixture(scope="module")
def http(shared_api: Api) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shared_api.url, timeout=30, follow_redirects=False) as client:
        yield client


def test_every_route_is_in_the_table_and_none_is_made_up(tmp_path: Path) -> None:
    """The application as it is wired for real, pages included."""
    app = create_app(settings_for(tmp_path))
    assert isinstance(app, AccessLog)
    assert isinstance(app.wrapped, Litestar)
    assert served(app.wrapped) == set(listed()), "say in ROUTES who may call a new route, and below what they reach"


def test_every_kind_of_caller_is_in_the_table(callers: dict[str, Caller]) -> None:
    assert set(callers) == set(table(DOOR))


def address(path: str) -> str:
    for part, value in NOTHING.items():
        path = path.replace(part, value)
    return "/".join("nothing" if part.startswith("{") else part for part in path.split("/"))


def verdict(answer: httpx.Response) -> str:
    if answer.status_code == 401 and code_of(answer) in ("unauthorized", "signed_out"):
        return "401"
    return "403" if answer.status_code == 403 and code_of(answer) in AT_THE_DOOR else "in"


def code_of(answer: httpx.Response) -> str:
    """In the native dialect, or in OpenAI's."""
    body = answer.json()
    return str(body["error"]["code"] if isinstance(body["error"], dict) else body["code"])


@pytest.mark.parametrize("name", table(DOOR))
def test_the_door(api: Api, http: httpx.Client, callers: dict[str, Caller], name: str) -> None:
    expected, here = table(DOOR)[name], served(api.app)
    wrong = []
    for (method, path), rule in listed().items():
        if (method, path) in here:
            answer = callers[name](http, method, address(path))
            broke = answer.status_code >= 500 and path != "/readyz"  # no model is warm here
            if verdict(answer) != expected[rule] or broke:
                wrong.append(f"{method} {path}: {answer.status_code} {answer.text[:80]}, not {expected[rule]}")
    assert not wrong


def test_no_change_with_a_cookie_passes_without_the_token(api: Api, http: httpx.Client, callers: dict[str, Caller]) -> None:
    here, tried = served(api.app), 0
    for (method, path), rule in listed().items():
        if (method, path) in here and method != "GET" and rule != "public":
            cookie = {"Cookie": callers["admin"].headers()["Cookie"]}
            answer = http.request(method, address(path), headers=cookie)
            assert (answer.status_code, code_of(answer)) == (403, "csrf_token_wrong"), f"{method} {path}"
            tried += 1
    assert tried > 30


# --- whose transcripts ------------------------------------------------------------------------------------------------

# Which right over a transcript each address asks for. "private" is its owner's own browser's only, whatever else one may.
TRANSCRIPTS = """
read     GET     /api/v1/transcripts/{key:str}
read     GET     /api/v1/transcripts/{key:str}/events
read     GET     /api/v1/transcripts/{key:str}/revisions
read     GET     /api/v1/transcripts/{key:str}/export/{file_format:str}
change   PATCH   /api/v1/transcripts/{key:str}
change   PATCH   /api/v1/transcripts/{key:str}/segments/{n:int}
change   POST    /api/v1/transcripts/{key:str}/cancel
change   GET     /api/v1/transcripts/{key:str}/shares
change   POST    /api/v1/transcripts/{key:str}/shares
change   DELETE  /api/v1/transcripts/{key:str}/shares/{share_id:str}
erase    DELETE  /api/v1/transcripts/{key:str}
private  GET     /api/v1/transcripts/{key:str}/private
private  GET     /api/v1/transcripts/{key:str}/result
private  GET     /api/v1/transcripts/{key:str}/envelope
private  POST    /api/v1/transcripts/{key:str}/result/ack
private  PUT     /api/v1/transcripts/{key:str}/envelope
"""

# Over their own, somebody else's, their workspace's, and one whose owner is gone. For people: with the cookie and with a key alike.
# The last two are site keys, which are in no workspace.
REACH = """
                 own  foreign  workspace  nobodys
member:read      yes  404      404        404
member:change    yes  404      404        404
member:erase     yes  404      404        404
member:private   any  404      404        404
viewer:read      yes  404      yes        404
viewer:change    yes  404      403        404
viewer:erase     yes  404      403        404
viewer:private   any  404      404        404
editor:read      yes  404      yes        404
editor:change    yes  404      yes        404
editor:erase     yes  404      403        404
editor:private   any  404      404        404
owner:read       yes  404      yes        404
owner:change     yes  404      yes        404
owner:erase      yes  404      yes        404
owner:private    any  404      404        404
admin:read       yes  404      404        404
admin:change     yes  404      404        404
admin:erase      yes  yes      yes        yes
admin:private    any  404      404        404
site:read        yes  404      404        404
site:change      yes  404      404        404
site:erase       yes  404      404        404
site:private     any  404      404        404
site_admin:read     yes  404   404        404
site_admin:change   yes  404   404        404
site_admin:erase    yes  yes   yes        yes
site_admin:private  any  404   404        404
"""

BODIES: dict[str, dict[str, Any]] = {
    "PATCH /api/v1/transcripts/{key:str}": {"json": {"revision": 99, "title": "x"}},
    "PATCH /api/v1/transcripts/{key:str}/segments/{n:int}": {"json": {"revision": 99, "text": "x"}},
    "POST /api/v1/transcripts/{key:str}/shares": {"json": {}},
}
"""What gets a call as far as the question whose it is, and changes nothing (no transcript has a revision 99)."""


@dataclass(frozen=True)
class Cast:
    """The people of the play, their team, and the ways each of them calls: (owner id, callers)."""

    workspace: str
    stranger: str
    acting: dict[str, tuple[str, tuple[Caller, ...]]]

    def owner_of(self, whose: str, who: str) -> str:
        return {
            "own": self.acting[who][0],
            "foreign": self.stranger,
            "workspace": self.workspace,
            "nobodys": "key_0123456789abcdef",
        }[whose]


@pytest.fixture(scope="module")
def cast(shared_api: Api) -> Cast:
    api, workspaces = shared_api, shared_api.services.store.workspaces
    people = {
        name: new_person(api, is_admin=name == "admin") for name in ("member", "viewer", "editor", "owner", "admin", "stranger")
    }
    workspace = api.run(workspaces.create("Team", people["owner"].id))
    for name in ("viewer", "editor"):
        asker = Asker(people["owner"].id, is_admin=False)
        api.run(workspaces.put_member(workspace.id, people[name].id, MemberRole(name), asker))
    acting: dict[str, tuple[str, tuple[Caller, ...]]] = {
        name: (person.id, (session(api, person), key(api, *(Scope if name == "admin" else EVERYDAY), person=person)))
        for name, person in people.items()
    }
    for name, scopes in (("site", EVERYDAY), ("site_admin", (Scope.ADMIN,))):
        record, secret = api.new_key(*scopes)
        acting[name] = (record.id, (Caller(partial(dict, {"Authorization": f"Bearer {secret}"})),))
    return Cast(workspace.id, people["stranger"].id, acting)


def save_for(api: Api, owner: str) -> tuple[int, str]:
    """A finished transcript, and a share of it."""

    async def work() -> tuple[int, str]:
        store = api.services.store
        record = await store.transcripts.create(new_transcript(owner))
        await store.transcripts.start(record.id)
        await store.transcripts.complete(record.id, transcript_of(["Good morning"]))
        share, _ = await store.shares.create(record.id, UNLIMITED, NewShare(datetime.now(UTC) + timedelta(hours=1), None, None))
        return record.id, share.id

    return api.run(work())


def transcript_routes() -> dict[str, str]:
    """ "METHOD path" -> right."""
    lines = (line.split() for line in TRANSCRIPTS.strip().splitlines())
    return {f"{method} {path}": right for right, method, path in lines}


def test_every_address_of_a_transcript_says_which_right_it_needs() -> None:
    assert set(transcript_routes()) == {f"{method} {path}" for method, path in listed() if "{key:str}" in path}


def envelope_of(owner: str) -> bytes:
    return write_envelope(lock(b"{}", "a password", transcript="x", owner=owner, version=1, iterations=MIN_ITERATIONS))


def outcome(answer: httpx.Response) -> str:
    return str(answer.status_code) if answer.status_code in (401, 403, 404) or answer.status_code >= 500 else "yes"


@pytest.mark.parametrize("who", ["member", "viewer", "editor", "owner", "admin", "site", "site_admin"])
def test_whose_transcripts_one_reaches(api: Api, http: httpx.Client, cast: Cast, who: str) -> None:
    expected, wrong = table(REACH), []
    bodies = BODIES | {"PUT /api/v1/transcripts/{key:str}/envelope": {"content": envelope_of(cast.acting[who][0])}}
    for call in cast.acting[who][1]:
        for whose in ("own", "foreign", "workspace", "nobodys"):
            transcript_id, share_id = save_for(api, cast.owner_of(whose, who))
            for line, right in sorted(transcript_routes().items(), key=lambda item: item[1] == "erase"):  # erase it last
                method, path = line.split()
                path = path.replace("{key:str}", str(transcript_id)).replace("{share_id:str}", share_id)
                found = outcome(call(http, method, address(path), **bodies.get(line, {})))
                if (wanted := expected[f"{who}:{right}"][whose]) not in ("any", found):
                    wrong.append(f"{line} of {whose}: {found}, not {wanted}")
    assert not wrong


@pytest.mark.parametrize("who", ["member", "viewer", "editor", "owner", "admin", "site", "site_admin"])
def test_lists_and_searches_hold_what_one_may_read_and_nothing_else(api: Api, http: httpx.Client, cast: Cast, who: str) -> None:
    word = f"w{secrets.token_hex(6)}"
    mine = {whose: cast.owner_of(whose, who) for whose in ("own", "foreign", "workspace", "nobodys")}
    ids = {whose: api.run(api.services.store.transcripts.create(new_transcript(owner, word))).id for whose, owner in mine.items()}
    readable = {ids[whose] for whose, may in table(REACH)[f"{who}:read"].items() if may == "yes"}
    for call in cast.acting[who][1]:
        found = call(http, "GET", f"/api/v1/transcripts/?q={word}").json()
        assert {one["id"] for one in found["results"]} == readable
        assert found["count"] == len(readable)
        everything = call(http, "GET", "/api/v1/transcripts/?limit=200").json()
        assert not {one["id"] for one in everything["results"]} & (set(ids.values()) - readable)


# --- workspaces -------------------------------------------------------------------------------------------------------

# What each route of a workspace answers to whom. An administrator sees its name and its members, erases it, and appoints an owner
# only where none is left.
WORKSPACES = """
                                                                       owner  editor  viewer  admin  stranger
GET:/api/v1/workspaces/{workspace_id:str}                              yes    yes     yes     yes    404
GET:/api/v1/workspaces/{workspace_id:str}/members                      yes    yes     yes     yes    404
PATCH:/api/v1/workspaces/{workspace_id:str}                            yes    403     403     403    404
POST:/api/v1/workspaces/{workspace_id:str}/members                     yes    403     403     403    404
PUT:/api/v1/workspaces/{workspace_id:str}/members/{person_id:str}      yes    403     403     403    404
DELETE:/api/v1/workspaces/{workspace_id:str}/members/{person_id:str}   yes    403     403     403    404
DELETE:/api/v1/workspaces/{workspace_id:str}                           yes    403     403     yes    404
"""


def test_every_address_of_a_workspace_says_who_may_what() -> None:
    assert set(table(WORKSPACES)) == {f"{method}:{path}" for method, path in listed() if "{workspace_id:str}" in path}


@pytest.mark.parametrize("line", table(WORKSPACES))
def test_who_may_what_in_a_workspace(api: Api, http: httpx.Client, cast: Cast, line: str) -> None:
    method, _, path = line.partition(":")
    workspaces = api.services.store.workspaces
    other = new_person(api, name="Other")
    bodies: dict[str, Any] = {"PATCH": {"name": "New"}, "POST": {"email": other.email}, "PUT": {"role": "viewer"}}
    body = {"json": bodies[method]} if method in bodies else {}
    for who, expected in table(WORKSPACES)[line].items():
        workspace = api.run(workspaces.create("Team", cast.acting["owner"][0]))
        asker = Asker(cast.acting["owner"][0], is_admin=False)
        for name in ("viewer", "editor"):
            api.run(workspaces.put_member(workspace.id, cast.acting[name][0], MemberRole(name), asker))
        if "{person_id:str}" in path:
            api.run(workspaces.put_member(workspace.id, other.id, MemberRole.VIEWER, asker))
        url = path.replace("{workspace_id:str}", workspace.id).replace("{person_id:str}", other.id)
        assert outcome(cast.acting[who][1][0](http, method, url, **body)) == expected, who
