"""Documents that the browser makes are those that the appliance would have made."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page

from appliance.domain import Segment, Transcript
from appliance.export import export
from appliance.export.json import render_json
from tests.export.generated import record_of, sentence, transcript_of, transcripts
from tests.web.standin import Standin

pytestmark = pytest.mark.slow

FORMATS = ("txt", "srt", "vtt", "csv")
CODE = """
async ([documents, formats]) => {
  const { exportDocument } = await import("/static/private_export.js");
  return documents.map((text) => formats.map((format) => exportDocument(JSON.parse(text), format)));
}
"""
# Letters of many scripts; characters that newer versions of Unicode treat differently, or that have no letter's direction, aside.
LETTERS = st.characters(codec="utf-8", categories=("Lu", "Ll", "Lo", "Nd", "Po"), max_codepoint=0x2FFF)
WORDS = st.one_of(
    st.sampled_from(["and", "Ann", "Marie", "fish.", "well,", "Mr.", "-", "…", "<b>", "a&b", "-->", "I", "=1+1", "-5", '"so"']),
    st.sampled_from(
        ["東京", "会議。", "話し合いました", "ไทย", "שלום", "مرحبا،", "Donaudampfschifffahrtsgesellschaftskapitänsmütze"]
    ),
    st.text(LETTERS, min_size=1, max_size=12),
)


def differences(page: Page, made: list[Transcript]) -> list[tuple[str, str, str]]:
    """(format, by the browser, by the appliance) for all that differ."""
    records = [record_of(transcript, "Ärzte: Runde 4.mp3") for transcript in made]
    documents = [render_json(record, record.transcript).decode() for record in records if record.transcript]
    answers = page.evaluate(CODE, [documents, FORMATS])
    found = []
    for record, texts in zip(records, answers, strict=True):
        for file_format, browser_made in zip(FORMATS, texts, strict=True):
            ours = export(record, file_format)
            theirs = (browser_made["text"], browser_made["mediaType"], browser_made["filename"])
            if theirs != (ours.content.decode(), ours.media_type, ours.filename):
                found.append((file_format, str(theirs), str((ours.content.decode(), ours.media_type, ours.filename))))
    return found


@pytest.fixture
def opened(page: Page, standin: Standin) -> Page:
    page.goto(standin.url)
    return page


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(transcripts(WORDS), min_size=4, max_size=8))
def test_whatever_was_said_the_documents_are_the_same(opened: Page, made: list[Transcript]) -> None:
    assert differences(opened, made) == []


@pytest.mark.parametrize(
    "segments",
    [
        [],
        [sentence("Good morning, Dr. Aydın. " * 30, speaker="SPEAKER_00"), sentence("Yes.", 1, 300.0, "SPEAKER_01")],
        [Segment(0, 0.0625, 0.1875, "=SUM(1)", speaker="SPEAKER_00"), Segment(1, 2.5, 99.9995, 'a, "b"\r\nc')],
        [Segment(0, 0.0, 9.0, "これは長い話です。" * 20)],
    ],
)
def test_the_corners_are_the_same(opened: Page, segments: list[Segment]) -> None:
    assert differences(opened, [transcript_of(segments, "Ayşe <1> & Söhne", "")]) == []


def test_json_is_the_document_itself(opened: Page) -> None:
    record = record_of(transcript_of([sentence("Good morning.")], "Ayşe"))
    assert record.transcript
    document = render_json(record, record.transcript).decode()
    [[made]] = opened.evaluate(CODE, [[document], ["json"]])
    assert json.loads(made["text"]) == json.loads(export(record, "json").content)
