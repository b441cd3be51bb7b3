"""The files, read back by parsers that are not ours."""

from __future__ import annotations

import io
import re
from itertools import pairwise

import pysubs2
import webvtt
from hypothesis import given, settings

from appliance.domain import Segment, Transcript, Word
from appliance.export import PROFILES, export, render_segments
from appliance.export.names import speaker_names
from appliance.export.srt import render_srt, srt_time
from appliance.export.subtitles import Cue, make_cues
from appliance.export.vtt import render_vtt, vtt_time
from tests.export.generated import record_of, sentence, transcript_of, transcripts

DEFAULT = PROFILES["default"]
INVISIBLE = str.maketrans("", "", "\u202b\u202c")


def letters(text: str) -> str:
    return re.sub(r"\s", "", text)


def test_times_have_two_digit_hours_and_three_digit_milliseconds() -> None:
    assert (srt_time(0), srt_time(3_723_004)) == ("00:00:00,000", "01:02:03,004")
    assert (vtt_time(86_400_000), vtt_time(360_000_001)) == ("24:00:00.000", "100:00:00.001")


@settings(max_examples=50)
@given(transcripts())
def test_an_independent_parser_reads_the_same_cues_from_srt(transcript: Transcript) -> None:
    cues = make_cues(transcript, DEFAULT)
    text = render_srt(cues)
    read = pysubs2.SSAFile.from_string(text, format_="srt", keep_unknown_html_tags=True) if cues else []
    assert [(event.start, event.end) for event in read] == [(cue.start_ms, cue.end_ms) for cue in cues]
    blocks = re.split(r"\n\n", text.strip("\n")) if cues else []
    shown = [tuple(line.translate(INVISIBLE).replace("→", "-->") for line in block.split("\n")[2:]) for block in blocks]
    assert shown == [cue.lines for cue in cues]


@settings(max_examples=50)
@given(transcripts())
def test_an_independent_parser_reads_the_same_cues_from_vtt(transcript: Transcript) -> None:
    """Every word comes back after unescaping, with its speaker."""
    cues = make_cues(transcript, DEFAULT)
    read = webvtt.from_buffer(io.StringIO(render_vtt(cues, speaker_names(transcript)))).captions
    assert [(caption.start, caption.end) for caption in read] == [(vtt_time(cue.start_ms), vtt_time(cue.end_ms)) for cue in cues]
    assert [caption.voice for caption in read] == [cue.speaker for cue in cues]
    assert [letters(unescape(caption.text)) for caption in read] == [letters("".join(cue.lines)) for cue in cues]


def unescape(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_vtt_escapes_text_and_names() -> None:
    transcript = transcript_of([sentence("Q&A --> <b>now</b>", 0, 0.0, "SPEAKER_00")], "Ann <the> A&B")
    content = export(record_of(transcript), "vtt").content.decode()
    assert "<v Ann &lt;the&gt; A&amp;B>Q&amp;A --&gt; &lt;b&gt;now&lt;/b&gt;</v>" in content
    assert content.count("-->") == 1


def test_srt_text_cannot_look_like_a_time_line() -> None:
    content = export(record_of(transcript_of([sentence("left --> right")])), "srt").content.decode()
    assert content.count("-->") == 1
    assert "left → right" in content


def test_right_to_left_lines_are_marked_for_srt_players_and_left_to_vtt_renderers() -> None:
    record = record_of(transcript_of([sentence("שלום לכולם.")]))
    assert "\u202bשלום לכולם.\u202c\n" in export(record, "srt").content.decode()
    assert "\nשלום לכולם.\n" in export(record, "vtt").content.decode()
    assert "\u202b" not in export(record_of(transcript_of([sentence("PDF שלום.")])), "srt").content.decode()


def test_srt_is_numbered_from_one_without_a_gap() -> None:
    cues = [Cue(n * 1000, n * 1000 + 500, ("x",), None) for n in range(3)]
    assert re.findall(r"^(\d+)$", render_srt(cues), re.MULTILINE) == ["1", "2", "3"]


def test_a_silent_recording_gives_valid_empty_files() -> None:
    record = record_of(transcript_of([]))
    assert export(record, "srt").content == b""
    assert webvtt.from_buffer(io.StringIO(export(record, "vtt").content.decode())).captions == []


# --- segments as cues, for the OpenAI dialect -------------------------------------------------------------------------


@settings(max_examples=50)
@given(transcripts())
def test_segments_become_one_cue_each_and_never_overlap(transcript: Transcript) -> None:
    read = webvtt.from_buffer(io.StringIO(render_segments(transcript.segments, "vtt"))).captions
    assert len(read) == len(transcript.segments)
    times = [(caption.start, caption.end) for caption in read]
    assert all(start < end for start, end in times)
    assert all(before[1] <= after[0] for before, after in pairwise(times))
    assert sorted(letters(unescape("".join(c.text for c in read)))) == sorted(letters("".join(s.text for s in transcript.segments)))


def test_orderly_segments_keep_their_times_and_texts() -> None:
    segments = [sentence("Hello there.", 0, 0.5), sentence("Good bye.", 1, 2.0)]
    expected = "1\n00:00:00,500 --> 00:00:01,100\nHello there.\n\n2\n00:00:02,000 --> 00:00:02,600\nGood bye.\n\n"
    assert render_segments(segments, "srt") == expected
    assert render_segments([], "vtt") == "WEBVTT\n\n"


def test_segments_without_words_are_enough() -> None:
    assert "Only text." in render_segments([Segment(0, 0.0, 1.0, " Only text. ")], "srt")
    assert Word(0, 1, "x", 1).text in render_segments([Segment(0, 0.0, 0.0, "x")], "vtt")
