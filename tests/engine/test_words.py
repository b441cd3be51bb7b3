"""Words and segments: nothing lost, nothing twice, times in order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain import Segment, Span, Word
from appliance.engine.words import (
    MAX_SEGMENT_CHARACTERS,
    MAX_SEGMENT_S,
    TimedToken,
    group_words,
    insert,
    sentences,
    tighten,
)
from appliance.writing import join_words


def _segment(*texts: str, start: float = 0.0, each: float = 0.4, gap: float = 0.0) -> Segment:
    words = tuple(
        Word(start=start + i * (each + gap), end=start + i * (each + gap) + each, text=text, probability=0.9)
        for i, text in enumerate(texts)
    )
    return Segment(id=0, start=words[0].start, end=words[-1].end, text=join_words(words), words=words)


def _texts(segments: Sequence[Segment]) -> list[str]:
    return [word.text for segment in segments for word in segment.words]


def _group(*parts: str) -> tuple[Word, ...]:
    """One token per part, 0.5 s each."""
    timed = [TimedToken(token=i, start=i * 0.5, end=i * 0.5 + 0.5, probability=0.5) for i in range(len(parts))]
    return group_words(timed, [[i] for i in range(len(parts))], lambda tokens: "".join(parts[t] for t in tokens), offset=10.0)


def test_punctuation_joins_its_word() -> None:
    words = _group(' "', "Well", ",", " I", " never", "!", '"')
    assert [w.text for w in words] == ['"Well,', "I", 'never!"']
    assert join_words(words) == '"Well, I never!"'
    assert (words[0].start, words[0].end) == (10.5, 11.0)  # the comma's time is silence


def test_words_without_spaces_stay_together_in_the_text() -> None:
    words = _group("天", "气", "。")
    assert [w.text for w in words] == ["天", "气。"]
    assert join_words(words) == "天气。"
    assert not words[1].space_before


def test_a_quote_at_the_end_is_not_lost() -> None:
    assert join_words(_group(" he", " said", ' "')).endswith('"')


@given(st.lists(st.text(alphabet="ab ,.!'\"(", min_size=1, max_size=5), max_size=20))
def test_no_character_is_lost_or_doubled(parts: list[str]) -> None:
    words = _group(*parts)
    assert join_words(words).replace(" ", "") == "".join(parts).replace(" ", "")


@given(st.lists(st.sampled_from(["one", "two,", "three.", "Four", "five?", "six"]), min_size=1, max_size=150), st.floats(0.0, 2.0))
def test_sentences_keep_every_word_once_in_order(texts: list[str], gap: float) -> None:
    segment = _segment(*texts, gap=gap)
    cut = sentences([segment])
    assert _texts(cut) == texts
    assert all(s.end - s.start <= MAX_SEGMENT_S and len(s.text) <= MAX_SEGMENT_CHARACTERS for s in cut if len(s.words) > 1)
    assert all(a.end <= b.start + 1e-6 for a, b in itertools.pairwise(cut))


def test_a_sentence_that_the_decoder_divided_is_one_segment() -> None:
    first, second = _segment("It", "was", "the"), _segment("best", "of", "times.", "Then", start=1.3)
    assert [s.text for s in sentences([first, second])] == ["It was the best of times.", "Then"]


def test_abbreviations_do_not_end_a_sentence() -> None:
    assert len(sentences([_segment("Dr.", "Smith", "met", "J.", "Doe.")])) == 1


def test_segments_without_word_times_stay_as_they_are() -> None:
    plain = [Segment(id=0, start=0.0, end=4.0, text="One. Two.")]
    assert sentences(plain) == plain


class _Voice:
    def __init__(self, *spans: tuple[float, float]) -> None:
        self._spans = [Span(start=a, end=b) for a, b in spans]

    def runs(self, start: float, end: float) -> list[Span]:
        return [Span(start=max(s.start, start), end=min(s.end, end)) for s in self._spans if s.end > start and s.start < end]


def test_a_word_stretched_over_silence_is_cut_back_to_the_voice() -> None:
    """PAINS 4: words 10 s early after silence."""
    (segment,) = tighten([_segment("Hello?", start=5.0, each=2.0)], _Voice((6.5, 6.9)))
    assert segment.start == pytest.approx(6.44)
    assert segment.end == pytest.approx(6.96)


def test_a_word_of_usual_length_is_left_alone() -> None:
    segment = _segment("Hello?", each=0.5)
    assert tighten([segment], _Voice()) == [segment]


def test_text_found_in_a_gap_stands_in_its_place_without_echo() -> None:
    around = [_segment("towards", start=0.0), _segment("and", "so", start=6.0)]
    found = _segment("towards", "the", "speaker", "and", start=0.5, each=1.3)
    merged = insert(around, [found], Span(start=0.4, end=6.0))
    assert _texts(merged) == ["towards", "the", "speaker", "and", "so"]


def test_what_only_repeats_its_neighbours_adds_nothing() -> None:
    around = [_segment("printing"), _segment("letters", start=4.0)]
    assert insert(around, [_segment("printing", start=1.0)], Span(start=0.4, end=4.0)) == around
