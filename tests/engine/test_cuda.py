"""The real engines on a real GPU; `make gpu-check` runs these wherever there is one."""

from __future__ import annotations

import asyncio
import os
import wave
from pathlib import Path

import numpy as np
import pytest

from appliance.audio.pcm import PcmLayout
from appliance.cli.configuration import read_settings
from appliance.domain import SpeakerCount, TranscribeOptions, Transcript
from appliance.engine.gpu import choose_device, load_cublas, survey
from appliance.engine.pool import WorkerPool
from appliance.engine.protocol import Diarization, DiarizeRequest, RecognizeRequest
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


async def heard_by_workers() -> tuple[Transcript, Diarization]:
    audio, options = samples(), TranscribeOptions(model="whisper-base")
    pool, pcm = WorkerPool(read_settings(), choose_device("cuda")), PcmLayout(len(audio), 1)
    fd = os.memfd_create("audio")
    os.write(fd, audio.tobytes())
    try:
        await pool.start()
        return await asyncio.gather(
            pool.recognize(RecognizeRequest("1", "whisper-base", model_dir("whisper-base"), options, pcm), fd, lambda event: None),
            pool.diarize(DiarizeRequest("1", model_dir("speaker-diarization"), SpeakerCount(), pcm), fd, lambda event: None),
        )
    finally:
        await pool.stop()
        os.close(fd)


@pytest.mark.timeout(400)  # a new chip compiles its kernels first, in both
def test_the_two_worker_processes_share_the_gpu() -> None:
    transcript, found = asyncio.run(heard_by_workers())
    assert "New Jersey" in transcript.text
    assert len({turn.speaker for turn in found.exclusive}) == 2
