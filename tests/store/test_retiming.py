"""New words in old times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain import Segment, Word
from appliance.store.retiming import retime
from tests.store.samples import segment_of


def times(text: str, new: str) -> list[tuple[str, float, float]]:
    return [(word.text, round(word.start, 3), round(word.end, 3)) for word in retime(segment_of(text), new)]


def test_a_corrected_word_takes_the_time_of_what_it_replaces() -> None:
    assert times("we met Mr Smythe today", "we met Mr Smith today")[3] == ("Smith", 1.5, 1.9)


def test_several_words_share_the_time_of_one() -> None:
    assert times("a nevertheless b", "a never the less b") == [
        ("a", 0, 0.4),
        ("never", 0.5, 0.667),
        ("the", 0.667, 0.767),
        ("less", 0.767, 0.9),
        ("b", 1, 1.4),
    ]


def test_an_inserted_word_fits_between_its_neighbours() -> None:
    assert times("a b", "a new b") == [("a", 0, 0.4), ("new", 0.4, 0.5), ("b", 0.5, 0.9)]


def test_a_deleted_word_leaves_the_others_where_they_are() -> None:
    assert times("a um b", "a b") == [("a", 0, 0.4), ("b", 1, 1.4)]


def test_without_word_times_there_are_none_to_make() -> None:
    assert retime(Segment(0, 0.0, 5.0, "no words"), "still none") == ()


def test_a_segment_that_was_emptied_gets_its_times_back_with_its_text() -> None:
    emptied = Segment(0, 2.0, 4.0, "", words=())
    words = retime(emptied, "back again")
    assert [(word.text, round(word.start, 2), round(word.end, 2)) for word in words] == [("back", 2.0, 2.89), ("again", 2.89, 4.0)]
    assert retime(emptied, "back again", timed=False) == ()


def chinese(*parts: str) -> Segment:
    words = tuple(Word(i, i + 1.0, part, 0.8, None, i == 0) for i, part in enumerate(parts))
    return Segment(0, 0.0, float(len(parts)), "".join(parts), words)


def test_scripts_without_spaces_keep_the_words_they_were_cut_into() -> None:
    words = retime(chinese("我们", "明天", "开", "会。"), "我们后天开会。")
    assert [(word.text, word.start, word.space_before) for word in words] == [
        ("我们", 0, True),
        ("后", 1.0, False),
        ("天", 1.5, False),
        ("开", 2, False),
        ("会。", 3, False),
    ]


def test_hyphenated_words_stay_in_their_pieces() -> None:
    segment = Segment(
        0, 0.0, 3.0, "well-known man", (Word(0, 1, "well", 1), Word(1, 2, "-known", 1, None, False), Word(2, 3, "man", 1))
    )
    words = retime(segment, "well-known woman")
    assert words[:2] == segment.words[:2]
    assert (words[2].text, words[2].start) == ("woman", 2)


texts = st.lists(st.sampled_from(["a", "bb", "c-d", "东京", "会", "é", "tōkyō", "x。", "ไทย"]), max_size=12).map(" ".join)


@given(texts, texts)
def test_no_character_is_lost_and_times_stay_inside_and_in_order(old: str, new: str) -> None:
    segment = segment_of(old)
    words = retime(segment, new)
    assert "".join((" " if word.space_before else "") + word.text for word in words).strip() == new
    edges = [segment.start, *(edge for word in words for edge in (word.start, word.end)), segment.end]
    assert edges == pytest.approx(sorted(edges))


@given(texts)
def test_the_same_text_changes_nothing(text: str) -> None:
    segment = segment_of(text)
    assert retime(segment, text) == segment.words
