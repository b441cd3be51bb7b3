"""Fields are understood or refused by name."""

from __future__ import annotations

import pytest

from appliance.api.fields import Fields
from appliance.api.language_names import NAMES, language_code, language_name
from appliance.errors import InvalidField, UnknownField

KNOWN = ("flag", "count", "rate", "words", "language", "kind")


def fields(*pairs: tuple[str, str]) -> Fields:
    return Fields(pairs, KNOWN)


def test_an_unknown_field_is_refused_by_name_and_the_known_ones_are_listed() -> None:
    with pytest.raises(UnknownField) as caught:
        fields(("flag", "true"), ("colour", "blue"))
    assert caught.value.param == "colour"
    assert "count" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("True", True), ("1", True), ("no", False), ("off", False), ("", None)]
)
def test_booleans(text: str, value: bool | None) -> None:
    assert fields(("flag", text)).boolean("flag") is value


@pytest.mark.parametrize("text", ["maybe", "2", "tru", "null"])
def test_what_is_no_boolean_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="flag"):
        fields(("flag", text)).boolean("flag")


def test_whole_numbers() -> None:
    assert fields(("count", "7")).integer("count", 0, 10) == 7
    assert fields().integer("count", 0, 10) is None


@pytest.mark.parametrize("text", ["11", "-1", "1.5", "seven", "٣", "1e3", "99999999999999999999", "1_0", "--1"])
def test_what_is_no_whole_number_in_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="count"):
        fields(("count", text)).integer("count", 0, 10)


@pytest.mark.parametrize("text", ["nan", "inf", "1.01", "-0.1", "much"])
def test_what_is_no_number_in_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidField, match="rate"):
        fields(("rate", text)).number("rate", 0.0, 1.0)


def test_array_names_come_with_and_without_brackets() -> None:
    both = fields(("words[]", "one"), ("words", "two"))
    assert both.many("words") == ("one", "two")


def test_lists_are_split_and_blank_entries_dropped() -> None:
    assert fields(("words", "one, two\nthree,,")).many("words", separators=",\n") == ("one", "two", "three")


def test_a_field_sent_twice_with_different_values_is_refused() -> None:
    with pytest.raises(InvalidField, match="more than once"):
        fields(("kind", "a"), ("kind", "b")).text("kind")
    assert fields(("kind", "a"), ("kind", "a")).text("kind") == "a"


def test_a_choice_outside_the_list_is_refused_with_the_list() -> None:
    with pytest.raises(InvalidField, match="one, two"):
        fields(("kind", "three")).choice("kind", ("one", "two"))


@pytest.mark.parametrize(
    ("text", "code"),
    [("de", "de"), ("DE", "de"), ("German", "de"), ("de-AT", "de"), ("pt_BR", "pt"), ("Mandarin", "zh"), ("Haitian Creole", "ht")],
)
def test_languages_by_code_locale_and_name(text: str, code: str) -> None:
    assert fields(("language", text)).language("language") == code


def test_auto_means_detect() -> None:
    assert fields(("language", "auto")).language("language") is None


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(InvalidField, match="Klingon"):
        fields(("language", "Klingon")).language("language")


def test_every_name_leads_back_to_its_code() -> None:
    assert all(language_code(language_name(code)) == code for code in NAMES)


@pytest.mark.parametrize("words", [["x" * 101], [f"{i:04}" + "x" * 90 for i in range(120)]])
def test_hotwords_have_a_length(words: list[str]) -> None:
    with pytest.raises(InvalidField, match="characters"):
        fields(*(("words", word) for word in words)).hotwords("words")


def test_hotwords_of_a_usual_length() -> None:
    assert fields(("words", "Kubernetes"), ("words", "x" * 100)).hotwords("words") == ("Kubernetes", "x" * 100)
