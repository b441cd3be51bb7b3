"""The page's pure modules, run by the browser that will run them."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.web.standin import Standin
from tests.web.talk import gap, segment

pytestmark = pytest.mark.slow


def call(page: Page, standin: Standin, module: str, function: str, *arguments: Any) -> Any:
    page.goto(standin.url)
    code = "async ([m, f, a]) => (await import(`/static/${m}.js`))[f](...a)"
    return page.evaluate(code, [module, function, arguments])


@pytest.mark.parametrize(
    ("function", "argument", "shown"),
    [
        ("clock", 0, "0:00"),
        ("clock", 63.9, "1:03"),
        ("clock", 3723.4, "1:02:03"),
        ("bytes", 512, "512 bytes"),
        ("bytes", 5_242_880, "5.2 MB"),
        ("bytes", 999_600_000, "1.0 GB"),
        ("about", 3, "a few seconds"),
        ("about", 74, "about a minute"),
        ("about", 3600, "about an hour"),
        ("about", 9000, "about 2.5 hours"),
        ("percent", 0.999, "99 %"),
        ("speakerName", {"label": "SPEAKER_02", "name": None}, "Speaker 3"),
        ("speakerName", {"label": "SPEAKER_02", "name": "Ayşe"}, "Ayşe"),
        ("language", "de", "German"),
        ("language", "und", "no language"),
    ],
)
def test_numbers_read_as_people_write_them(page: Page, standin: Standin, function: str, argument: Any, shown: str) -> None:
    assert call(page, standin, "format", function, argument) == shown


def test_paragraphs_end_with_the_speaker_a_pause_or_a_note(page: Page, standin: Standin) -> None:
    segments = [
        segment(0, 0.0, "One.", "A"),
        segment(1, 0.6, "Two.", "A"),
        segment(2, 1.2, "Three.", "B"),
        segment(3, 9.0, "After a pause.", "B"),
        segment(4, 14.0, "After a gap.", "B"),
    ]
    segments[3]["end"] = 12.5
    items = call(page, standin, "paragraphs", "paragraphs", segments, [gap(12.6, 13.9)])
    shape = [(item["kind"], [part["id"] for part in item.get("segments", [])]) for item in items]
    assert shape == [("speech", [0, 1]), ("speech", [2]), ("speech", [3]), ("note", []), ("speech", [4])]


def test_a_monologue_is_cut_at_the_end_of_a_sentence(page: Page, standin: Standin) -> None:
    segments = [
        {"id": n, "start": n * 10.0, "end": n * 10.0 + 9.9, "text": "and" if n % 3 else "So.", "speaker": None} for n in range(12)
    ]
    items = call(page, standin, "paragraphs", "paragraphs", segments, [])
    assert len(items) > 1
    assert all(item["segments"][-1]["text"] == "So." for item in items[:-1])


def test_events_are_read_from_their_blocks(page: Page, standin: Standin) -> None:
    assert call(page, standin, "api", "parseEvent", 'event: state\ndata: {"a": 1}') == {"type": "state", "data": {"a": 1}}
    assert call(page, standin, "api", "parseEvent", ": still here") is None
