"""A real Chromium on the real pages, with a stand-in behind them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.web.standin import KEY, Standin

CHROMIUM = "/usr/bin/chromium"
# The browser's own errands: signing in, updates, the form filler. Whatever else a page asks for is still looked up, and counted.
ITS_MAKER_S = ("*.google.com", "*.googleapis.com", "*.gstatic.com")
QUIETLY = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=" + ", ".join(f"MAP {name} ~NOTFOUND" for name in ITS_MAKER_S),
]


@pytest.fixture(scope="module")  # Playwright holds an event loop open, which other modules must not meet
def browser() -> Iterator[Browser]:
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"{CHROMIUM} is not installed")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIETLY)  # in a fresh profile of its own
        yield launched
        launched.close()


@pytest.fixture
def standin() -> Iterator[Standin]:
    server = Standin()
    server.start()
    try:
        yield server
    finally:
        server.upload_gate.set()
        server.stop()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    fresh = browser.new_context(viewport={"width": 1280, "height": 800})
    yield fresh
    fresh.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """Whatever the page itself throws, or the content policy stops, fails the test."""
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text) if "Content Security Policy" in message.text else None)
    yield opened
    assert problems == []


@pytest.fixture
def signed_in(page: Page, standin: Standin) -> Page:
    enter_by_link(page, standin.url)
    return page


def enter_by_link(page: Page, url: str, key: str = KEY) -> None:
    """As after `make run`: by a link with a key, which is asked about first."""
    page.goto(f"{url}#key={key}")
    page.get_by_role("button", name="Continue").click()
    page.locator("#compose-view").wait_for()
