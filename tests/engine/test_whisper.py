"""The Whisper backend's own arithmetic; what it hears is tested in test_pipeline.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.audio.pcm import SAMPLE_RATE_HZ
from appliance.engine.batcher import DeviceLost, OutOfMemory
from appliance.engine.protocol import Window
from appliance.engine.whisper import (
    DecodeOptions,
    WhisperModel,
    WhisperTask,
    compression_ratio,
    default_compute_type,
    device_error,
    split_at_timestamps,
)
from appliance.errors import ModelDamaged
from appliance.settings import Settings

FIRST = 100  # the first timestamp token of these tests: 0.00 s
WINDOW = Window(start=60.0, end=80.0)


def _at(seconds: float) -> int:
    return FIRST + round(seconds / 0.02)


def test_timestamps_divide_the_window() -> None:
    tokens = [_at(0), 1, 2, _at(4), _at(5), 3, _at(9)]
    assert split_at_timestamps(tokens, FIRST, WINDOW) == [(60.0, 64.0, [1, 2]), (65.0, 69.0, [3])]


def test_unfinished_text_is_kept_to_the_windows_end() -> None:
    """PAINS 2: dropped speech; plain Whisper would come back to it, a window does not."""
    assert split_at_timestamps([_at(0), 1, _at(4), _at(4), 2, 3], FIRST, WINDOW)[-1] == (64.0, 80.0, [2, 3])


def test_times_beyond_the_window_are_cut() -> None:
    assert split_at_timestamps([_at(0), 1, _at(29)], FIRST, WINDOW) == [(60.0, 80.0, [1])]


@given(st.lists(st.integers(0, FIRST + 1500), max_size=60))
def test_no_text_token_is_lost_and_times_never_run_backwards(tokens: list[int]) -> None:
    pieces = split_at_timestamps(tokens, FIRST, WINDOW)
    assert [t for _, _, text in pieces for t in text] == [t for t in tokens if t < FIRST]
    edges = [edge for start, end, _ in pieces for edge in (start, end)]
    assert edges == sorted(edges)
    assert all(WINDOW.start <= edge <= WINDOW.end for edge in edges)


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
    for different in ({"prompt": (1,)}, {"temperature": 0.2}, {"words": False}, {"task": "translate"}):
        assert _task(english, **different).bucket != plain


@pytest.mark.engine
@pytest.mark.parametrize("samples", [1, 200, 3200, 16000, 480000])
def test_features_of_any_length_fill_the_window(english: WhisperModel, samples: int) -> None:
    features = english.features(np.zeros(samples, np.int16))
    assert features.shape == (80, 3000)
    assert features.dtype == np.float32


@pytest.mark.engine
def test_an_english_model_says_what_it_can(english: WhisperModel) -> None:
    assert english.capabilities.languages == ("en",)
    assert not english.capabilities.translation
