"""How far, and how long still."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.domain import Stage
from appliance.jobs.progress import Meter, Speeds


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def speeds(decode: float = 0.1, recognize: float = 0.4, diarize: float = 0.5) -> Speeds:
    known = Speeds(gpu=False)
    for _ in range(200):
        known.learn_decode(decode * 600, 600)
        known.learn_recognize("base", recognize * 600, 600)
        known.learn_diarize(diarize * 600, 600)
    return known


def test_shares_follow_the_measured_speeds() -> None:
    meter = Meter(speeds(), ["base"], diarize=True)
    meter.decoding(1.0)
    meter.decoded(100.0)
    assert meter.progress().fraction == pytest.approx(0.99 * 0.1 / 0.6, rel=0.01)
    meter.recognizing(0, Stage.RECOGNIZE, 1.0)
    meter.diarizing(0.5)
    assert meter.progress().fraction == pytest.approx(0.99 * (0.1 + 0.25) / 0.6, rel=0.01)


def test_the_slower_of_the_two_is_shown() -> None:
    meter = Meter(speeds(), ["base"], diarize=True)
    assert meter.progress().stage is Stage.DECODE
    meter.decoded(100.0)
    assert meter.progress().stage is Stage.DETECT
    meter.recognizing(0, Stage.RECOGNIZE, 0.1)
    assert meter.progress().stage is Stage.DIARIZE
    meter.diarizing(0.9)
    assert meter.progress().stage is Stage.RECOGNIZE
    meter.saving()
    assert meter.progress().stage is Stage.SAVE


def test_the_estimate_begins_with_experience_and_ends_with_what_is_seen() -> None:
    clock = Clock()
    meter = Meter(speeds(), ["base"], diarize=False, clock=clock)
    assert meter.progress().eta_s is None
    meter.decoded(100.0)
    assert meter.progress().eta_s == pytest.approx(40.0, rel=0.01)
    clock.now = 60.0  # half of it took 60 s: the machine is three times slower today
    meter.recognizing(0, Stage.RECOGNIZE, 0.5)
    assert meter.progress().eta_s == pytest.approx(60.0, rel=0.01)


@given(
    st.lists(st.tuples(st.sampled_from(["decode", "recognize", "diarize", "again", "other model"]), st.floats(0, 1)), max_size=40)
)
def test_the_fraction_never_falls_and_ends_below_one(steps: list[tuple[str, float]]) -> None:
    meter, shown = Meter(speeds(), ["base", "tiny"], diarize=True), 0.0
    meter.decoded(10.0)
    for what, fraction in steps:
        match what:
            case "decode":
                meter.decoding(fraction)
            case "recognize":
                meter.recognizing(0, Stage.RECOGNIZE, fraction)
            case "other model":
                meter.recognizing(1, Stage.RECOGNIZE, fraction)
            case "diarize":
                meter.diarizing(fraction)
            case "again":
                meter.start_over(0)
        progress = meter.progress()
        assert shown <= progress.fraction < 1
        assert progress.eta_s is not None
        assert progress.eta_s >= 0
        shown = progress.fraction


def test_a_short_memo_says_little_about_the_speed() -> None:
    known = Speeds(gpu=False)
    before = known.recognize("base")
    known.learn_recognize("base", 3.0, 1.0)
    assert before < known.recognize("base") < before + 0.05
    assert known.recognize("large") == before


def test_guesses_before_a_file_is_opened() -> None:
    known = Speeds(gpu=False)
    assert known.guess_duration("call.WAV", 176_400) == 1.0
    assert known.guess_duration("unknown", 16_000) == 1.0
    assert known.guess_work(100.0, ["base"], diarize=False) == pytest.approx(30.5)
