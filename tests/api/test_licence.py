"""A licence over HTTP: shown, uploaded, and in its worst state in the way of nothing but new recordings and new people."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from litestar.handlers import HTTPRouteHandler
from prometheus_client.parser import text_string_to_metric_families

from appliance.api.routes import routes
from appliance.licensing import Licensing, Reading
from appliance.licensing.site import month
from appliance.settings import Settings
from appliance.store import Scope, Store
from licence import Licence, Limits
from tests.api.conftest import Api, settings_for, start, until
from tests.api.people import new_person, signed_in
from tests.api.standins import HOLD
from tests.licence.making import START, STRANGER, TRUSTED, licence, signed

DAY = timedelta(days=1)
NOW = START + 40 * DAY  # the day on which everything here happens
ENDED = licence(expires_at=NOW - 20 * DAY)

# What a restricted site refuses. A route that takes recordings belongs here; nothing that shows, exports or erases ever does.
NEW_WORK = {"POST /v1/transcribe", "POST /api/v1/transcripts", "POST /v1/audio/transcriptions", "POST /v1/audio/translations"}
# Answers that tell the time, the load, what was asked before, or the licence itself.
ALWAYS_DIFFERENT = {"GET /metrics", "GET /health", "GET /v1/licence", "GET /api/v1/audit", "GET /api/v1/audit/head"}


@dataclass
class Site:
    """A served application whose evaluation is over, with its clock in the test's hand."""

    api: Api
    data_dir: Path
    wall_at: datetime = NOW
    shared: tuple[int, int] | None = None  # transcripts for whoever only reads

    def hold(self, what: Licence | None) -> None:
        """The licence that is there, as if an operator had put it there."""
        (self.data_dir / "licence.previous.json").unlink(missing_ok=True)
        (self.data_dir / "licence.json").unlink(missing_ok=True)
        if what is not None:
            (self.data_dir / "licence.json").write_bytes(signed(what))

    def client(self, *scopes: Scope) -> httpx.Client:
        _, secret = self.api.new_key(*scopes)
        return self.api.client(secret)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings = settings_for(tmp_path_factory.mktemp("site"), jobs_per_worker=2)
    sites: list[Site] = []
    ran = iter([0.0])  # the first reading is the installation's; all later ones come a month afterwards

    def clock() -> Reading:
        wall_at = sites[0].wall_at if sites else NOW
        return Reading(wall_at=wall_at, running_s=next(ran, 31 * 86400.0), boot_id="one")

    async def open_licensing(store: Store, settings: Settings) -> Licensing:
        return await Licensing.open(store, settings.data_dir, trusted=TRUSTED, clock=clock, gpus=())

    server, api = start(settings, "whisper-base", "speaker-diarization", open_licensing=open_licensing)
    sites.append(Site(api, settings.data_dir))
    yield sites[0]
    server.stop()


@pytest.fixture
def site(served: Site) -> Iterator[Site]:
    served.wall_at = NOW
    served.hold(None)
    served.api.pool.forget()
    yield served
    served.api.pool.release()


@pytest.fixture
def admin(site: Site) -> Iterator[httpx.Client]:
    with site.client(*Scope) as client:
        yield client


@pytest.fixture(scope="module")
def owner(served: Site) -> Iterator[httpx.Client]:
    """An administrator who stays the same, and so finds what was made earlier."""
    with served.client(*Scope) as client:
        yield client


@pytest.fixture
def member(site: Site) -> Iterator[httpx.Client]:
    with site.client() as client:
        yield client


# --- shown ------------------------------------------------------------------------------------------------------------


def test_everybody_sees_the_state_and_administrators_the_details(site: Site, admin: httpx.Client, member: httpx.Client) -> None:
    site.hold(licence(expires_at=NOW + 9.5 * DAY, limits=Limits(seats=5)))
    seen = member.get("/v1/licence").json()
    assert (seen["state"], seen["restricted"], seen["days_left"]) == ("expiring", False, 10)
    assert seen["notices"][0]["sentence"] == f"The licence ends on {NOW + 9.5 * DAY:%Y-%m-%d}."
    assert "renewal" in seen["notices"][0]["hint"]
    assert {name for name in ("site", "licence", "limits", "use") if seen[name] is not None} == set()
    details = admin.get("/v1/licence").json()
    assert details["licence"]["customer"] == "City Hospital"
    assert details["limits"]["seats"] == 5
    assert details["site"]["install_id"].startswith("inst_")
    assert details["use"]["hours"] >= 0


