"""Subtitles: what holds for every transcript, and what a reader likes (PAINS 5 and 6)."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain import Segment, Transcript, Word
from appliance.errors import InvalidField
from appliance.export.subtitles import PROFILES, Cue, SubtitleProfile, make_cues, parse_profile
from appliance.writing import width
from tests.export.generated import sentence, transcript_of, transcripts

DEFAULT = PROFILES["default"]
PROFILE = st.sampled_from(list(PROFILES.values()))
PLAIN_WORDS = st.text("abcdefgh", min_size=1, max_size=10)


def letters(text: str) -> str:
    return re.sub(r"\s", "", text)


def cues_of(*segments: Segment, profile: SubtitleProfile = DEFAULT) -> list[Cue]:
    return make_cues(transcript_of(list(segments)), profile)


def lines_of(*segments: Segment, profile: SubtitleProfile = DEFAULT) -> list[tuple[str, ...]]:
    return [cue.lines for cue in cues_of(*segments, profile=profile)]


# --- always -----------------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(transcripts(), PROFILE)
def test_cues_begin_before_they_end_and_never_overlap(transcript: Transcript, profile: SubtitleProfile) -> None:
    """PAINS 5"""
    cues = make_cues(transcript, profile)
    assert all(0 <= cue.start_ms < cue.end_ms for cue in cues)
    assert all(before.end_ms <= cue.start_ms for before, cue in pairwise(cues))


@settings(max_examples=50)
@given(transcripts(overlapping=False), PROFILE)
def test_every_word_is_there_exactly_once_and_in_order(transcript: Transcript, profile: SubtitleProfile) -> None:
    shown = " ".join(line for cue in make_cues(transcript, profile) for line in cue.lines)
    assert letters(shown) == letters(transcript.text)


@settings(max_examples=50)
@given(transcripts(), PROFILE)
def test_no_word_is_lost_when_two_channels_talk_at_once(transcript: Transcript, profile: SubtitleProfile) -> None:
    for speaker in {segment.speaker for segment in transcript.segments}:
        shown = "".join(line for cue in make_cues(transcript, profile) if cue.speaker == speaker for line in cue.lines)
        spoken = "".join(segment.text for segment in transcript.segments if segment.speaker == speaker)
        assert sorted(letters(shown)) == sorted(letters(spoken))


@settings(max_examples=50)
@given(transcripts(), PROFILE)
def test_lines_and_their_number_stay_within_the_profile(transcript: Transcript, profile: SubtitleProfile) -> None:
    """PAINS 6. Only what cannot be broken, a single word, may be wider."""
    for cue in make_cues(transcript, profile):
        too_wide = [line for line in cue.lines if width(line) > profile.max_line_chars]
        assert len(cue.lines) <= profile.max_lines
        assert all(line and "\n" not in line for line in cue.lines)
        assert all(" " not in line for line in too_wide)


@settings(max_examples=50)
@given(transcripts(PLAIN_WORDS, st.sampled_from([0.2, 0.5]), overlapping=False), PROFILE)
def test_cues_of_orderly_speech_start_and_end_with_their_words(transcript: Transcript, profile: SubtitleProfile) -> None:
    """Cue times come from word times: the start exactly; the end not before the last word, but for the gap."""
    with_words = [segment for segment in transcript.segments if segment.words]
    transcript = transcript_of(with_words)
    words = [word for segment in with_words for word in segment.words]
    starts = {round(word.start * 1000) for word in words}
    cues = make_cues(transcript, profile)
    assert all(cue.start_ms in starts for cue in cues)
    for cue, following in pairwise(cues):
        last_ms = max(round(word.end * 1000) for word in words if round(word.start * 1000) < following.start_ms)
        longest_ms = cue.start_ms + round(profile.max_duration_s * 1000)
        assert cue.end_ms >= min(last_ms, following.start_ms - round(profile.gap_s * 1000), longest_ms) - 1


@settings(max_examples=50)
@given(transcripts(PLAIN_WORDS, st.sampled_from([0.2, 0.5]), overlapping=False), PROFILE)
def test_cues_are_not_longer_than_the_profile_and_long_enough_where_there_is_time(
    transcript: Transcript, profile: SubtitleProfile
) -> None:
    cues = make_cues(transcript, profile)
    gap_ms = round(profile.gap_s * 1000)
    for cue, following in pairwise(cues):
        shown_ms = cue.end_ms - cue.start_ms
        characters = len(" ".join(cue.lines))
        wanted_ms = max(profile.min_duration_s, min(profile.max_duration_s, characters / profile.max_chars_per_s)) * 1000
        free_ms = following.start_ms - cue.start_ms
        assert shown_ms <= profile.max_duration_s * 1000 + 1
        assert shown_ms >= min(wanted_ms - 1, free_ms - gap_ms, free_ms // 2)
        assert following.start_ms - cue.end_ms >= min(gap_ms, free_ms // 2)


@settings(max_examples=50)
@given(transcripts())
def test_a_cue_belongs_to_one_speaker(transcript: Transcript) -> None:
    speakers = {segment.speaker for segment in transcript.segments}
    for cue in make_cues(transcript, DEFAULT):
        assert cue.speaker in speakers
        spoken = "".join(letters(segment.text) for segment in transcript.segments if segment.speaker == cue.speaker)
        assert set(letters("".join(cue.lines))) <= set(spoken)


# --- where to break ---------------------------------------------------------------------------------------------------


def test_a_change_of_speaker_is_a_new_cue() -> None:
    assert lines_of(sentence("Yes.", 0, 0.0, "A"), sentence("No.", 1, 0.3, "B")) == [("Yes.",), ("No.",)]


def test_lines_break_after_punctuation() -> None:
    text = "When the ship had left the harbour, nobody on the quay said a word."
    assert lines_of(sentence(text)) == [("When the ship had left the harbour,", "nobody on the quay said a word.")]


def test_lines_break_before_a_conjunction() -> None:
    text = "the committee wanted to go on because the minister was waiting"
    assert lines_of(sentence(text, word_s=0.4)) == [("the committee wanted to go on", "because the minister was waiting")]


def test_a_name_stays_on_one_line() -> None:
    text = "yesterday evening the president met Anna Maria Johansen at the station"
    [lines] = lines_of(sentence(text, word_s=0.4))
    assert any("Anna Maria Johansen" in line for line in lines)


def test_a_sentence_that_ends_ends_its_cue_when_the_next_is_long() -> None:
    long = "We have waited for this moment for many years and now it is finally here"
    cues = lines_of(sentence("That is good.", 0, 0.0), sentence(long, 1, 1.2))
    assert cues[0] == ("That is good.",)


def test_short_remarks_of_one_voice_share_a_cue() -> None:
    assert lines_of(sentence("Yes.", 0, 0.0), sentence("Okay.", 1, 0.5), sentence("Fine.", 2, 1.0)) == [("Yes. Okay. Fine.",)]


def test_a_long_silence_ends_a_cue() -> None:
    assert lines_of(sentence("Hello?", 0, 0.0), sentence("Hello?", 1, 5.0)) == [("Hello?",), ("Hello?",)]


def test_japanese_breaks_between_characters_but_not_before_a_full_stop() -> None:
    text = "今日は東京で大切な会議がありました。参加者は二十人で、長い時間話し合いましたが、結論は出ていません。"
    cues = cues_of(Segment(0, 0.0, 12.0, text))
    lines = [line for cue in cues for line in cue.lines]
    assert "".join(lines) == text
    assert all(width(line) <= 42 for line in lines)
    assert not any(line[0] in "。、っょ" for line in lines)


def test_words_of_japanese_stay_whole_and_get_no_spaces() -> None:
    words = tuple(
        Word(i / 2, i / 2 + 0.5, text, 0.9, None, False) for i, text in enumerate(["東京", "タワー", "で", "会い", "ました。"] * 5)
    )
    lines = [line for cue in cues_of(Segment(0, 0.0, 12.5, "".join(word.text for word in words), words)) for line in cue.lines]
    assert "".join(lines) == "東京タワーで会いました。" * 5


def test_a_word_wider_than_a_line_stands_alone_on_its_line() -> None:
    word = "https://example.org/a/very/long/path/that/nobody/can/say"
    lines = [line for cue in cues_of(sentence(f"look at {word} now please")) for line in cue.lines]
    assert word in lines


def test_hyphenated_words_are_not_torn() -> None:
    words = (Word(0, 1, "well", 1), Word(1, 2, "-known", 1, None, False), Word(2, 3, "man", 1))
    profile = SubtitleProfile(max_line_chars=6)
    assert [line for cue in cues_of(Segment(0, 0, 3, "well-known man", words), profile=profile) for line in cue.lines] == [
        "well-known",
        "man",
    ]


def test_without_word_times_the_text_is_spread_over_the_segment() -> None:
    cues = cues_of(Segment(0, 2.0, 22.0, "one two three four five six seven eight nine ten " * 4))
    assert (cues[0].start_ms, len(cues) > 2) == (2000, True)
    assert letters("".join(line for cue in cues for line in cue.lines)) == letters(
        "one two three four five six seven eight nine ten " * 4
    )


def test_nothing_said_gives_no_cue() -> None:
    assert cues_of() == []
    assert cues_of(Segment(0, 1.0, 2.0, "  ")) == []


def test_two_people_at_once_both_stay_readable() -> None:
    """PAINS 5: overlapping channels. The first keeps at least half of its time."""
    first, second = sentence("one two three four five six", 0, 0.0, "A"), sentence("no no no no", 1, 0.2, "B")
    before, after = cues_of(first, second)
    assert (before.speaker, after.speaker) == ("A", "B")
    assert before.end_ms - before.start_ms >= 900
    assert after.end_ms - after.start_ms >= 500


def test_a_hundred_words_at_one_moment_are_still_valid_cues() -> None:
    words = tuple(Word(5.0, 5.0, f"w{n}", 0.9) for n in range(100))
    cues = cues_of(Segment(0, 5.0, 5.0, " ".join(word.text for word in words), words))
    assert all(cue.start_ms < cue.end_ms for cue in cues)
    assert all(before.end_ms <= cue.start_ms for before, cue in pairwise(cues))


# --- profiles ---------------------------------------------------------------------------------------------------------


def test_a_profile_is_named_or_given_in_numbers() -> None:
    assert parse_profile("") == parse_profile("default") == DEFAULT
    assert parse_profile("mobile").max_line_chars == 26
    custom = parse_profile("mobile, max_lines=1, max_chars_per_s=17.5")
    assert (custom.max_line_chars, custom.max_lines, custom.max_chars_per_s) == (26, 1, 17.5)


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "max_lines",
        "max_lines=0",
        "max_lines=1.5",
        "max_lines=x",
        "name=x",
        "max_lines=1,mobile",
        "mobile,broadcast",
        "gap_s=nan",
        "min_duration_s=5,max_duration_s=2",
    ],
)
def test_impossible_profiles_are_refused(text: str) -> None:
    with pytest.raises(InvalidField):
        parse_profile(text)


@settings(max_examples=30)
@given(transcripts(), st.integers(4, 60), st.integers(1, 4))
def test_any_numbers_are_honoured(transcript: Transcript, columns: int, lines: int) -> None:
    profile = SubtitleProfile("custom", max_line_chars=columns, max_lines=lines)
    for cue in make_cues(transcript, profile):
        assert len(cue.lines) <= lines
        assert all(width(line) <= columns or " " not in line for line in cue.lines)
