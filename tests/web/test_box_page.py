"""The page of this appliance, on the real application: licences that come and go, bundles that lie where sticks are mounted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, expect

from tests.api.conftest import Api, settings_for, start
from tests.api.test_releases import passes
from tests.licence.making import TRUSTED, licence, signed
from tests.updates.making import Maker
from tests.web.test_people_page import go, set_up

pytestmark = pytest.mark.slow


@pytest.fixture
def sticks(tmp_path: Path) -> Path:
    (tmp_path / "sticks").mkdir()
    return tmp_path / "sticks"


@pytest.fixture
def api(tmp_path: Path, sticks: Path) -> Iterator[Api]:
    server, api = start(settings_for(tmp_path, bundle_dir=sticks), "whisper-base")
    yield api
    server.stop()


@pytest.fixture
def administrator(api: Api, browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield set_up(api, context)
    context.close()


def test_the_banner_goes_with_a_licence_that_is_installed_here_and_comes_with_news_from_elsewhere(
    administrator: Page, api: Api, tmp_path: Path
) -> None:
    page, licensing, now = administrator, api.services.licensing, datetime.now(UTC)
    licensing._trusted = TRUSTED  # for the built-in keys nobody can sign
    good = licence(not_before=now - timedelta(days=1), expires_at=now + timedelta(days=365))
    (tmp_path / "licence.json").write_bytes(signed(good))
    expect(page.locator("#banner")).to_contain_text("This is an evaluation")
    go(page, "This appliance")
    page.locator("#licence-file").set_input_files(tmp_path / "licence.json")
    expect(page.get_by_text("Valid", exact=True)).to_be_visible()
    expect(page.locator("#banner")).to_be_hidden()

    short = signed(replace(good, id="licence_2", serial=2, expires_at=now + timedelta(days=10), supersedes=(good.id,)))
    api.run(licensing.install(short, "console"))
    expect(page.locator("#banner")).to_be_hidden()
    go(page, "Privacy")
    expect(page.locator("#banner")).to_contain_text("The licence ends on")
    api.run(licensing.install(signed(replace(good, id="licence_3", serial=3, supersedes=("licence_2",))), "console"))
    page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")  # as when somebody comes back to this tab
    expect(page.locator("#banner")).to_be_hidden()


def test_the_folder_of_bundles_is_named_and_what_support_does_not_cover_is_said(
    administrator: Page, api: Api, sticks: Path, tmp_path: Path
) -> None:
    page, licensing, now = administrator, api.services.licensing, datetime.now(UTC)
    maker = Maker(tmp_path / "maker")
    maker.release(1)
    licensing._trusted = TRUSTED
    over = licence(not_before=now - timedelta(days=1), expires_at=now + timedelta(days=365), support_until=now - timedelta(days=1))
    api.run(licensing.install(signed(over), "console"))
    api.services.incoming._hearing = passes
    maker.repository.write_bundle(sticks / "update.tar")
    go(page, "This appliance")
    expect(page.get_by_text(f"Bundles that lie in {sticks} are listed here")).to_be_visible()
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_text("vendor-1 · in use")).to_be_visible()
    expect(page.get_by_text("the release 'vendor-1' was made later")).to_be_visible()
