"""Transcripts side by side."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from appliance.domain import Segment, Transcript, Word
from appliance.jobs import compare as module
from appliance.jobs.compare import Kind, Step, align, compare

TEXT = st.lists(st.sampled_from("abcd"), max_size=12)


def distance(a: Sequence[str], b: Sequence[str]) -> int:
    """The textbook table."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y)))
    return row[-1]


def assert_leads_from_one_to_the_other(steps: Sequence[Step], a: Sequence[str], b: Sequence[str]) -> None:
    i = j = 0
    for step in steps:
        assert (step.first, step.other) == (i, j)
        if step.kind is Kind.SAME:
            assert a[i] == b[j]
        if step.kind is Kind.CHANGED:
            assert a[i] != b[j]
        i += step.kind is not Kind.ADDED
        j += step.kind is not Kind.MISSING
    assert (i, j) == (len(a), len(b))


def edits(steps: Sequence[Step]) -> int:
    return sum(step.kind is not Kind.SAME for step in steps)


@given(TEXT, TEXT)
@settings(max_examples=400)
def test_the_alignment_is_a_shortest_one(a: list[str], b: list[str]) -> None:
    steps = align(a, b)
    assert_leads_from_one_to_the_other(steps, a, b)
    assert edits(steps) == distance(a, b)


@given(st.integers(0, 10_000))
@settings(max_examples=4, deadline=None)
def test_texts_longer_than_a_part_are_aligned_in_parts(seed: int) -> None:
    chance = random.Random(seed)
    a = [f"w{chance.randrange(200)}" for _ in range(600)]
    b = [word for word in a if chance.random() > 0.05]
    for _ in range(30):
        b.insert(chance.randrange(len(b)), "new")
    with pytest.MonkeyPatch.context() as small:
        small.setattr(module, "FIRST_PART_WORDS", 120)
        small.setattr(module, "_LEAST_PART_WORDS", 40)
        steps = align(a, b)
    assert_leads_from_one_to_the_other(steps, a, b)
    assert edits(steps) <= distance(a, b) * 1.2 + 2


def test_very_different_texts_are_aligned_in_bounded_memory() -> None:
    a, b = [f"a{n}" for n in range(700)], [f"b{n}" for n in range(900)]
    with pytest.MonkeyPatch.context() as small:
        small.setattr(module, "MAX_EDITS", 100)
        small.setattr(module, "_LEAST_PART_WORDS", 50)
        steps = align(a, b)
    assert_leads_from_one_to_the_other(steps, a, b)
    assert edits(steps) == 900


def test_an_hour_of_speech_is_quick() -> None:
    chance = random.Random(1)
    a = [f"w{chance.randrange(2000)}" for _ in range(9000)]
    b = [word if chance.random() > 0.04 else "other" for word in a]
    begun = time.perf_counter()
    steps = align(a, b)
    assert edits(steps) <= 400
    assert time.perf_counter() - begun < 5


def transcript(model: str, *texts: str) -> Transcript:
    words = tuple(Word(start=n / 2, end=n / 2 + 0.4, text=text, probability=1.0) for n, text in enumerate(texts))
    segment = Segment(id=0, start=0.0, end=len(texts) / 2, text=" ".join(texts), words=words)
    return Transcript(
        text=segment.text,
        language="en",
        language_probability=1.0,
        languages=("en",),
        duration=9.0,
        model=model,
        segments=(segment,),
    )


def test_what_differs_is_told_with_its_words_and_times() -> None:
    main = transcript("base", "The", "patient", "took", "two", "pills.")
    other = transcript("tiny", "the", "patient", "took", "too", "many", "pills")
    comparison = compare(main, [other])
    assert (comparison.model, comparison.words) == ("base", 5)
    (version,) = comparison.versions
    assert (version.model, version.words, version.edits, version.difference) == ("tiny", 6, 2, 0.4)
    assert version.stretches[0].kind is Kind.SAME
    assert version.stretches[0].end == 3
    told = [(s.kind, s.text, s.other_text, s.start_s) for s in version.stretches if s.kind is not Kind.SAME]
    assert told in (
        [(Kind.CHANGED, "two", "too", 1.5), (Kind.ADDED, "", "many", 2.0)],
        [(Kind.ADDED, "", "too", 1.5), (Kind.CHANGED, "two", "many", 1.5)],
    )
    assert version.stretches[-1].other_end == 6


def test_nothing_was_said() -> None:
    assert compare(transcript("a"), [transcript("b")]).versions[0].stretches == ()
    only = compare(transcript("a"), [transcript("b", "hello")]).versions[0]
    assert (only.edits, only.difference, only.stretches[0].other_text) == (1, 1.0, "hello")


def test_words_of_scripts_without_spaces_are_joined_without() -> None:
    words = [Word(start=n, end=n + 1, text=text, probability=1.0, space_before=False) for n, text in enumerate(("元気", "です"))]
    other = transcript("b", "x")
    spoken = structs.replace(other.segments[0], words=tuple(words), text="元気です")
    (version,) = compare(transcript("a"), [structs.replace(other, segments=(spoken,))]).versions
    assert version.stretches[0].other_text == "元気です"
