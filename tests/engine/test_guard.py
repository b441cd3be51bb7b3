"""The guard: invented text goes, doubt is shown, real speech stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from appliance.audio.speech import FRAME_S, speech_spans
from appliance.domain import Segment, Span, Word
from appliance.engine import guard
from appliance.engine.protocol import DecodedWindow, Window


def _voice(*runs: tuple[float, float], duration: float = 30.0) -> guard.Voice:
    probabilities = np.zeros(round(duration / FRAME_S), np.float32)
    for start, end in runs:
        probabilities[round(start / FRAME_S) : round(end / FRAME_S)] = 0.9
    return guard.Voice(probabilities, speech_spans(probabilities, duration))


def _said(text: str, start: float = 1.0, end: float = 3.0, **evidence: Any) -> Segment:
    texts = text.split()
    each = (end - start) / len(texts)
    words = tuple(Word(start=start + i * each, end=start + (i + 1) * each, text=t, probability=0.9) for i, t in enumerate(texts))
    return Segment(id=0, start=start, end=end, text=text, words=words, **({"avg_logprob": -0.3} | evidence))


def _decoded(
    *segments: Segment, avg_logprob: float = -0.3, no_speech_prob: float = 0.1, compression_ratio: float = 1.2
) -> DecodedWindow:
    return DecodedWindow(
        window=Window(start=0.0, end=30.0),
        language="en",
        segments=segments,
        temperature=0.0,
        avg_logprob=avg_logprob,
        no_speech_prob=no_speech_prob,
        compression_ratio=compression_ratio,
    )


def test_text_without_any_voice_goes_however_sure_the_model_is() -> None:
    """PAINS 1: invented text over silence, with high confidence."""
    reviewed = guard.review([_said("This was never said at all", avg_logprob=-0.1)], _voice())
    assert reviewed.kept == ()
    assert [c.code for c in reviewed.cautions] == ["possible_hallucination"]


def test_where_the_detector_is_switched_off_sure_text_stays_and_is_flagged() -> None:
    sure, unsure = _said("whispered but clear", avg_logprob=-0.2), _said("hm de la so", avg_logprob=-0.9)
    reviewed = guard.review([sure, unsure], _voice(), trust_detector=False)
    assert reviewed.kept == (sure,)
    assert [c.code for c in reviewed.cautions] == ["possible_hallucination"] * 2


def test_noise_is_not_tried_at_every_temperature() -> None:
    assert guard.judge(_decoded(_said("so it goes"), avg_logprob=-1.3), _voice()) is guard.Verdict.SILENT


def test_said_text_stays_without_a_word_of_doubt() -> None:
    segment = _said("Thank you.")
    assert guard.review([segment], _voice((1.0, 3.0))) == guard.Reviewed(kept=(segment,), cautions=())


@pytest.mark.parametrize(
    "text",
    [
        "Thank you.",
        "Thanks for watching!",
        "Untertitel der Amara.org-Community",
        "ご視聴ありがとうございました",
        "Продолжение следует...",
    ],
)
def test_a_stock_phrase_over_hardly_any_voice_goes(text: str) -> None:
    voice = _voice((1.0, 1.1))
    assert guard.review([_said(text, end=6.0)], voice).kept == ()


def test_hotwords_echoed_over_hardly_any_voice_go() -> None:
    """PAINS 23: hotwords leak into the text."""
    voice = _voice((1.0, 1.1))
    assert guard.review([_said("ComfyUI, Kubernetes", end=6.0)], voice, hints=guard.bare_hints(["ComfyUI, Kubernetes"])).kept == ()


def test_improbable_windows_and_loops_are_retried() -> None:
    voice = _voice((0.0, 30.0))
    assert guard.judge(_decoded(_said("so it goes"), avg_logprob=-1.3), voice) is guard.Verdict.RETRY
    assert guard.judge(_decoded(_said("so it goes"), compression_ratio=3.0), voice) is guard.Verdict.RETRY
    assert guard.judge(_decoded(_said("yes no " * 8)), voice) is guard.Verdict.RETRY
    assert guard.judge(_decoded(_said("so it goes")), voice) is guard.Verdict.ACCEPT


def test_no_speech_by_model_and_detector_is_silence() -> None:
    assert guard.judge(_decoded(_said("you"), avg_logprob=-1.2, no_speech_prob=0.8), _voice()) is guard.Verdict.SILENT
    assert guard.judge(_decoded(), _voice()) is guard.Verdict.SILENT


def test_the_ladder_ends_and_a_fixed_temperature_has_none() -> None:
    steps = [0.0]
    while (following := guard.next_temperature(steps[-1], None)) is not None:
        steps.append(following)
    assert steps == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert guard.next_temperature(0.0, 0.0) is None


def test_of_failed_attempts_the_likeliest_without_a_loop_is_kept() -> None:
    loop, good, bad = (
        _decoded(_said("la " * 30), avg_logprob=-0.1, compression_ratio=9.0),
        _decoded(_said("quite so"), avg_logprob=-1.1),
        _decoded(_said("kite sow"), avg_logprob=-1.9),
    )
    assert guard.best([loop, good, bad]) is good
    assert guard.best([loop]) is loop


def test_a_kept_loop_is_flagged() -> None:
    reviewed = guard.review([_said("and then and then and then and then", end=4.0)], _voice((1.0, 4.0)))
    assert [c.code for c in reviewed.cautions] == ["repetition"]


@pytest.mark.parametrize(("text", "times"), [("", 0), ("one", 1), ("a a a", 3), ("a b a b a c", 2), ("x y z, X Y Z. x y z", 3)])
def test_repeats_are_counted(text: str, times: int) -> None:
    assert guard.repeated(text) == times


def test_speech_that_no_word_covers_is_a_gap() -> None:
    """PAINS 2: speech dropped in silence."""
    spans = [Span(start=0.0, end=20.0)]
    (gap,) = guard.gaps(spans, [_said("a b c d", start=0.0, end=4.0), _said("e f g h i", start=12.0, end=19.5)])
    assert (gap.start, gap.end) == (4.0, 12.0)


def test_a_word_stretched_over_seconds_does_not_hide_a_gap() -> None:
    (gap,) = guard.gaps([Span(start=0.0, end=9.0)], [_said("so", start=0.0, end=8.0), _said("on", start=8.0, end=9.0)])
    assert (gap.start, gap.end) == (1.0, 8.0)
    assert guard.gaps([Span(start=0.0, end=2.0)], [_said("a b c d", start=0.9, end=2.0)]) == ()


def test_numbers_take_long_to_say() -> None:
    assert guard.gaps([Span(start=0.0, end=4.0)], [_said("1469–1470.", start=0.0, end=4.0)]) == ()


def test_voice_runs_lie_within_what_was_asked() -> None:
    voice = _voice((1.0, 2.0), (4.0, 6.0))
    runs = voice.runs(1.5, 5.0)
    assert [(round(r.start, 1), round(r.end, 1)) for r in runs] == [(1.5, 2.0), (4.0, 5.0)]