def test_metrics_tell_state_and_days_left(site: Site, admin: httpx.Client) -> None:
    def families() -> dict[str, dict[str, float]]:
        found = text_string_to_metric_families(admin.get("/metrics").text)
        return {one.name: {sample.labels.get("state", ""): sample.value for sample in one.samples} for one in found}

    site.hold(licence(expires_at=NOW + 10 * DAY, limits=Limits(hours_a_month=7)))
    assert families()["appliance_licence_state"] == {
        "valid": 0.0,
        "expiring": 1.0,
        "evaluation": 0.0,
        "grace": 0.0,
        "restricted": 0.0,
    }
    assert families()["appliance_licence_days_left"] == {"": 10.0}
    assert families()["appliance_licence_month_hours_limit"] == {"": 7.0}
    site.hold(licence(perpetual=True))
    assert "appliance_licence_days_left" not in families()


# --- uploaded ---------------------------------------------------------------------------------------------------------


def test_an_uploaded_licence_counts_at_once(site: Site, admin: httpx.Client, member: httpx.Client, wav: bytes) -> None:
    assert send(member, wav).status_code == 402
    answer = admin.post("/v1/licence", content=signed(licence()))
    assert answer.status_code == 200
    assert answer.json()["state"] == "valid"
    assert send(member, wav).status_code == 202


def test_only_administrators_upload(site: Site, member: httpx.Client) -> None:
    assert member.post("/v1/licence", content=signed(licence())).status_code == 403
    assert not (site.data_dir / "licence.json").exists()


@pytest.mark.parametrize(
    ("body", "code", "sentence"),
    [
        (b"", "licence_unreadable", "not a licence"),
        (b"{}", "licence_unreadable", "not a licence"),
        (signed(licence(serial=99), STRANGER), "licence_unknown_signer", "does not know"),
        (signed(licence(id="lic_0")), "licence_superseded", "older than"),
        (signed(licence(id="lic_z", serial=99, expires_at=NOW - 15 * DAY)), "licence_ended", "ended on"),
    ],
)
def test_a_refused_upload_changes_nothing(site: Site, admin: httpx.Client, body: bytes, code: str, sentence: str) -> None:
    site.hold(licence(serial=50))
    answer = admin.post("/v1/licence", content=body)
    assert answer.status_code == 422
    assert answer.json()["code"] == code
    assert sentence in answer.json()["error"]
    assert answer.json()["hint"]
    assert (site.data_dir / "licence.json").read_bytes() == signed(licence(serial=50))


# --- restricted -------------------------------------------------------------------------------------------------------


def send(client: httpx.Client, wav: bytes, **fields: str) -> httpx.Response:
    return client.post("/api/v1/transcripts/", data=fields, files={"file": ("visit.wav", wav)})


@pytest.mark.parametrize("path", ["/api/v1/transcripts/", "/v1/transcribe", "/v1/audio/transcriptions", "/v1/audio/translations"])
def test_a_new_recording_is_refused_before_a_byte_of_it_is_read(site: Site, path: str) -> None:
    site.hold(ENDED)
    host, port = site.api.url.removeprefix("http://").split(":")
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {site.api.secret}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000000\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode())  # and not one byte of the body
        assert connection.recv(100).split()[1] == b"402"


def test_the_native_client_is_told_what_to_do(site: Site, member: httpx.Client, wav: bytes) -> None:
    site.hold(ENDED)
    answer = send(member, wav)
    assert answer.status_code == 402
    assert answer.json() == {
        "error": f"No new recordings are taken. The licence ended on {NOW - 20 * DAY:%Y-%m-%d}.",
        "code": "licence_restricted",
        "hint": "Ask the vendor for a renewal and install it; nothing has to be stopped for that.",
    }


def test_openai_s_client_understands_it_and_does_not_try_again(site: Site, wav: bytes) -> None:
    site.hold(ENDED)
    client = openai.OpenAI(api_key=site.api.secret, base_url=f"{site.api.url}/v1")
    with client, pytest.raises(openai.APIStatusError) as refused:
        client.audio.transcriptions.create(model="whisper-1", file=("a.wav", wav))
    assert refused.value.status_code == 402
    assert refused.value.body == {
        "message": refused.value.body["message"],  # type: ignore[index]
        "type": "insufficient_quota",
        "param": None,
        "code": "licence_restricted",
    }
    assert "The licence ended on" in refused.value.message


