"""People at the page of the real application: the first administrator, an invitation, a second factor, teams, signing out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from appliance.store import UNLIMITED, PersonRole, Scope, own_reach
from appliance.updates.roots import add_site_root
from tests.api.conftest import Api, settings_for, start, tone
from tests.api.test_releases import passes
from tests.updates.making import Maker

pytestmark = pytest.mark.slow

PASSWORD = "a long enough password"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    settings = settings_for(tmp_path_factory.mktemp("people"))
    server, api = start(settings, "whisper-base", "speaker-diarization")
    yield api
    server.stop()


@pytest.fixture
def wav() -> bytes:
    return tone()


@pytest.fixture(scope="module")
def administrator(api: Api, browser: Browser) -> Iterator[Page]:
    """Signed in as the first administrator, by the set-up link, as on the day of installation."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield set_up(api, context)
    context.close()


def set_up(api: Api, context: BrowserContext) -> Page:
    context.set_default_timeout(10_000)
    page = context.new_page()
    page.goto(api.url)
    expect(page.get_by_role("heading", name="Almost ready")).to_be_visible()
    token = api.run(api.services.store.people.offer_setup("console")).token
    page.goto(f"{api.url}/#setup/{token}")
    page.get_by_label("Your name").fill("Ada Lovelace")
    page.get_by_label("E-mail address").fill("ada@example.org")
    page.get_by_label("Password, at least").fill(PASSWORD)
    page.get_by_label("The same password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Who said what?")).to_be_visible()
    assert token not in page.url
    return page


def go(page: Page, item: str) -> None:
    page.locator("#menu summary").click()
    page.get_by_role("link", name=item).click()


def test_a_link_with_a_key_does_not_take_the_place_of_who_is_signed_in(api: Api, administrator: Page) -> None:
    """What they send would belong to whoever made the link."""
    for address in (f"{api.url}/#key={api.secret}", f"{api.url}/?again#key={api.secret}"):
        administrator.goto(address)
        administrator.wait_for_function("() => location.hash === ''")
        expect(administrator.get_by_role("heading", name="Who said what?")).to_be_visible()
        expect(administrator.locator("#menu-name")).to_have_text("Ada Lovelace")
        expect(administrator.locator("#unused-key")).to_contain_text("you are signed in as Ada Lovelace")
        assert api.secret not in administrator.url
        assert administrator.evaluate("() => sessionStorage.length") == 0


def test_the_session_is_a_cookie_that_no_script_can_read(administrator: Page) -> None:
    assert administrator.evaluate("() => [document.cookie, localStorage.length, sessionStorage.length]") == ["", 0, 0]
    (cookie,) = administrator.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"


def test_somebody_is_invited_comes_in_and_sees_no_administration(administrator: Page, browser: Browser, api: Api) -> None:
    go(administrator, "People")
    administrator.get_by_role("button", name="Invite somebody").click()
    administrator.get_by_label("E-mail address").fill("grace@example.org")
    administrator.keyboard.press("Enter")
    link = administrator.locator("input.secret").input_value()
    administrator.get_by_role("button", name="I have kept it").click()
    expect(administrator.get_by_text("invited, has not come in yet")).to_be_visible()

    guest = browser.new_context().new_page()
    guest.goto(link)
    guest.get_by_label("Your name").fill("Grace Hopper")
    guest.get_by_label("Password, at least").fill(PASSWORD)
    guest.get_by_label("The same password").fill("not the same password")
    guest.keyboard.press("Enter")
    expect(guest.get_by_role("alert")).to_have_text("The two passwords differ.")
    guest.get_by_label("The same password").fill(PASSWORD)
    guest.keyboard.press("Enter")
    expect(guest.get_by_role("heading", name="Who said what?")).to_be_visible()
    guest.locator("#menu summary").click()
    expect(guest.get_by_role("link", name="Teams")).to_be_visible()
    expect(guest.get_by_role("link", name="People")).to_be_hidden()
    guest.context.close()


def test_a_team_is_started(administrator: Page) -> None:
    go(administrator, "Teams")
    administrator.get_by_role("button", name="Start a team").click()
    administrator.get_by_label("Its name").fill("Court 4")
    administrator.keyboard.press("Enter")
    expect(administrator.get_by_role("heading", name="Court 4")).to_be_visible()


