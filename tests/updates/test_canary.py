"""The trial of a new model, with the real small one where the engine is the subject."""

from __future__ import annotations

import asyncio
import json
import wave
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from appliance.catalogue import Catalogue, Shelf
from appliance.cli.configuration import read_settings
from appliance.errors import CanaryFailed
from appliance.updates.canary import check_speakers, check_words, distance, read_clip, try_out, words_of
from appliance.updates.importer import Trial
from appliance.updates.release import Canary
from tests.recordings import telephone_call
from tests.updates.making import clip_of, weights

SETTINGS = read_settings(device="cpu")
TINY = Catalogue.load(SETTINGS.catalogue_dir).get("whisper-tiny.en")
TELEPHONE_WORDS = "hello hello oh hello i didn't know you were there"


def trial(folder: Path = Path(), clip: Path = Path(), **canary: Any) -> Trial:
    return Trial(TINY, folder, clip, replace(Canary("0" * 64, "one two three four"), **canary))


@pytest.mark.parametrize("heard", ["One, two, three, four.", "one two tree four", "ONE TWO THREE FOUR five"])
def test_a_small_difference_is_tolerated(heard: str) -> None:
    check_words(trial(), heard)


@pytest.mark.parametrize("heard", ["", "one two", "thank you for watching", "one one two two three three four four"])
def test_too_many_wrong_words_fail(heard: str) -> None:
    with pytest.raises(CanaryFailed, match="wrong"):
        check_words(trial(), heard)


def test_scripts_without_spaces_are_compared_by_characters() -> None:
    assert words_of("東京です。") == ["東", "京", "で", "す"]
    assert words_of("Don't stop—now!") == ["don't", "stop", "now"]


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_the_distance_is_one(one: list[str], other: list[str]) -> None:
    assert distance(one, other) == distance(other, one)
    assert abs(len(one) - len(other)) <= distance(one, other) <= max(len(one), len(other))
    assert (distance(one, other) == 0) == (one == other)
    assert distance([*one, "x"], other) <= distance(one, other) + 1


def test_another_number_of_speakers_fails() -> None:
    check_speakers(trial(speakers=2), 2)
    with pytest.raises(CanaryFailed, match="heard 3 speakers where there are 2"):
        check_speakers(trial(speakers=2), 3)


def test_only_a_plain_wav_is_a_clip(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(clip_of(0.5))
    assert len(read_clip(path, "x")) == 16_000
    for content in (b"", b"RIFF", clip_of(0.1)[:20], clip_of(200.0)):
        path.write_bytes(content)
        with pytest.raises(CanaryFailed):
            read_clip(path, "x")
    with wave.open(str(path), "wb") as clip:
        clip.setparams((2, 2, 44_100, 0, "NONE", ""))
        clip.writeframes(bytes(400))
    with pytest.raises(CanaryFailed, match="16000 Hz"):
        read_clip(path, "x")


@pytest.fixture
def installed() -> Path:
    return Shelf(Catalogue({TINY.id: TINY}), SETTINGS.models_dir).path(TINY.id)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """The first ten seconds of the telephone call."""
    path = tmp_path / "clip.wav"
    with wave.open(str(telephone_call())) as whole, wave.open(str(path), "wb") as part:
        part.setparams(whole.getparams())
        part.writeframes(whole.readframes(10 * whole.getframerate()))
    return path


@pytest.mark.engine
def test_the_real_model_passes_with_the_right_words_and_fails_with_others(installed: Path, clip: Path) -> None:
    asyncio.run(try_out(SETTINGS, trial(installed, clip, words=TELEPHONE_WORDS)))
    with pytest.raises(CanaryFailed, match="it heard 'Hello"):
        asyncio.run(try_out(SETTINGS, trial(installed, clip, words="the quick brown fox jumps over the lazy dog")))


@pytest.mark.engine
def test_weights_that_do_not_load_fail_the_trial(tmp_path: Path, installed: Path, clip: Path) -> None:
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (tmp_path / name).write_bytes((installed / name).read_bytes())
    (tmp_path / "model.bin").write_bytes(weights(1))
    with pytest.raises(CanaryFailed):
        asyncio.run(try_out(SETTINGS, trial(tmp_path, clip)))


@pytest.mark.engine
def test_a_model_that_speaks_nonsense_fails_the_trial(tmp_path: Path, installed: Path, clip: Path) -> None:
    """Its tokenizer says other words for the same tokens: everything loads, and everything is wrong."""
    for name in ("config.json", "model.bin", "vocabulary.txt"):
        (tmp_path / name).symlink_to(installed / name)
    tokenizer = json.loads((installed / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    words = [token for token, number in vocabulary.items() if number < 50_000]
    tokenizer["model"]["vocab"] |= dict(zip(words, [vocabulary[word] for word in reversed(words)], strict=True))
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(CanaryFailed, match="words were wrong"):
        asyncio.run(try_out(SETTINGS, trial(tmp_path, clip, words=TELEPHONE_WORDS)))