def test_what_runs_when_the_licence_ends_is_finished(site: Site, member: httpx.Client, wav: bytes) -> None:
    site.hold(licence(expires_at=NOW + DAY, grace_days=0))
    running = send(member, wav, prompt=HOLD).json()["id"]
    assert site.api.pool.holding.acquire(timeout=10)
    site.wall_at = NOW + 2 * DAY
    assert send(member, wav).status_code == 402
    site.api.pool.release()
    assert until(lambda: member.get(f"/api/v1/transcripts/{running}/").json()["status"] == "completed")


@pytest.mark.parametrize("workspace", [False, True])
def test_what_was_sent_before_is_given_again_under_its_key(site: Site, wav: bytes, workspace: bool) -> None:
    def again(key: str, recording: bytes = wav) -> httpx.Response:
        files = {"file": ("a.wav", recording)}
        return browser.client.post("/v1/transcribe", data=fields, files=files, headers={"Idempotency-Key": key})

    site.hold(licence())
    browser = signed_in(site.api, new_person(site.api))
    fields = {"workspace": browser.post("/api/v1/workspaces", name="Ward 3").json()["id"]} if workspace else {}
    first = again("one")
    site.hold(ENDED)
    second = again("one")
    assert (second.status_code, second.json()["id"]) == (200, first.json()["id"])
    assert again("two").status_code == 402
    assert again("one", wav + b"more").json()["code"] == "idempotency_mismatch"
    stranger = signed_in(site.api, new_person(site.api))
    refused = stranger.client.post("/v1/transcribe", files={"file": ("a.wav", wav)}, headers={"Idempotency-Key": "one"})
    assert refused.status_code == 402


LINES = sorted(
    {
        f"{method} {path.rstrip('/') or '/'}"
        for handler in routes()
        if isinstance(handler, HTTPRouteHandler)
        for path in handler.paths
        for method in handler.http_methods - {"OPTIONS", "HEAD"}
    }
)
FILLED = {"key": "{transcript}", "n": "0", "file_format": "srt", "name": "whisper-base", "version": "1"}


def address(line: str, transcript: int) -> tuple[str, str]:
    method, path = line.split()
    filled = re.sub(r"\{(\w+):\w+\}", lambda found: FILLED.get(found[1], "x"), path)
    return method, filled.replace("{transcript}", str(transcript))


def call(client: httpx.Client, line: str, transcript: int, wav: bytes) -> httpx.Response:
    method, path = address(line, transcript)
    if line in NEW_WORK:
        return client.request(method, path, data={"model": "whisper-base"}, files={"file": ("a.wav", wav)})
    return client.request(method, path) if method in ("GET", "DELETE") else client.request(method, path, json={"title": "New"})


def twins(site: Site, client: httpx.Client, wav: bytes, *, fresh: bool) -> tuple[int, int]:
    """Two of the same, made while that was allowed."""
    site.hold(licence())
    if fresh or site.shared is None:
        pair = made(client, wav), made(client, wav)
        site.shared = site.shared or (None if fresh else pair)
        return pair
    return site.shared


def made(client: httpx.Client, wav: bytes) -> int:
    number: int = client.post("/v1/transcribe", files={"file": ("visit.wav", wav)}).json()["id"]
    return number


@pytest.mark.parametrize("line", LINES)
def test_restricted_every_route_but_those_for_new_recordings_answers_as_before(
    site: Site, owner: httpx.Client, wav: bytes, line: str
) -> None:
    """PAINS 30, over all routes: a new one is tried here from its first day, and may not answer 402 unless listed above."""
    first, second = twins(site, owner, wav, fresh=line.startswith(("DELETE", "PATCH")) and "{key" in line)
    before = call(owner, line, first, wav)
    site.hold(ENDED)
    after = call(owner, line, first if line.startswith("GET") else second, wav)
    if line in NEW_WORK:
        assert (before.is_success, after.status_code) == (True, 402)
        return
    assert after.status_code == before.status_code
    if line.startswith("GET") and line not in ALWAYS_DIFFERENT:
        assert after.content == before.content


def test_restricted_all_that_is_there_stays_usable(site: Site, admin: httpx.Client, wav: bytes) -> None:
    """The same once more by name, with the answers that these must give, lest 'as before' mean 'as broken as before'."""
    transcripts = twins(site, admin, wav, fresh=True)
    site.hold(ENDED)
    assert admin.get("/v1/licence").json()["restricted"] is True
    path = f"/api/v1/transcripts/{transcripts[0]}/"
    assert admin.get(path).json()["text"]
    assert admin.get("/api/v1/transcripts/", params={"q": "morning"}).json()["count"] >= 1
    for file_format in ("txt", "srt", "vtt", "json", "csv"):
        assert admin.get(f"{path}export/{file_format}/").status_code == 200
    edited = admin.patch(path, json={"revision": admin.get(path).json()["revision"], "title": "New"})
    assert edited.status_code == 200
    assert admin.delete(path).status_code in (200, 202, 204)
    assert admin.get(path).status_code == 404
    assert admin.post("/v1/licence", content=signed(licence(id="lic_2", serial=2))).json()["state"] == "valid"


