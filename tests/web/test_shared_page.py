"""The page behind a link, in a real browser on the real application: what somebody sees who only got a link."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from litestar import Litestar
from litestar.datastructures import State
from msgspec import structs
from playwright.sync_api import Page, expect

from appliance.api.access_log import AccessLog
from appliance.api.auth import require_access
from appliance.api.errors import HANDLERS
from appliance.api.headers import add_security_headers
from appliance.api.routes import routes
from appliance.domain import Caution, Speaker
from appliance.store import NewShare, Share, own_reach
from appliance.store import shares as shares_module
from appliance.web import routes as web_routes
from tests.api.conftest import AnnouncedServer, Api, Server, settings_for, start
from tests.store.samples import new_transcript, segment_of, transcript_of

pytestmark = pytest.mark.slow

PASSWORD = "four calm horses"
SAID = [
    ("SPEAKER_00", "Good morning. How did you sleep?"),
    ("SPEAKER_01", "Not too badly. The new pillow helps."),
    ("SPEAKER_00", "And the pain in your knee, is it any better since Tuesday?"),
    ("SPEAKER_01", "On the stairs it still hurts. <b>Sitting</b> is fine."),
]


@dataclass(frozen=True)
class Box:
    """The application with its pages, and a transcript in it."""

    url: str
    api: Api
    owner: str
    transcript_id: int

    def share(self, **wishes: Any) -> tuple[Share, str]:
        """And the address of its page."""
        new = NewShare(**{"expires_at": None} | wishes)
        share, token = self.api.run(self.api.services.store.shares.create(self.transcript_id, own_reach(self.owner), new))
        return share, f"{self.url}/s/{token}"

    def withdraw(self, share: Share) -> None:
        self.api.run(self.api.services.store.shares.revoke(self.transcript_id, own_reach(self.owner), share.id))


async def _listen(api: Api) -> tuple[AnnouncedServer, asyncio.Task[None]]:
    app = Litestar(
        route_handlers=[*routes(), *web_routes()],
        guards=[require_access],
        exception_handlers=HANDLERS,  # type: ignore[arg-type]
        before_send=[add_security_headers],
        openapi_config=None,
        state=State({"services": api.services}),
        logging_config=None,
    )
    config = uvicorn.Config(
        AccessLog(app, lambda _: None), port=0, lifespan="off", access_log=False, log_config=None, timeout_graceful_shutdown=1
    )
    server = AnnouncedServer(config)
    serving = asyncio.create_task(server.serve())
    await server.listening.wait()
    return server, serving


async def _save(api: Api, owner: str) -> int:
    """A conversation with a note of doubt in it."""
    transcripts = api.services.store.transcripts
    record = await transcripts.create(new_transcript(owner=owner, title="Ward round, Tuesday"))
    await transcripts.start(record.id)
    segments = tuple(segment_of(text, n, n * 8.0, speaker) for n, (speaker, text) in enumerate(SAID))
    whole = structs.replace(
        transcript_of([text for _, text in SAID]),
        segments=segments,
        speakers=(Speaker("SPEAKER_00", "Dr. Aydın"), Speaker("SPEAKER_01")),
        warnings=(Caution("speech_without_words", "Somebody speaks here, but no words were recognised.", 21.5, 23.0),),
        duration=32.0,
    )
    await transcripts.complete(record.id, whole)
    return record.id


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    server: Server
    server, api = start(settings_for(tmp_path_factory.mktemp("box")), "whisper-base")
    listening, serving = api.run(_listen(api))
    port = listening.servers[0].sockets[0].getsockname()[1]
    yield Box(f"http://127.0.0.1:{port}", api, api.key.id, api.run(_save(api, api.key.id)))
    listening.should_exit = True
    api.run(_ended(serving))
    server.stop()


async def _ended(task: asyncio.Task[None]) -> None:
    await task


def test_a_link_without_limits_shows_the_transcript_at_once(page: Page, box: Box) -> None:
    _, address = box.share(expires_at=datetime.now(UTC) + timedelta(days=3))
    page.goto(address)
    expect(page.get_by_role("heading", name="Ward round, Tuesday")).to_be_visible()
    expect(page.locator(".paragraph")).to_have_count(4)
    expect(page.locator(".paragraph").first).to_contain_text("Dr. Aydın")
    expect(page.locator(".paragraph").last).to_contain_text("<b>Sitting</b> is fine.")
    expect(page.locator(".note-item")).to_contain_text("no words were recognised")
    expect(page.locator("#until")).to_contain_text("Until")
    shown = [button.inner_text() for button in page.locator("button").all() if button.is_visible()]
    assert shown == ["Text", "SRT", "VTT", "JSON", "CSV"], "nothing to change"
    assert page.evaluate("() => document.cookie") == "", "no script reads the view"


def test_every_kind_of_document_can_be_downloaded(page: Page, box: Box) -> None:
    _, address = box.share()
    page.goto(address)
    for name, kind in (("Text", "txt"), ("SRT", "srt"), ("VTT", "vtt"), ("JSON", "json"), ("CSV", "csv")):
        with page.expect_download() as download:
            page.get_by_role("button", name=name, exact=True).click()
        assert download.value.suggested_filename == f"Ward round, Tuesday.{kind}"
        assert "pillow" in Path(download.value.path()).read_text()


def test_a_password_is_asked_for_and_a_wrong_one_is_said(page: Page, box: Box) -> None:
    _, address = box.share(password=PASSWORD)
    page.goto(address)
    expect(page.get_by_label("Password")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").first).to_have_text("Type the password first.")
    page.get_by_label("Password").fill("wrong password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").first).to_have_text("That is not the password.")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Ward round, Tuesday")).to_be_focused()


def test_after_many_wrong_passwords_it_says_how_long_to_wait(page: Page, box: Box) -> None:
    _, address = box.share(password=PASSWORD)
    page.goto(address)
    for _ in range(6):
        page.get_by_label("Password").fill("wrong password")
        with page.expect_response("**/api/v1/shared/*"):
            page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("alert").first).to_have_text("Too many wrong passwords. Try again in 30 seconds.")


def test_a_limited_link_is_opened_by_a_person_not_by_loading_the_page(page: Page, box: Box) -> None:
    _, address = box.share(max_views=2)
    page.goto(address)
    expect(page.locator("#door-text")).to_have_text("It can be opened 2 more times.")
    page.reload()
    expect(page.locator("#door-text")).to_have_text("It can be opened 2 more times.")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("heading", name="Ward round, Tuesday")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Ward round, Tuesday")).to_be_visible()
    page.context.clear_cookies()
    page.reload()
    expect(page.locator("#door-text")).to_have_text("It can be opened 1 more time.")


@pytest.mark.parametrize("width", [1280, 390])
def test_how_a_link_ended_is_said_in_plain_words(page: Page, box: Box, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    share, withdrawn = box.share()
    box.withdraw(share)
    _, used_up = box.share(max_views=1)
    box.api.run(box.api.services.store.shares.open(used_up.rpartition("/")[2], None))
    _, expired = box.share(expires_at=datetime.now(UTC) + timedelta(seconds=60))
    later = datetime.now(UTC) + timedelta(seconds=61)
    monkeypatch.setattr(shares_module, "now", lambda: later)
    for address, sentence in (
        (withdrawn, "This link was withdrawn"),
        (used_up, "This link is used up"),
        (expired, "This link has expired"),
        (f"{box.url}/s/{'A' * 43}", "This link leads nowhere"),
    ):
        page.goto(address)
        expect(page.get_by_role("heading", name=sentence)).to_be_focused()
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_when_the_half_hour_is_over_the_door_comes_back(page: Page, box: Box) -> None:
    _, address = box.share(password=PASSWORD)
    page.goto(address)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator(".paragraph")).to_have_count(4)
    page.context.clear_cookies()
    page.get_by_role("button", name="SRT").click()
    expect(page.get_by_label("Password")).to_be_visible()


def test_a_link_withdrawn_while_it_is_read_gives_nothing_more(page: Page, box: Box) -> None:
    share, address = box.share()
    page.goto(address)
    expect(page.locator(".paragraph")).to_have_count(4)
    box.withdraw(share)
    page.get_by_role("button", name="SRT").click()
    expect(page.get_by_role("heading", name="This link was withdrawn")).to_be_visible()


def test_the_page_says_to_robots_and_caches_to_stay_away_and_its_address_is_in_no_log(
    page: Page, box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "appliance")
    _, address = box.share()
    answer = page.goto(address)
    expect(page.locator(".paragraph")).to_have_count(4)
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("appliance"))
    assert "GET /s/{token} 200" in logged
    assert address.rpartition("/")[2] not in logged
    assert answer is not None
    headers = answer.headers
    assert (headers["cache-control"], headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert "noindex" in headers["x-robots-tag"]


def test_nothing_is_fetched_from_elsewhere_and_a_phone_shows_it_whole(page: Page, box: Box) -> None:
    hosts = set()
    page.on("request", lambda request: hosts.add(request.url.split("/s/")[0].split("/static")[0].split("/api")[0]))
    page.set_viewport_size({"width": 390, "height": 800})
    _, address = box.share()
    page.goto(address)
    expect(page.locator(".paragraph")).to_have_count(4)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert hosts == {box.url}
