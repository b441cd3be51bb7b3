"""The Whisper backend's own arithmetic; what it hears is tested in test_pipeline.py."""

from __future__ import annotations

from pathlib import Path

import ctranslate2
import numpy as np
import pytest

from appliance.audio.pcm import SAMPLE_RATE_HZ
from appliance.engine import whisper
from appliance.engine.batcher import DeviceLost, OutOfMemory
from appliance.engine.protocol import DecodedWindow, Window
from appliance.engine.whisper import (
    LENGTH_PENALTY,
    DecodeOptions,
    WhisperModel,
    WhisperTask,
    compression_ratio,
    default_compute_type,
    device_error,
)
from appliance.errors import ModelDamaged
from appliance.settings import Settings
from tests.recordings import read_samples, shared

WINDOW = Window(start=60.0, end=61.0)


def test_out_of_memory_and_a_lost_device_are_told_apart() -> None:
    """TRAPS 16: one cause shows in two ways; only the first leaves the process usable."""
    assert isinstance(device_error(RuntimeError("CUDA failed with error out of memory")), OutOfMemory)
    assert isinstance(device_error(RuntimeError("CUDA failed with error invalid device ordinal")), DeviceLost)
    assert isinstance(device_error(RuntimeError("cuBLAS failed with status CUBLAS_STATUS_NOT_SUPPORTED")), DeviceLost)
    other = RuntimeError("No position encodings are defined for positions >= 448")
    assert device_error(other) is other


def test_repetition_compresses() -> None:
    assert compression_ratio("") == 0.0
    assert compression_ratio("the cat sat on the mat") < 1.3
    assert compression_ratio("and then " * 30) > 2.4


def test_a_cpu_computes_in_int8() -> None:
    assert default_compute_type("cpu", 0) == "int8"


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelDamaged, match=r"model\.bin"):
        WhisperModel(tmp_path / "whisper-none", "cpu", 0, "int8", 1)


@pytest.fixture(scope="module")
def english() -> WhisperModel:
    path = Settings().models_dir / "whisper-tiny.en"  # type: ignore[call-arg]  # every setting has a default
    if not (path / "model.bin").exists():
        pytest.skip("the model whisper-tiny.en is not installed; 'appliance models fetch whisper-tiny.en' installs it")
    return WhisperModel(path, "cpu", 0, "int8", 1)


def _task(model: WhisperModel, **options: object) -> WhisperTask:
    samples = np.zeros(SAMPLE_RATE_HZ, np.int16)
    return WhisperTask(model, WINDOW, samples, DecodeOptions(**options))  # type: ignore[arg-type]


@pytest.mark.engine
def test_only_tasks_with_equal_options_share_a_bucket(english: WhisperModel) -> None:
    """TRAPS 19: same place of the start token, same number of task tokens, same options."""
    plain = _task(english).bucket
    assert _task(english).bucket == plain
    assert _task(english, prompt=(1, 2)).bucket == _task(english, prompt=(3, 4)).bucket
    for different in ({"prompt": (1,)}, {"temperature": 0.2}, {"task": "translate"}):
        assert _task(english, **different).bucket != plain


@pytest.mark.engine
@pytest.mark.parametrize("samples", [1, 200, 3200, 16000, 480000])
def test_features_of_any_length_fill_the_window(english: WhisperModel, samples: int) -> None:
    features = english.features(np.zeros(samples, np.int16))
    assert features.shape == (80, 3000)
    assert features.dtype == np.float32


@pytest.mark.engine
def test_how_sure_the_model_is_does_not_hang_on_the_length_penalty(english: WhisperModel, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = read_samples(shared("librispeech_test-other/1998-15444-0001.flac"))
    task = WhisperTask(english, Window(start=0.0, end=len(samples) / SAMPLE_RATE_HZ), samples, DecodeOptions())

    def hear(length_penalty: float) -> DecodedWindow:
        monkeypatch.setattr(whisper, "LENGTH_PENALTY", length_penalty)
        (heard,) = english.decode([task], [task.prepare()])
        return heard

    plain, ours = hear(1.0), hear(LENGTH_PENALTY)
    assert ours.segments[0].text == plain.segments[0].text
    assert ours.avg_logprob == pytest.approx(plain.avg_logprob, abs=1e-4)
    assert -1.0 < ours.avg_logprob < 0.0


@pytest.mark.engine
@pytest.mark.parametrize("prompt", [(), tuple(range(100, 150))], ids=["no prompt", "a prompt"])
def test_a_short_window_has_room_for_the_densest_script(
    english: WhisperModel, monkeypatch: pytest.MonkeyPatch, prompt: tuple[int, ...]
) -> None:
    """Malayalam needs two tokens and more per character. Here the model may not end, and so shows how far it may go."""
    end_of_text = english.tokenizer("transcribe", "en").eot
    monkeypatch.setattr(english, "_suppressed", [*english._suppressed, end_of_text])
    samples = read_samples(shared("librispeech_test-other/1998-15444-0001.flac"))[: 3 * SAMPLE_RATE_HZ]
    task = WhisperTask(english, Window(start=0.0, end=3.0), samples, DecodeOptions(prompt=prompt))
    encoded = english._model.encode(ctranslate2.StorageView.from_array(task.prepare()[None]))
    (draft,) = english._generate(encoded, [task], [{}])
    assert 120 <= len(draft.tokens) <= 224


@pytest.mark.engine
def test_an_english_model_says_what_it_can(english: WhisperModel) -> None:
    assert english.capabilities.languages == ("en",)
    assert not english.capabilities.translation