def test_new_people_need_a_seat_and_those_here_keep_theirs(site: Site) -> None:
    """Invited, or enabled again; an invitation that is made anew takes no second seat."""

    def invite(name: str) -> httpx.Response:
        return browser.post("/api/v1/invitations", email=f"{name}@example.org")

    def set_state(person: str, state: str) -> httpx.Response:
        return browser.client.patch(f"/api/v1/people/{person}", json={"state": state})

    browser = signed_in(site.api, new_person(site.api, is_admin=True))
    other = new_person(site.api)
    taken = len(browser.client.get("/api/v1/people").json()["results"])
    site.hold(licence(limits=Limits(seats=taken + 1)))
    assert invite("ann").is_success
    refused = invite("bob")
    assert (refused.status_code, refused.json()["code"]) == (402, "licence_seats_taken")
    assert invite("ann").is_success
    assert set_state(other.id, "disabled").is_success
    assert invite("bob").is_success
    assert set_state(other.id, "active").status_code == 402
    site.hold(ENDED)
    assert (invite("eve").status_code, invite("eve").json()["code"]) == (402, "licence_restricted")
    assert browser.client.get("/api/v1/people").is_success
    assert browser.client.delete(f"/api/v1/people/{other.id}").is_success


# --- limits -----------------------------------------------------------------------------------------------------------


def test_more_jobs_than_the_licence_allows_at_once_wait(site: Site, member: httpx.Client, wav: bytes) -> None:
    site.hold(licence(limits=Limits(concurrent_jobs=1)))
    first, second = (send(member, wav, prompt=HOLD).json()["id"] for _ in range(2))
    assert site.api.pool.holding.acquire(timeout=10)
    assert status(member, second) == "queued"
    assert not site.api.pool.holding.acquire(blocking=False)
    site.api.pool.release()
    assert until(lambda: {status(member, first), status(member, second)} == {"completed"})


def test_without_that_limit_both_run(site: Site, member: httpx.Client, wav: bytes) -> None:
    site.hold(licence())
    for _ in range(2):
        send(member, wav, prompt=HOLD)
    assert site.api.pool.holding.acquire(timeout=10)
    assert site.api.pool.holding.acquire(timeout=10)


def status(client: httpx.Client, number: int) -> str:
    found: str = client.get(f"/api/v1/transcripts/{number}/").json()["status"]
    return found


@pytest.mark.parametrize("way", ["native", "openai"])
def test_the_hours_of_a_month_are_used_up_and_come_back(site: Site, member: httpx.Client, wav: bytes, way: str) -> None:
    """Counted whichever way a recording came. The journal writes the true time, so this happens in the true month.

    That is before the time that this site can prove; the months between count together.
    """
    today = datetime.now(UTC)
    site.wall_at = today
    assert until(lambda: at_rest(site))  # or an earlier test's recording is counted in the middle of this one
    site.api.run(site.api.services.licensing.recount())
    used_h = site.api.services.licensing.hours_used
    term: dict[str, Any] = {"not_before": month(today), "expires_at": today + 90 * DAY}
    site.hold(licence(**term, limits=Limits(hours_a_month=used_h + 1 / 3600)))
    path = {"native": "/v1/transcribe", "openai": "/v1/audio/transcriptions"}[way]
    form = {"data": {"model": "whisper-base"}, "files": {"file": ("a.wav", wav)}}
    assert not used_up(site)
    assert member.post(path, **form).status_code == 200  # type: ignore[arg-type]
    assert until(lambda: used_up(site))
    answer = member.post(path, **form)  # type: ignore[arg-type]
    assert answer.status_code == 402
    assert f"{site.api.services.licensing.hours_renew_at:%Y-%m-%d}" in answer.text
    assert "licence_hours_used_up" in answer.text


def at_rest(site: Site) -> bool:
    snapshot = site.api.services.jobs.snapshot()
    return not snapshot.queued and not snapshot.running


def used_up(site: Site) -> bool:
    licensing = site.api.services.licensing
    return licensing.hours_used >= (licensing.standing().limits.hours_a_month or 0)
