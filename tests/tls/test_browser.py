"""Chromium with the authority imported, as people have it: no warning, Web Crypto, and the page that hands the authority out."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from appliance.tls import built_in
from tests.tls.conftest import MakeSettings
from tests.tls.live import Live, live
from tests.tls.makers import customer_files
from tests.web.conftest import CHROMIUM, QUIETLY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which(CHROMIUM) is None or shutil.which("certutil") is None, reason="needs Debian's chromium and libnss3-tools"
    ),
]


@pytest.fixture
def served(settings: MakeSettings) -> Iterator[Live]:
    with live(settings()) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of somebody who trusts nothing yet."""
    database = tmp_path / "home" / ".pki" / "nssdb"
    database.mkdir(parents=True)
    certutil("-N", "--empty-password", database=database)
    return tmp_path / "home"


def certutil(*arguments: str, database: Path) -> str:
    command = ["certutil", "-d", f"sql:{database}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def trust(home: Path, authority: Path) -> None:
    """The command of the page, word for word."""
    certutil("-A", "-t", "C,,", "-n", "appliance", "-i", str(authority), database=home / ".pki" / "nssdb")


@pytest.fixture
def opened(home: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM, args=QUIETLY, env={"HOME": str(home), "PATH": "/usr/bin:/bin"}
        )
        yield launched
        launched.close()


@pytest.fixture
def page(opened: Browser) -> Iterator[Page]:
    fresh = opened.new_context(viewport={"width": 1280, "height": 900})
    shown = fresh.new_page()
    problems: list[str] = []
    shown.on("pageerror", lambda error: problems.append(str(error)))
    shown.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    yield shown
    fresh.close()
    assert [problem for problem in problems if "ERR_CERT" not in problem] == []


def test_without_the_authority_it_warns(page: Page, served: Live) -> None:
    with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        page.goto(served.url)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_with_the_authority_the_page_opens_and_has_web_crypto(home: Path, served: Live, page: Page, host: str) -> None:
    """TRAPS 29."""
    trust(home, served.settings.own_authority_path)
    answer = page.goto(f"https://{host}:{served.port}/")
    assert answer
    assert answer.security_details() is not None
    assert answer.security_details()["protocol"] == "TLS 1.3"  # type: ignore[index]
    assert page.evaluate("() => window.isSecureContext && typeof crypto.subtle.encrypt === 'function'")
    digest = page.evaluate("async () => (await crypto.subtle.digest('SHA-256', new Uint8Array(1))).byteLength")
    assert digest == 32


def test_a_new_authority_is_not_the_trusted_one(home: Path, settings: MakeSettings, page: Page, tmp_path: Path) -> None:
    with live(settings()) as former:
        shutil.copy(former.settings.own_authority_path, tmp_path / "former.pem")
        built_in(former.settings).renew_authority(former.door._clock())
    trust(home, tmp_path / "former.pem")
    with live(settings()) as served, pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        page.goto(served.url)


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)], ids=["desk", "phone"])
def test_the_page_shows_the_fingerprint_and_hands_the_authority_out(
    home: Path, served: Live, page: Page, size: tuple[int, int]
) -> None:
    trust(home, served.settings.own_authority_path)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(f"{served.url}/trust")
    authority = served.door.authority
    assert authority
    expect(page.locator("#fingerprint")).to_contain_text(authority.fingerprint[:23])
    assert "".join(page.locator("#fingerprint").inner_text().split()).replace(":", "") == authority.fingerprint.replace(":", "")
    expect(page.locator("#names")).to_contain_text("localhost")
    expect(page.locator("details[open]")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("link", name="For Windows, macOS, phones").click()
    assert Path(download.value.path()).read_bytes() == authority.der
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    for name in ("Windows", "macOS", "iPhone and iPad", "Android", "Debian and Ubuntu", "Fedora", "Firefox"):
        page.locator("summary", has_text=name).click()
        expect(page.locator("details[open]")).to_have_count(1)
        assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth"), name


def test_with_a_certificate_that_was_brought_there_is_nothing_to_install(
    home: Path, settings: MakeSettings, page: Page, tmp_path: Path
) -> None:
    files = customer_files(tmp_path)
    (tmp_path / "root.pem").write_bytes(files.root.pem)
    trust(home, tmp_path / "root.pem")
    with live(settings(tls="files", tls_certificate_file=files.certificate, tls_key_file=files.key)) as served:
        page.goto(f"{served.url}/trust")
        expect(page.locator("#foreign-text")).to_contain_text("a certificate that its owner brought")
        expect(page.locator("#own")).to_be_hidden()
        page.context.close()  # its connections would hold the server up


def test_a_page_that_cannot_learn_the_fingerprint_says_to_install_nothing(home: Path, served: Live, page: Page) -> None:
    trust(home, served.settings.own_authority_path)
    page.route("**/v1/tls", lambda route: route.fulfill(status=200, body="no json"))
    page.goto(f"{served.url}/trust")
    expect(page.locator("#fingerprint")).to_contain_text("do not install anything")
