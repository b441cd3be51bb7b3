"""The page on a real appliance with real models: what `make run` leads to, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.recordings import telephone_call
from tests.served import serve
from tests.web.conftest import enter_by_link

pytestmark = [pytest.mark.engine, pytest.mark.slow]

DONE_TIMEOUT_MS = 240_000


def test_a_telephone_call_is_dropped_in_read_and_deleted(page: Page, tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        enter_by_link(page, f"{served.url}/", served.key)
        expect(page.locator("#model option").first).not_to_have_text("Default")
        page.locator("#files").set_input_files(telephone_call())
        expect(page.locator("#transcript-title")).to_have_text("sample")
        page.locator(".downloads").wait_for(timeout=DONE_TIMEOUT_MS)

        expect(page.locator(".speakers li")).to_have_count(2)
        text = page.locator(".text").inner_text().lower()
        assert "hello" in text
        assert len(text.split()) > 50
        with page.expect_download() as download:
            page.get_by_role("button", name="SRT").click()
        assert "-->" in Path(download.value.path()).read_text()

        page.locator(".speakers button").first.click()
        page.get_by_label("Name", exact=True).fill("Diane")
        page.keyboard.press("Enter")
        expect(page.locator(".paragraph .speaker").filter(has_text="Diane").first).to_be_visible()

        page.get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Delete for good").click()
        expect(page.locator("#shelf-note")).to_have_text("Nothing yet. What you send appears here.")
