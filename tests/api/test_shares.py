"""Links to transcripts over HTTP: what a stranger with the link sees, and what is never seen."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from appliance.store import Asker, MemberRole, Scope
from tests.api.conftest import NO_TLS, Api
from tests.api.people import new_person, signed_in

PASSWORD = "four calm horses"


@pytest.fixture
def made(client: httpx.Client, wav: bytes) -> dict[str, Any]:
    """A transcript to share."""
    found: dict[str, Any] = client.post(
        "/v1/transcribe", data={"hotwords": "metoprolol"}, files={"file": ("Ward round.wav", wav)}
    ).json()
    return found


def share(client: httpx.Client, transcript: dict[str, Any], **wish: Any) -> dict[str, Any]:
    answer = client.post(f"/api/v1/transcripts/{transcript['id']}/shares/", json=wish)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def address(link: dict[str, Any]) -> str:
    return "/api/v1/shared/" + str(link["url"]).rpartition("/")[2]


@pytest.fixture
def stranger(api: Api) -> Iterator[httpx.Client]:
    """A browser without any key."""
    with httpx.Client(base_url=api.url, timeout=30, verify=NO_TLS) as browser:
        yield browser


def test_a_stranger_opens_reads_and_downloads(api: Api, client: httpx.Client, stranger: httpx.Client, made: dict[str, Any]) -> None:
    link = share(client, made)
    assert link["url"].startswith(f"{api.url}/s/")
    door = stranger.get(address(link))
    assert (door.status_code, door.json()["transcript"], door.json()["needs_password"]) == (200, None, False)
    opened = stranger.post(address(link), json={})
    assert [part["text"] for part in opened.json()["transcript"]["segments"]] == [part["text"] for part in made["segments"]]
    assert stranger.get(address(link)).json()["transcript"] == opened.json()["transcript"]
    for kind in opened.json()["transcript"]["formats"]:
        document = stranger.get(f"{address(link)}/export/{kind}/")
        assert document.status_code == 200
        assert f'filename="Ward round.{kind}"' in document.headers["Content-Disposition"]
    assert client.get(f"/api/v1/transcripts/{made['id']}/shares/").json()["results"][0]["views"] == 1


def test_every_answer_forbids_keeping_and_indexing(client: httpx.Client, stranger: httpx.Client, made: dict[str, Any]) -> None:
    link = share(client, made)
    answers = [
        stranger.get(address(link)),
        stranger.post(address(link), json={}),
        stranger.get(address(link)),
        stranger.get(f"{address(link)}/export/txt"),
    ]
    for answer in answers:
        assert answer.headers["Cache-Control"] == "no-store"
        assert "noindex" in answer.headers["X-Robots-Tag"]
    cookie = answers[1].headers["Set-Cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/api/v1/shared", "max-age=1"))


def test_nothing_of_the_owner_is_told(api: Api, client: httpx.Client, stranger: httpx.Client, made: dict[str, Any]) -> None:
    client.patch(f"/api/v1/transcripts/{made['id']}/", json={"revision": 0, "title": "For the court v1.2"})
    link = share(client, made)
    stranger.post(address(link), json={})
    told = stranger.get(address(link)).content
    documents = [stranger.get(f"{address(link)}/export/{kind}") for kind in ("json", "txt", "srt", "vtt", "csv")]
    told += b"".join(str(answer.headers).encode() + answer.content for answer in documents)
    assert b"For the court v1.2.txt" in told
    secrets = (api.key.id, api.key.name + '"', made["slug"], "Ward round", "metoprolol", made["recording"]["sha256"], link["id"])
    for secret in secrets:
        assert secret.encode() not in told, secret


def test_a_link_changes_nothing(client: httpx.Client, stranger: httpx.Client, made: dict[str, Any]) -> None:
    link = share(client, made)
    stranger.post(address(link), json={})
    for method in ("PATCH", "PUT", "DELETE"):
        assert stranger.request(method, address(link), json={}).status_code == 405
    assert stranger.get(f"/api/v1/transcripts/{made['id']}/").status_code == 401


def test_a_password_is_asked_for_and_guessing_is_slowed_down(
    client: httpx.Client, stranger: httpx.Client, made: dict[str, Any]
) -> None:
    link = share(client, made, password=PASSWORD)
    assert "password" not in link
    assert stranger.get(address(link)).json()["needs_password"]
    without = stranger.post(address(link), json={})
    assert (without.status_code, without.json()["code"]) == (401, "share_password_wrong")
    assert stranger.get(f"{address(link)}/export/txt").json()["code"] == "share_not_opened"
    codes = [stranger.post(address(link), json={"password": "wrong"}).status_code for _ in range(6)]
    assert codes == [401] * 5 + [429]
    paused = stranger.post(address(link), json={"password": PASSWORD})
    assert (paused.json()["code"], 0 < int(paused.headers["Retry-After"]) <= 30) == ("too_many_attempts", True)


def test_the_right_password_opens(client: httpx.Client, stranger: httpx.Client, made: dict[str, Any]) -> None:
    link = share(client, made, password=PASSWORD, max_views=3)
    opened = stranger.post(address(link), json={"password": PASSWORD})
    assert (opened.status_code, opened.json()["views_left"]) == (200, 2)


def test_the_limit_holds_against_many_at_once(api: Api, client: httpx.Client, made: dict[str, Any]) -> None:
    link = share(client, made, max_views=3)

    def attempt(_: int) -> int:
        with httpx.Client(base_url=api.url, timeout=30, verify=NO_TLS) as browser:
            return browser.post(address(link), json={}).status_code

    with ThreadPoolExecutor(16) as threads:
        codes = list(threads.map(attempt, range(48)))
    assert (codes.count(200), codes.count(410)) == (3, 45)
    assert client.get(f"/api/v1/transcripts/{made['id']}/shares/").json()["results"][0]["status"] == "used_up"


def test_who_has_opened_it_reads_on_when_it_is_used_up(client: httpx.Client, stranger: httpx.Client, made: dict[str, Any]) -> None:
    link = share(client, made, max_views=1)
    assert stranger.post(address(link), json={}).json()["views_left"] == 0
    assert stranger.get(address(link)).json()["transcript"]
    assert stranger.post(address(link), json={}).json()["code"] == "share_used_up"
    stranger.cookies.clear()
    assert stranger.get(address(link)).json()["code"] == "share_used_up"


def test_a_withdrawn_link_is_closed_at_once(client: httpx.Client, stranger: httpx.Client, made: dict[str, Any]) -> None:
    link = share(client, made)
    stranger.post(address(link), json={})
    assert client.delete(f"/api/v1/transcripts/{made['id']}/shares/{link['id']}/").status_code == 204
    for answer in (stranger.get(address(link)), stranger.get(f"{address(link)}/export/txt"), stranger.post(address(link), json={})):
        assert (answer.status_code, answer.json()["code"]) == (410, "share_revoked")
    assert client.get(f"/api/v1/transcripts/{made['id']}/shares/").json()["results"][0]["status"] == "revoked"


def test_a_link_whose_maker_may_not_share_any_more_is_not_listed_as_open(api: Api, wav: bytes) -> None:
    boss, editor = new_person(api), new_person(api)
    asker, workspaces = Asker(boss.id, is_admin=False), api.services.store.workspaces
    team = api.run(workspaces.create("Newsroom", boss.id))
    api.run(workspaces.put_member(team.id, editor.id, MemberRole.EDITOR, asker))
    theirs, listing = signed_in(api, editor).client, signed_in(api, boss).client
    made = theirs.post("/v1/transcribe", data={"workspace": team.id}, files={"file": ("a.wav", wav)}).json()
    share(theirs, made)
    path = f"/api/v1/transcripts/{made['id']}/shares/"
    assert [each["status"] for each in listing.get(path).json()["results"]] == ["open"]
    api.run(workspaces.put_member(team.id, editor.id, MemberRole.VIEWER, asker))
    [ended] = listing.get(path).json()["results"]
    assert ended["status"] == "ended"
    assert listing.delete(f"{path}{ended['id']}").status_code == 204


def test_a_deleted_transcript_takes_its_links_along(client: httpx.Client, stranger: httpx.Client, made: dict[str, Any]) -> None:
    link = share(client, made)
    stranger.post(address(link), json={})
    client.delete(f"/api/v1/transcripts/{made['id']}/")
    assert stranger.get(address(link)).status_code == 404
    assert stranger.get(f"{address(link)}/export/txt").status_code == 404


def test_token_and_password_are_in_no_log_and_in_no_file(
    api: Api, client: httpx.Client, stranger: httpx.Client, made: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """TRAPS 3: the address is the secret here, so the log shows the route and not the address."""
    caplog.set_level(logging.DEBUG, "appliance")
    link = share(client, made, password=PASSWORD)
    token = address(link).rpartition("/")[2]
    stranger.get(address(link))
    stranger.post(address(link), json={"password": PASSWORD})
    stranger.get(f"{address(link)}/export/txt")
    stranger.get(f"{address(link)}/nothing")
    stranger.post(address(link), content=b"{", headers={"Content-Type": "application/json"})
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("appliance"))  # not the client's
    [view] = [cookie.value or "" for cookie in stranger.cookies.jar]
    assert "GET /api/v1/shared/{token} 200" in logged
    kept = [path for path in api.services.settings.data_dir.rglob("*") if path.is_file() and path.suffix != ".reserve"]
    files = b"".join(path.read_bytes() for path in kept)
    assert b"$argon2id$" in files
    for secret in (token, PASSWORD, view):
        assert secret not in logged
        assert secret.encode() not in files


def test_links_that_never_were_lead_nowhere(stranger: httpx.Client) -> None:
    for token in ("x", "A" * 43, "%00", "..", "a%2Fb", "ä" * 50):
        assert stranger.get(f"/api/v1/shared/{token}").status_code in (404, 405)
        assert stranger.post(f"/api/v1/shared/{token}", json={}).status_code in (404, 405)


def test_another_site_cannot_spend_a_view(client: httpx.Client, stranger: httpx.Client, made: dict[str, Any]) -> None:
    link = share(client, made, max_views=1)
    refused = stranger.post(address(link), json={}, headers={"Sec-Fetch-Site": "cross-site"})
    assert refused.status_code == 403
    assert stranger.get(address(link)).json()["views_left"] == 1


def test_a_link_usually_ends_after_a_week_and_lives_longer_only_when_asked(client: httpx.Client, made: dict[str, Any]) -> None:
    usual = datetime.fromisoformat(share(client, made)["expires_at"])
    assert timedelta(days=6.9) < usual - datetime.now(UTC) < timedelta(days=7.1)
    assert share(client, made, expires_at=None)["expires_at"] is None
    assert share(client, made, expires_at="2099-01-01T00:00:00+01:00")["expires_at"].startswith("2098-12-31T23:00:00")


@pytest.mark.parametrize(
    "wish",
    [
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "2099-01-01T00:00:00"},
        {"expires_at": "soon"},
        {"max_views": 0},
        {"max_views": "3"},
        {"password": "short"},
        {"pasword": "misspelt"},
    ],
    ids=str,
)
def test_wishes_that_make_no_sense_are_refused_by_name(client: httpx.Client, made: dict[str, Any], wish: dict[str, Any]) -> None:
    answer = client.post(f"/api/v1/transcripts/{made['id']}/shares/", json=wish)
    assert (answer.status_code, answer.json()["param"]) == (422, next(iter(wish)))


def test_strangers_and_administrators_make_no_links_to_other_peoples_transcripts(
    api: Api, client: httpx.Client, made: dict[str, Any]
) -> None:
    link = share(client, made)
    for scopes in ((Scope.READ, Scope.WRITE), (Scope.ADMIN,)):
        _, secret = api.new_key(*scopes)
        with api.client(secret) as other:
            path = f"/api/v1/transcripts/{made['slug']}/shares/"
            assert other.post(path, json={}).status_code == 404
            assert other.get(path).status_code == 404
            assert other.delete(f"{path}{link['id']}/").status_code == 404
