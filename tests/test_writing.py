"""Running text in every script."""

from __future__ import annotations

from appliance.domain import Word
from appliance.writing import join_texts, join_words, space_between


def test_sentences_have_a_space_between_them_where_their_script_has() -> None:
    assert join_texts([" Good morning. ", "", "Who is there?"]) == "Good morning. Who is there?"
    assert join_texts(["元気ですか。", "はい。"]) == "元気ですか。はい。"
    assert join_texts(["元気ですか。", "Yes."]) == "元気ですか。 Yes."


def test_nothing_stands_before_the_first_sentence_or_after_the_last() -> None:
    assert (space_between("", "Yes."), space_between("Yes.", ""), space_between("Yes.", "No.")) == ("", "", " ")


def test_words_know_their_spaces() -> None:
    words = [Word(0, 1, "well", 1.0), Word(1, 2, "-known", 1.0, space_before=False), Word(2, 3, "man.", 1.0)]
    assert join_words(words) == "well-known man."
