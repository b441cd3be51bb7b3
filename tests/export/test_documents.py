"""Text, tables, JSON and file names."""

from __future__ import annotations

import csv
import io
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain import Caution, Segment, Transcript
from appliance.errors import InvalidField, NotReady
from appliance.export import FORMATS, export
from appliance.export.csv import safe_cell
from appliance.export.json import JsonDocument
from appliance.export.names import document_name
from tests.export.generated import record_of, sentence, transcript_of, transcripts


def table(transcript: Transcript) -> list[list[str]]:
    content = export(record_of(transcript), "csv").content
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_a_name_and_a_media_type(format: str) -> None:
    document = export(record_of(transcript_of([sentence("Hello.")]), "Gespräch 会議.m4a"), format)
    assert document.filename == f"Gespräch 会議.{format}"
    assert document.media_type.split("/")[0] in ("text", "application")
    assert b"Hello." in document.content


def test_what_is_not_there_yet_cannot_be_exported() -> None:
    with pytest.raises(NotReady, match="processing"):
        export(record_of(None), "txt")
    with pytest.raises(InvalidField, match="docx"):
        export(record_of(transcript_of([])), "docx")


# --- txt --------------------------------------------------------------------------------------------------------------


def test_text_has_a_paragraph_for_each_turn() -> None:
    segments = [
        sentence("Good morning.", 0, 0.0, "SPEAKER_00"),
        sentence("Shall we start?", 1, 1.0, "SPEAKER_00"),
        sentence("Yes.", 2, 3600.0, "SPEAKER_01"),
    ]
    record = record_of(transcript_of(segments, "Ann"))
    assert export(record, "txt").content.decode() == "Ann: Good morning. Shall we start?\n\nSPEAKER_01: Yes.\n"
    timed = export(record, "txt", times=True).content.decode()
    assert timed == "[00:00:00] Ann: Good morning. Shall we start?\n\n[01:00:00] SPEAKER_01: Yes.\n"


def test_a_monologue_is_broken_into_paragraphs_at_pauses_and_when_it_gets_long() -> None:
    pause = [sentence("One.", 0, 0.0), sentence("Two.", 1, 10.0)]
    assert export(record_of(transcript_of(pause)), "txt").content == b"One.\n\nTwo.\n"
    long = [sentence("word " * 20 + "end.", n, n * 10.0, word_s=0.45) for n in range(30)]
    paragraphs = export(record_of(transcript_of(long)), "txt").content.decode().split("\n\n")
    assert len(paragraphs) == 4
    assert all(paragraph.strip().endswith("end.") for paragraph in paragraphs)


def test_japanese_sentences_are_joined_without_spaces() -> None:
    segments = [Segment(0, 0.0, 1.0, "今日は。"), Segment(1, 1.0, 2.0, "会議です。"), Segment(2, 2.0, 3.0, "OK.")]
    assert export(record_of(transcript_of(segments)), "txt").content.decode() == "今日は。会議です。 OK.\n"


# --- json -------------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(transcripts())
def test_json_holds_everything(transcript: Transcript) -> None:
    """Version, words, speakers, warnings, the audio's SHA-256 and the model come back as they were."""
    warned = msgspec.structs.replace(transcript, warnings=(Caution("silence", "x", 1.0, 2.0),))
    record = msgspec.structs.replace(record_of(warned), alternatives=(transcript,))
    content = export(record, "json").content
    document = msgspec.json.decode(content, type=JsonDocument)
    assert document.version == 1
    assert (document.transcript, document.alternatives) == (warned, (transcript,))
    assert (document.audio.sha256, document.transcript.model) == ("ab" * 32, "whisper-base")
    assert next(iter(json.loads(content))) == "version"
    assert "key_a" not in content.decode(), "whose key it was is nobody's business"


# --- csv --------------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(transcripts())
def test_a_strict_csv_reader_gets_every_segment_back(transcript: Transcript) -> None:
    header, *rows = table(transcript)
    assert header == ["segment", "start", "end", "speaker", "language", "text"]
    assert [row[5].removeprefix("'") for row in rows] == [segment.text.removeprefix("'") for segment in transcript.segments]
    assert [float(row[1]) for row in rows] == [pytest.approx(segment.start, abs=5e-4) for segment in transcript.segments]


def test_csv_is_what_spreadsheets_expect() -> None:
    content = export(record_of(transcript_of([sentence('He said "no", twice.')])), "csv").content
    assert content.startswith(b"\xef\xbb\xbfsegment,start,"), "Excel needs the mark to read UTF-8"
    assert content.endswith(b'"He said ""no"", twice."\r\n')
    assert content.count(b"\r\n") == content.count(b"\n") == 2


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1", "- Yes", '=HYPERLINK("x")']
)
def test_formulas_are_defused(text: str) -> None:
    assert safe_cell(text) == f"'{text}"
    [_, row] = table(transcript_of([Segment(0, 0.0, 1.0, text)]))
    assert row[5] == f"'{text}"


@pytest.mark.parametrize("text", ["-5", "+49", "-3,5%", "hello = world", "a-b", "", "'quoted'"])
def test_what_is_no_formula_stays_as_it_is(text: str) -> None:
    assert safe_cell(text) == text


def test_a_speaker_name_cannot_be_a_formula_either() -> None:
    [_, row] = table(transcript_of([sentence("Hi.", 0, 0.0, "SPEAKER_00")], "=1+1"))
    assert row[3] == "'=1+1"


# --- file names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recording", "expected"),
    [
        ("interview.mp3", "interview.srt"),
        ("Board meeting 2026-11-22.final.m4a", "Board meeting 2026-11-22.final.srt"),
        ("C:\\Users\\ann\\call.wav", "call.srt"),
        ("../../etc/passwd", "passwd.srt"),
        ("a:b*c?.mp3", "a_b_c_.srt"),
        ("CON.mp3", "_CON.srt"),
        ("com1.tar.gz", "_com1.tar.srt"),
        ("会議.mp3", "会議.srt"),
        ("evil\u202egpj.mp3", "evilgpj.srt"),
        ("line\nbreak.mp3", "linebreak.srt"),
        ("dots... .mp3", "dots.srt"),
        ("", "transcript.srt"),
        (".mp3", "mp3.srt"),
        ("x" * 300 + ".mp3", "x" * 180 + ".srt"),
    ],
)
def test_names_come_from_the_recording(recording: str, expected: str) -> None:
    assert document_name(recording, "srt") == expected


@given(st.text(max_size=300))
def test_every_name_is_safe_everywhere(recording: str) -> None:
    name = document_name(recording, "json")
    assert name.endswith(".json")
    assert len(name.encode()) <= 255
    assert not set(name) & set('<>:"/\\|?*\n\r\t\0')
    assert name == name.strip(" .")
    assert name.split(".")[0].lower() not in {"con", "prn", "aux", "nul", "com1", "lpt1"}
