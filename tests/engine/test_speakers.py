"""Words and turns: nobody's word is lost, moved, or left without a speaker (PAINS 17)."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.domain import Segment, Speaker, Turn, Word
from appliance.engine.speakers import assign_speakers
from appliance.writing import join_words


def sentence(text: str, start: float = 0.0, word_s: float = 0.4, **facts: object) -> Segment:
    """Words of equal length, one after the other."""
    parts = text.split()
    words = tuple(
        Word(start=start + i * word_s, end=start + (i + 1) * word_s, text=part, probability=0.9) for i, part in enumerate(parts)
    )
    segment = Segment(id=0, start=start, end=start + len(parts) * word_s, text=text, words=words)
    return Segment(**{name: getattr(segment, name) for name in segment.__struct_fields__} | facts)


def turns(*spans: tuple[float, float, str]) -> tuple[Turn, ...]:
    return tuple(Turn(start=start, end=end, speaker=speaker) for start, end, speaker in spans)


def said(segments: tuple[Segment, ...]) -> list[tuple[str | None, str]]:
    return [(segment.speaker, segment.text) for segment in segments]


A, B = "SPEAKER_00", "SPEAKER_01"


def test_a_segment_is_split_where_the_speaker_changes() -> None:
    segments, speakers = assign_speakers([sentence("How are you? Fine, thanks.")], turns((0, 1.2, "x"), (1.2, 2.0, "y")))

    assert said(segments) == [(A, "How are you?"), (B, "Fine, thanks.")]
    assert [segment.id for segment in segments] == [0, 1]
    assert segments[0].start == 0.0
    assert segments[0].end == pytest.approx(1.2)
    assert speakers == (Speaker(label=A), Speaker(label=B))


def test_a_segment_of_one_speaker_stays_as_it_was() -> None:
    before = sentence("Nothing happens here.", tokens=(1, 2, 3), avg_logprob=-0.2, seek=300)
    (after,), _ = assign_speakers([before], turns((0, 5, "x")))
    assert (after.text, after.start, after.end, after.tokens, after.seek) == (before.text, before.start, before.end, (1, 2, 3), 300)
    assert after.speaker == A
    assert {word.speaker for word in after.words} == {A}


def test_a_word_outside_every_turn_goes_to_the_nearest() -> None:
    """PAINS 17: words without a speaker."""
    segments, _ = assign_speakers(
        [sentence("before", 0.0), sentence("between", 9.0), sentence("after", 30.0)], turns((3, 5, "x"), (10, 12, "y"))
    )
    assert [segment.speaker for segment in segments] == [A, B, B]


def test_without_any_turn_everything_is_one_speaker() -> None:
    segments, speakers = assign_speakers([sentence("Hello there."), sentence("Again.", 5.0)], ())
    assert [segment.speaker for segment in segments] == [A, A]
    assert speakers == (Speaker(label=A),)


def test_without_words_nobody_speaks() -> None:
    assert assign_speakers([], turns((0, 1, "x"))) == ((), ())


def test_a_segment_without_word_times_goes_to_whom_it_overlaps_most() -> None:
    segment = Segment(id=0, start=0.0, end=10.0, text="No word times.")
    (after,), _ = assign_speakers([segment], turns((0, 1, "x"), (1, 4, "y"), (4, 6, "x"), (6, 8, "y")))
    assert (after.speaker, after.text, after.words) == (A, "No word times.", ())
    segments, _ = assign_speakers([sentence("First.", -1.0), segment], turns((-1, 1, "x"), (1, 4, "y"), (4, 6, "x"), (6, 8, "y")))
    assert [s.speaker for s in segments] == [A, B]


def test_overlaps_of_one_speaker_add_up_over_turns() -> None:
    word = Word(start=0.0, end=1.0, text="well", probability=1.0)
    segment = Segment(id=0, start=0.0, end=1.0, text="well", words=(word,))
    (after, _), _ = assign_speakers(
        [segment, sentence("And?", 5.0)], turns((0.0, 0.3, "x"), (0.3, 0.7, "y"), (0.7, 1.0, "x"), (5, 6, "y"))
    )
    assert after.speaker == A


def test_a_lone_function_word_in_anothers_sentence_is_a_slip() -> None:
    """The turn of the other is hardly longer than the doubt about word times."""
    (only,), speakers = assign_speakers(
        [sentence("We went to the old house.", word_s=0.2)], turns((0, 0.45, "x"), (0.45, 0.6, "y"), (0.6, 2.0, "x"))
    )
    assert only.text == "We went to the old house."
    assert len(speakers) == 1


def test_a_real_interjection_stays() -> None:
    segments, _ = assign_speakers(
        [sentence("We went to yes the old house.")], turns((0, 1.15, "x"), (1.15, 1.65, "y"), (1.65, 4.0, "x"))
    )
    assert said(segments) == [(A, "We went to"), (B, "yes"), (A, "the old house.")]


def test_a_word_across_a_change_of_turns_goes_with_its_sentence() -> None:
    """'house.' lies 55 % in the next speaker's turn, but it ends this speaker's sentence."""
    text = "We went to the old house. When was that?"
    segments, _ = assign_speakers([sentence(text)], turns((0, 2.18, "x"), (2.18, 5.0, "y")))
    assert said(segments) == [(A, "We went to the old house."), (B, "When was that?")]
    segments, _ = assign_speakers([sentence(text)], turns((0, 2.62, "x"), (2.62, 5.0, "y")))
    assert said(segments) == [(A, "We went to the old house."), (B, "When was that?")]


def test_a_change_without_punctuation_falls_where_the_turns_say() -> None:
    segments, _ = assign_speakers([sentence("one two three four five six")], turns((0, 1.35, "x"), (1.35, 5.0, "y")))
    assert said(segments) == [(A, "one two three"), (B, "four five six")]


def test_a_part_cut_off_joins_the_rest_of_its_sentence() -> None:
    first, second = sentence("Is it ready? It will be"), sentence("tomorrow at noon.", 2.6, tokens=(7,))
    segments, _ = assign_speakers([first, second], turns((0, 1.2, "x"), (1.2, 4.0, "y")))
    assert said(segments) == [(A, "Is it ready?"), (B, "It will be tomorrow at noon.")]
    assert segments[1].tokens == ()


def test_whole_segments_are_never_merged() -> None:
    segments, _ = assign_speakers([sentence("one two"), sentence("three four", 0.8)], turns((0, 9, "x")))
    assert [segment.text for segment in segments] == ["one two", "three four"]


def test_parts_in_different_languages_or_after_a_pause_stay_apart() -> None:
    cut = sentence("Is it ready? It will be")
    for second in (sentence("mañana al mediodía.", 2.6, language="es"), sentence("tomorrow at noon.", 9.0)):
        segments, _ = assign_speakers([cut, second], turns((0, 1.2, "x"), (1.2, 20.0, "y")))
        assert len(segments) == 3


def test_text_without_spaces_between_words_stays_so() -> None:
    words = tuple(Word(start=i, end=i + 1, text=c, probability=1.0, space_before=False) for i, c in enumerate("元気ですか。はい。"))
    segment = Segment(id=0, start=0, end=9, text="元気ですか。はい。", words=words)
    segments, _ = assign_speakers([segment], turns((0, 6, "x"), (6, 9, "y")))
    assert said(segments) == [(A, "元気ですか。"), (B, "はい。")]


def test_labels_follow_the_order_of_words_not_of_turns() -> None:
    """Who coughs first has a turn, but no words."""
    segments, speakers = assign_speakers(
        [sentence("Hello.", 5.0), sentence("Hi.", 7.0)], turns((0, 1, "a"), (5, 6, "b"), (7, 8, "c"))
    )
    assert [segment.speaker for segment in segments] == [A, B]
    assert [speaker.label for speaker in speakers] == [A, B]


@pytest.mark.parametrize(
    ("text", "change_s", "first", "second"),
    [
        ("This is Diane in New Jersey. And I'm Sheila in Texas.", 1.62, "This is Diane in New Jersey.", "And I'm Sheila in Texas."),
        ("Yes. So what kind of thing? I do not know.", 0.82, "Yes. So what kind of thing?", "I do not know."),
    ],
)
def test_a_change_beside_the_end_of_a_sentence_belongs_there(text: str, change_s: float, first: str, second: str) -> None:
    """Turns of real conversations are half a second off."""
    segments, _ = assign_speakers([sentence(text, word_s=0.2)], turns((0, change_s, "x"), (change_s, 9.0, "y")))
    assert said(segments) == [(A, first), (B, second)]


def test_it_belongs_there_also_where_the_sentence_begins_a_segment() -> None:
    segments, _ = assign_speakers(
        [sentence("In New Jersey.", word_s=0.2), sentence("And I'm Sheila.", 0.6, word_s=0.2)],
        turns((0, 1.0, "x"), (1.0, 9.0, "y")),
    )
    assert said(segments) == [(A, "In New Jersey."), (B, "And I'm Sheila.")]


def test_a_change_stays_where_the_turns_are_sure_of_it() -> None:
    """Three words of 0.3 s, all in a turn of their speaker, and the other turn begins late."""
    text = "In New Jersey. And I was Sheila in Texas then."
    segments, _ = assign_speakers([sentence(text, word_s=0.3)], turns((0, 1.8, "x"), (1.8, 9.0, "y")))
    assert said(segments) == [(A, "In New Jersey. And I was"), (B, "Sheila in Texas then.")]


def test_a_turn_is_never_lost_to_the_sentence_around_it() -> None:
    segments, _ = assign_speakers(
        [sentence("Is it so? Yeah I think it is so.", word_s=0.2)], turns((0, 0.6, "x"), (0.6, 0.8, "z"), (0.8, 9.0, "y"))
    )
    assert [text for _, text in said(segments)] == ["Is it so?", "Yeah", "I think it is so."]


# --- properties -------------------------------------------------------------------------------------------------------

patient = settings(deadline=None)  # a busy machine is no failure

times = st.integers(0, 4000).map(lambda ms: ms / 100)
lengths = st.integers(0, 300).map(lambda ms: ms / 100)
texts = st.sampled_from(["so", "well,", "yes.", "really?", "house", "はい", "-fold"])


@st.composite
def transcripts(draw: st.DrawFn) -> list[Segment]:
    """Words in order, with gaps and words of no length; some segments without words."""
    clock, segments = 0.0, []
    for i in range(draw(st.integers(0, 6))):
        words = []
        for _ in range(draw(st.integers(0, 8))):
            start = clock + draw(lengths) / 10
            clock = start + draw(lengths) / 5
            words.append(Word(start=start, end=clock, text=draw(texts), probability=0.5, space_before=draw(st.booleans())))
        start = words[0].start if words else clock
        clock = clock if words else clock + draw(lengths)
        text = join_words(words) if words else "no times"
        segments.append(
            Segment(id=i, start=start, end=clock, text=text, words=tuple(words), language=draw(st.sampled_from(["en", "es"])))
        )
    return segments


some_turns = st.lists(
    st.builds(
        lambda start, length, who: Turn(start=start, end=start + length, speaker=who), times, lengths, st.sampled_from("pqrs")
    ),
    max_size=12,
)


def bare(words: tuple[Word, ...]) -> list[tuple[float, float, str, bool]]:
    return [(word.start, word.end, word.text, word.space_before) for word in words]


@patient
@given(transcripts(), some_turns)
def test_every_word_comes_out_once_in_order_and_with_a_speaker(before: list[Segment], heard: list[Turn]) -> None:
    after, speakers = assign_speakers(before, heard)

    assert [w for s in after for w in bare(s.words)] == [w for s in before for w in bare(s.words)]
    assert [s.text for s in after if not s.words] == [s.text for s in before if not s.words]
    labels = [speaker.label for speaker in speakers]
    assert labels == list(dict.fromkeys(segment.speaker for segment in after))
    assert labels == [f"SPEAKER_{i:02d}" for i in range(len(labels))]
    assert [segment.id for segment in after] == list(range(len(after)))


@patient
@given(transcripts(), some_turns)
def test_every_segment_is_whole(before: list[Segment], heard: list[Turn]) -> None:
    after, _ = assign_speakers(before, heard)
    for segment in after:
        assert segment.start <= segment.end
        assert {word.speaker for word in segment.words} <= {segment.speaker}
        if segment.words:
            assert segment.text == join_words(segment.words)
            assert segment.start <= segment.words[0].start
            assert max(word.end for word in segment.words) <= segment.end
    assert all(first.start <= second.start for first, second in pairwise(after))


@patient
@given(transcripts(), some_turns)
def test_the_order_in_which_turns_are_given_does_not_matter(before: list[Segment], heard: list[Turn]) -> None:
    assert assign_speakers(before, heard) == assign_speakers(before, heard[::-1])


def test_the_time_does_not_grow_with_words_times_turns() -> None:
    """Three hours: 28,000 words and 8,000 turns of eight people; comparing each with each would be 224 million steps."""
    segments = [sentence("one two three four five six seven.", i * 2.8) for i in range(4_000)]
    heard = turns(*((i * 1.4, i * 1.4 + 1.2, f"s{i % 8}") for i in range(8_000)))
    started = time.process_time()
    after, speakers = assign_speakers(segments, heard)
    assert time.process_time() - started < 8
    assert len(speakers) == 8
    assert sum(len(segment.words) for segment in after) == 28_000
