"""The real engines on a real GPU; `make gpu-check` runs these wherever there is one."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from appliance.audio.pcm import PcmLayout
from appliance.cli.configuration import read_settings
from appliance.domain import SpeakerCount, TranscribeOptions
from appliance.engine.gpu import load_cublas, survey
from appliance.engine.protocol import RecognizeRequest
from tests.recordings import telephone_call

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not survey().gpus, reason="there is no NVIDIA GPU here")]


def samples() -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    with wave.open(str(telephone_call())) as call:
        return np.frombuffer(call.readframes(call.getnframes()), np.int16)


def model_dir(name: str) -> Path:
    return read_settings().models_dir / name


def test_words_are_recognised_on_the_gpu() -> None:
    load_cublas()  # TRAPS 32
    from appliance.engine.pipeline import Recognizer  # noqa: PLC0415 -- native, and only where there is a GPU

    audio = samples()[:, None]
    options = TranscribeOptions(model="whisper-base")
    request = RecognizeRequest("1", "whisper-base", model_dir("whisper-base"), options, PcmLayout(len(audio), 1))
    recognizer = Recognizer(device="cuda")
    try:
        transcript = recognizer.recognize(request, audio, lambda event: None, lambda: None)
    finally:
        recognizer.close()
    assert "New Jersey" in transcript.text


def test_speakers_are_told_apart_on_the_gpu() -> None:
    from appliance.engine.diarizer import load  # noqa: PLC0415 -- native, and only where there is a GPU

    diarizer = load(model_dir("speaker-diarization"), "cuda")
    found = diarizer.diarize(samples(), SpeakerCount(), lambda fraction: None, lambda: None)
    assert len({turn.speaker for turn in found.exclusive}) == 2
