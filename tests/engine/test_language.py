"""Votes on the language: robust against one doubtful window, open to a real change."""

from __future__ import annotations

from appliance.engine.language import Ballot, LanguageVote, confidence, decide, language_of_text, restrict, stretches
from appliance.engine.protocol import Window


def _ballots(*probabilities: dict[str, float], speech_s: float = 20.0) -> list[Ballot]:
    return [
        Ballot(window=Window(start=30.0 * i, end=30.0 * i + 30), probabilities=p, speech_s=speech_s)
        for i, p in enumerate(probabilities)
    ]


ENGLISH = {"en": 0.95, "fr": 0.02, "de": 0.01}
FRENCH = {"fr": 0.96, "en": 0.02}


def test_a_doubtful_window_changes_nothing() -> None:
    """PAINS 3: false switches at p = 0.29."""
    assert decide(_ballots(ENGLISH, {"cy": 0.29, "en": 0.2}, ENGLISH)) == ("en", "en", "en")
    assert decide(_ballots(ENGLISH, ENGLISH, {"nn": 0.5, "en": 0.3})) == ("en", "en", "en")


def test_a_real_change_is_followed() -> None:
    assert decide(_ballots(ENGLISH, ENGLISH, FRENCH)) == ("en", "en", "fr")
    assert decide(_ballots(ENGLISH, FRENCH, ENGLISH)) == ("en", "fr", "en")


def test_a_short_window_needs_more_than_its_own_word() -> None:
    long, short = _ballots(ENGLISH)[0], _ballots(FRENCH, speech_s=1.5)[0]
    assert decide([long, short, long]) == ("en", "en", "en")


def test_a_wrong_first_window_is_outvoted() -> None:
    assert decide(_ballots({"de": 0.5, "en": 0.4}, ENGLISH, ENGLISH)) == ("en", "en", "en")


def test_only_allowed_languages_are_chosen() -> None:
    vote = LanguageVote(("es", "fr"))
    assert vote.hear(Window(start=0.0, end=9.0), {"it": 0.8, "es": 0.15, "fr": 0.05}, 9.0) == "es"
    assert restrict({"it": 1.0}, ("es", "fr")) == {"es": 0.5, "fr": 0.5}


def test_later_votes_correct_earlier_windows() -> None:
    vote = LanguageVote()
    assert vote.hear(Window(start=0.0, end=9.0), {"de": 0.5, "en": 0.4}, 9.0) == "de"
    vote.hear(Window(start=30.0, end=60.0), ENGLISH, 30.0)
    assert vote.decisions() == {0.0: "en", 30.0: "en"}


def test_confidence_is_that_of_the_windows_in_the_language() -> None:
    ballots = _ballots(ENGLISH, FRENCH)
    path = decide(ballots)
    assert round(confidence(ballots, path, "fr"), 2) == 0.96
    assert confidence(ballots, path, "de") == 0.0


def test_a_sentence_is_in_the_language_of_its_letters() -> None:
    heard = {"zh": 0.9, "en": 0.08, "ja": 0.02}
    assert language_of_text("How do I get there?", "zh", heard) == "en"
    assert language_of_text("请问车站怎么走?", "zh", heard) == "zh"
    assert language_of_text("OK 好", "zh", heard) == "zh"
    assert language_of_text("Bonjour tout le monde", "fr", {"fr": 0.9, "en": 0.1}) == "fr"


def test_a_change_inside_a_window_is_found() -> None:
    parts = [
        Ballot(window=Window(start=5.0 * i, end=5.0 * i + 5), probabilities=p, speech_s=5.0)
        for i, p in enumerate([ENGLISH] * 3 + [FRENCH] * 3)
    ]
    assert stretches(parts) == [Window(start=0.0, end=15.0, language="en"), Window(start=15.0, end=30.0, language="fr")]