def test_a_recording_is_sent_to_the_team_and_shared_by_link(
    administrator: Page, browser: Browser, api: Api, wav: bytes, tmp_path: Path
) -> None:
    (recording := tmp_path / "Hearing.wav").write_bytes(wav)
    page = administrator
    page.goto(f"{api.url}/#teams")
    page.goto(f"{api.url}/#")
    page.reload()
    page.get_by_label("For", exact=True).select_option("Court 4")
    page.locator("#files").set_input_files(recording)
    page.get_by_role("button", name="Share").click()
    expect(page.get_by_label("Belongs to")).to_contain_text("Court 4")
    page.get_by_label("Opened at most").fill("1")
    page.get_by_role("button", name="Make a link").click()
    link = page.locator("input.secret").input_value()
    page.get_by_role("button", name="I have kept it").click()
    expect(page.get_by_text("0 of 1 times opened")).to_be_visible()
    page.get_by_label("Belongs to").select_option("Only you")
    page.get_by_role("button", name="Move").click()
    expect(page.get_by_role("dialog")).to_be_hidden()

    stranger = browser.new_context().new_page()
    stranger.goto(link)
    stranger.get_by_role("button", name="Open").click()
    expect(stranger.get_by_text("Good morning.")).to_be_visible()
    stranger.context.close()
    late = browser.new_context().new_page()
    late.goto(link)
    expect(late.get_by_role("heading", name="This link is used up")).to_be_visible()
    late.context.close()


def test_a_key_is_shown_once(administrator: Page) -> None:
    go(administrator, "Your account")
    administrator.get_by_role("button", name="New key").click()
    administrator.get_by_label("What is it for?").fill("Archive")
    administrator.keyboard.press("Enter")
    assert administrator.locator("input.secret").input_value().startswith("stt_")
    administrator.get_by_role("button", name="I have kept it").click()
    expect(administrator.get_by_text("Archive")).to_be_visible()


def test_how_long_one_s_transcripts_are_kept_is_changed_and_followed_again(administrator: Page, api: Api) -> None:
    page = administrator
    go(page, "Your account")
    expect(page.get_by_text("Until you erase them, as everybody’s here.")).to_be_visible()
    page.get_by_role("button", name="Change", exact=True).click()
    page.get_by_label("Days until a transcript is erased").fill("30")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Keep them so long").click()
    expect(page.get_by_text("Erased after 30 days", exact=True)).to_be_visible()
    assert set(api.run(api.services.store.retention.rules()).values()) == {30}
    page.get_by_role("button", name="As everybody’s").click()
    expect(page.get_by_text("Until you erase them, as everybody’s here.")).to_be_visible()
    assert api.run(api.services.store.retention.rules()) == {}


def test_all_transcripts_of_one_s_own_are_erased_by_their_number(administrator: Page, api: Api, wav: bytes, tmp_path: Path) -> None:
    """The one that was moved to her goes, the one of the team stays."""
    page = administrator
    (recording := tmp_path / "Talk of the team.wav").write_bytes(wav)
    page.goto(f"{api.url}/#")
    page.reload()
    page.get_by_label("For", exact=True).select_option("Court 4")
    page.locator("#files").set_input_files(recording)
    expect(page.get_by_role("button", name="Share")).to_be_visible()
    assert api.run(_counts(api)) == (1, 1)
    go(page, "Your account")
    page.get_by_role("button", name="Erase all my transcripts").click()
    expect(page.get_by_role("dialog")).to_contain_text("your only transcript")
    page.get_by_role("button", name="Erase them").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="Erase all my transcripts").click()
    expect(page.get_by_role("alert")).to_have_text("You have none.")
    assert api.run(_counts(api)) == (0, 1)


async def _counts(api: Api) -> tuple[int, int]:
    """How many transcripts are Ada's own, and how many others there are."""
    store = api.services.store
    ada = await store.people.find("ada@example.org")
    own, every = [(await store.transcripts.list(reach, limit=1, offset=0)).count for reach in (own_reach(ada.id), UNLIMITED)]
    return own, every - own


def test_the_appliance_shows_its_licence_and_models(administrator: Page) -> None:
    go(administrator, "This appliance")
    expect(administrator.get_by_text("it trusts model updates by keys that everybody has")).to_be_visible()
    expect(administrator.get_by_role("heading", name="Licence")).to_be_visible()
    expect(administrator.get_by_text("Evaluation", exact=True)).to_be_visible()


