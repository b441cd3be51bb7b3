"""A private transcript from the page to the disk: what the person sees, and what the server has of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import BrowserContext, Download, Page, expect

from appliance.crypto.envelope import read_envelope, unlock
from tests.recordings import telephone_call
from tests.served import Served, serve
from tests.web.conftest import browser, context, enter_by_link, page

__all__ = ["browser", "context", "page"]

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900)]  # memory dumps, and a minute of waiting

DONE_TIMEOUT_MS = 240_000
AFTER_ACKNOWLEDGEMENT_S = 60.0
PASSWORD = "copper lantern seven rivers"
PATH = "/api/v1/transcripts/"


# --- what the server has ----------------------------------------------------------------------------------------------


def memory_of(pid: int) -> bytes:
    """Every byte the process can read, as an administrator with a debugger gets it."""
    parts = []
    try:
        memory = Path(f"/proc/{pid}/mem").open("rb", buffering=0)  # noqa: SIM115
    except PermissionError:
        pytest.skip("this container may not read the memory of its own processes")
    with memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end = (int(edge, 16) for edge in line.split()[0].split("-"))
            if line.split()[1].startswith("r") and not line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                try:
                    memory.seek(start)
                    parts.append(memory.read(end - start))
                except OSError:  # a page that only the kernel may read
                    continue
    return b"\n".join(part for part in parts if part)


def words_of(document: dict[str, Any]) -> set[bytes]:
    return {word.encode() for word in re.findall(r"[A-Za-z']{6,}", document["transcript"]["text"])[:20]}


def phrases_of(document: dict[str, Any]) -> set[bytes]:
    """Three words in a row: nothing that stands in a program by chance."""
    words = document["transcript"]["text"].split()
    return {" ".join(words[n : n + 3]).encode() for n in range(0, len(words) - 2, 4)}


def found_in(content: bytes, needles: Iterable[bytes]) -> set[bytes]:
    """As UTF-8, and as Python and JavaScript hold wider texts."""
    return {n for n in needles if n in content or n.decode().encode("utf-16-le") in content}


def files_of(served: Served) -> bytes:
    paths = [path for path in served.data_dir.rglob("*") if path.is_file()]
    return b"\n".join(path.read_bytes() for path in [*paths, served.log])


def finished(client: httpx.Client, slug: str) -> dict[str, Any]:
    deadline = time.monotonic() + DONE_TIMEOUT_MS / 1000
    while time.monotonic() < deadline:
        record: dict[str, Any] = client.get(f"{PATH}{slug}/").json()
        if record["status"] not in ("queued", "processing"):
            return record
        time.sleep(0.25)
    raise AssertionError("it is not done in time")


# --- the person's way -------------------------------------------------------------------------------------------------


def send_privately(page: Page, served: Served) -> str:
    """Through the page; returns the slug once the text is on the screen."""
    enter_by_link(page, f"{served.url.replace('127.0.0.1', 'localhost')}/", served.key)
    expect(page.locator("#model option").first).not_to_have_text("Default")
    page.get_by_label("Private: only your password").check()
    page.locator("#files").set_input_files(telephone_call())
    expect(page.locator("#private-problem")).to_have_text(re.compile("at least 10 characters"))
    page.locator("#private-password").fill(PASSWORD)
    page.locator("#private-again").fill(PASSWORD + "x")
    page.locator("#files").set_input_files(telephone_call())
    expect(page.locator("#private-problem")).to_have_text("The two passwords are not the same.")
    page.locator("#private-again").fill(PASSWORD)
    expect(page.locator("#private-strength")).to_have_text("Strong.")
    page.locator("#files").set_input_files(telephone_call())
    expect(page.locator("#transcript-title")).to_have_text("sample")
    page.locator(".private-open").wait_for(timeout=DONE_TIMEOUT_MS)
    expect(page.locator(".text")).to_contain_text("hello", ignore_case=True)
    return page.url.rpartition("/")[2]


def unlock_with(page: Page, password: str) -> None:
    page.locator("#unlock-password").fill(password)
    page.get_by_role("button", name="Unlock").click()


def saved(page: Page, name: str) -> bytes:
    with page.expect_download() as download:
        page.locator(".downloads").get_by_role("button", name=name).click()
    found: Download = download.value
    return Path(found.path()).read_bytes()


def change_password(page: Page, old: str, new: str) -> None:
    page.get_by_role("button", name="Change password").click()
    page.get_by_label("Password now").fill(old)
    page.get_by_label("New password", exact=True).fill(new)
    page.get_by_label("New password again").fill(new)
    page.get_by_role("button", name="Encrypt again").click()


def test_a_private_transcript_is_readable_by_its_person_only(  # noqa: PLR0915 (one way through the page)
    page: Page, context: BrowserContext, tmp_path: Path
) -> None:
    with serve(tmp_path) as served, served.client() as client:
        memory_before = memory_of(served.process.pid)
        slug = send_privately(page, served)
        assert page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])").count(PASSWORD) == 0

        envelope = client.get(f"{PATH}{slug}/envelope/").content
        document = json.loads(unlock(read_envelope(envelope), PASSWORD))  # what the browser locked, Python opens
        words, phrases = words_of(document), phrases_of(document)
        assert len(words) >= 5
        assert client.get(f"{PATH}{slug}/private/").json()["acknowledged_at"] is not None

        time.sleep(AFTER_ACKNOWLEDGEMENT_S)  # what the promise says: a minute later nothing is left
        memory = memory_of(served.process.pid)
        assert found_in(memory, {slug.encode()}) != set()  # it is the right process
        assert found_in(memory, phrases) == set()
        assert found_in(memory, words - found_in(memory_before, words)) == set()
        assert found_in(files_of(served), phrases | words) == set()
        assert found_in(files_of(served), {slug.encode()}) != set()

        # Documents, made in the browser
        for name, file_format in (("Text", "txt"), ("SRT", "srt"), ("VTT", "vtt"), ("CSV", "csv")):
            made = subprocess.run(
                [sys.executable, "-c", MAKE, file_format], input=json.dumps(document).encode(), capture_output=True, check=True
            )
            assert saved(page, name) == made.stdout, file_format
        assert json.loads(saved(page, "JSON")) == document

        # Naming a speaker and correcting a line, encrypted again
        page.locator(".speakers button").first.click()
        page.get_by_label("Name", exact=True).fill("Diane")
        page.keyboard.press("Enter")
        expect(page.locator(".paragraph .speaker").filter(has_text="Diane").first).to_be_visible()
        page.get_by_role("button", name="Correct text").click()
        lines = page.locator("#private-texts").input_value().split("\n")
        page.locator("#private-texts").fill("\n".join(["Quite another beginning.", *lines[1:]]))
        page.get_by_role("button", name="Save").click()
        expect(page.locator(".text")).to_contain_text("Quite another beginning.")
        page.screenshot(path=os.environ.get("PRIVATE_SHOT", str(tmp_path / "open.png")))

        # Locked, and opened again with the right password only
        page.get_by_role("button", name="Lock").click()
        expect(page.locator(".text")).to_be_empty()
        unlock_with(page, "something else")
        expect(page.locator("#unlock-problem")).to_contain_text("the password is wrong, or what is stored was altered")
        unlock_with(page, PASSWORD)
        expect(page.locator(".text")).to_contain_text("Quite another beginning.")
        expect(page.locator(".speakers")).to_contain_text("Diane")

        # Another password
        change_password(page, "not this", "five different small words")
        expect(page.locator(".private-dialog .problem")).to_contain_text("the password is wrong")
        page.get_by_role("button", name="Cancel").click()
        change_password(page, PASSWORD, "five different small words")
        expect(page.locator(".private-dialog")).to_have_count(0)
        page.reload()
        unlock_with(page, PASSWORD)
        expect(page.locator("#unlock-problem")).to_contain_text("the password is wrong")
        unlock_with(page, "five different small words")
        expect(page.locator(".text")).to_contain_text("Quite another beginning.")

        # A tab that is behind does not write over what another one stored
        second = context.new_page()
        enter_by_link(second, f"{served.url.replace('127.0.0.1', 'localhost')}/", served.key)
        second.goto(f"{served.url.replace('127.0.0.1', 'localhost')}/#t/{slug}")
        unlock_with(second, "five different small words")
        second.locator(".changes").get_by_role("button", name="Rename").click()
        second.get_by_label("Title", exact=True).fill("Told by the second tab")
        second.keyboard.press("Enter")
        expect(second.locator("#transcript-title")).to_have_text("Told by the second tab")
        page.locator(".changes").get_by_role("button", name="Rename").click()
        page.get_by_label("Title", exact=True).fill("Told by the first tab")
        page.keyboard.press("Enter")
        expect(page.locator(".failure-sentence")).to_contain_text("The envelope has changed since")

        page.get_by_role("button", name="Delete", exact=True).click()
        page.get_by_role("button", name="Delete for good").click()
        expect(page.locator("#shelf-note")).to_have_text("Nothing yet. What you send appears here.")
        assert found_in(files_of(served), {envelope[-300:-100]}) == set()


MAKE = """
import sys
from appliance.cli.decrypt import record_of
from appliance.export import export
sys.stdout.buffer.write(export(record_of(sys.stdin.buffer.read()), sys.argv[1]).content)
"""


def test_a_result_that_a_program_fetched_in_the_clear_is_wiped(tmp_path: Path) -> None:
    """Without `seal_to` the words do pass through the API process. A dump before shows them."""
    with serve(tmp_path) as served, served.client() as client:
        memory_before = memory_of(served.process.pid)
        with telephone_call().open("rb") as file:
            sent = client.post(PATH, data={"private": "true", "diarize": "true"}, files={"file": file}).json()
        assert finished(client, sent["slug"])["status"] == "completed"
        document = client.get(f"{PATH}{sent['slug']}/result/").json()
        words, phrases = words_of(document), phrases_of(document)
        assert found_in(memory_of(served.process.pid), phrases) != set()

        assert client.post(f"{PATH}{sent['slug']}/result/ack").status_code == 204
        time.sleep(AFTER_ACKNOWLEDGEMENT_S)
        memory = memory_of(served.process.pid)
        assert found_in(memory, phrases) == set()
        assert found_in(memory, words - found_in(memory_before, words)) == set()
        assert found_in(files_of(served), phrases | words) == set()