def test_a_bundle_of_models_is_imported_or_refused_in_words(administrator: Page, api: Api, tmp_path: Path) -> None:
    page, maker = administrator, Maker(tmp_path / "maker")
    maker.release(1)
    api.services.incoming._hearing = passes  # the trial itself is tested with the real engine
    go(page, "Privacy")
    go(page, "This appliance")
    page.get_by_label("A bundle of models").set_input_files(maker.tar())
    expect(page.get_by_text("vendor-1 · in use")).to_be_visible()
    (tmp_path / "holiday.tar").write_bytes(b"no bundle at all" * 1000)
    page.get_by_label("A bundle of models").set_input_files(tmp_path / "holiday.tar")
    expect(page.get_by_role("status").filter(has_text="The last import was refused")).to_be_visible()
    expect(page.get_by_text("vendor-1 · in use")).to_be_visible()

    expect(page.get_by_role("button", name="Import one of our own")).to_have_count(0)
    ours = Maker(tmp_path / "ours")
    ours.release(1, model_id="site/court")
    add_site_root(api.services.settings.models_dir, ours.anchor)
    go(page, "Privacy")
    go(page, "This appliance")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Import one of our own").click()
    chooser.value.set_files(ours.tar())
    expect(page.get_by_text("site-1 · in use")).to_be_visible()


def test_privacy_is_said_in_plain_sentences(administrator: Page) -> None:
    go(administrator, "Privacy")
    expect(administrator.locator(".prose li").first).to_be_visible()
    assert administrator.locator(".prose li").count() > 10


def test_a_second_factor_is_switched_on_and_asked_for(administrator: Page, api: Api) -> None:
    page = administrator
    go(page, "Your account")
    page.get_by_role("button", name="Switch on").click()
    expect(page.locator(".qr")).to_be_visible()
    secret = re.search(r"Without a camera: ([A-Z2-7]+)", page.locator("#desk-view").inner_text())
    assert secret is not None
    code = pyotp.TOTP(secret[1])
    page.get_by_label("Code", exact=True).fill(code.now())
    page.get_by_role("button", name="Switch on").click()
    assert len(page.locator("input.secret").input_value().split()) == 10
    page.get_by_role("button", name="I have kept it").click()
    expect(page.get_by_text("Signing in asks for a code")).to_be_visible()

    page.locator("#menu summary").click()
    expect(page.locator("#banner")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#banner")).to_be_hidden()
    door = page.locator("#door-view")
    door.get_by_label("Name or e-mail address").fill("ada@example.org")
    door.get_by_label("Password").fill("wrong password entirely")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).not_to_be_empty()
    door.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    door.get_by_label("Code of your second factor").fill("000000")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).not_to_be_empty()


@pytest.mark.usefixtures("administrator")
def test_switching_the_second_factor_off_asks_for_a_code(api: Api, browser: Browser) -> None:
    people, factors = api.services.store.people, api.services.store.second_factors
    offer = api.run(people.invite("joan@example.org", "Joan", PersonRole.MEMBER, "console"))
    joan = api.run(people.join(offer.link.token, "Joan Clarke", PASSWORD))
    recovery = api.run(factors.confirm(joan.id, pyotp.TOTP(api.run(factors.begin(joan.id))).now()))
    api.run(api.services.store.keys.create("Archive", (Scope.READ,), None, joan.id))
    page = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
    page.goto(api.url)
    page.get_by_label("Name or e-mail address").fill("joan@example.org")
    page.locator("#door-view").get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_label("Code of your second factor").fill(recovery[0])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Who said what?")).to_be_visible()
    go(page, "Your account")

    page.get_by_role("button", name="Change password").click()
    page.get_by_label("Your present password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_label("New password, at least").fill("another long password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("One API key goes on working.")
    page.keyboard.press("Enter")

    page.get_by_role("button", name="Switch off").click()
    page.get_by_label("A code from your app, or a recovery code").fill(recovery[0])
    page.keyboard.press("Enter")
    page.get_by_label("That code does not work, or was used before").fill(recovery[1])
    page.keyboard.press("Enter")
    expect(page.get_by_text("A code from an app on your telephone, beside the password.")).to_be_visible()
    assert not api.run(people.get(joan.id)).has_second_factor

    token = api.run(people.offer_reset(joan.id, "console")).link.token
    page.context.clear_cookies()
    page.goto(f"{api.url}/?again#password/{token}")
    page.get_by_label("Password, at least").fill(PASSWORD)
    page.get_by_label("The same password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_text("the API keys of this account have ended")).to_be_visible()
    assert api.run(api.services.store.keys.list_of(joan.id)) == ()
    page.context.close()


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
def test_every_desk_fits_its_window(administrator: Page, api: Api, browser: Browser, size: tuple[int, int], tmp_path: Path) -> None:
    """Nothing sticks out sideways, at the desk or on a telephone."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    page = context.new_page()
    page.goto(api.url)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_role("link", name="How to trust it")).to_have_attribute("href", "/trust")
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    page.screenshot(path=tmp_path / "door.png")
    context.close()
