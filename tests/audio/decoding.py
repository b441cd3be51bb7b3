"""Bytes in, what was heard out: `appliance.audio.decode` as the tests call it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from appliance.audio.decode import DecodeLimits, MediaInfo, decode
from appliance.audio.memory import MemoryBudget, MemoryFile
from appliance.domain import ChannelMode

LIMITS = DecodeLimits(max_duration_s=3600.0, memory_bytes=2**30, cpu_s=60.0)


class Heard(NamedTuple):
    samples: NDArray[np.int16]  # (samples, channels)
    media: MediaInfo

    @property
    def mono(self) -> NDArray[np.int16]:
        assert self.samples.shape[1] == 1
        return self.samples[:, 0]

    @property
    def duration_s(self) -> float:
        return len(self.samples) / 16_000


def memory_file(data: bytes, budget: MemoryBudget) -> MemoryFile:
    file = MemoryFile.create("test", budget)
    file.write(data)
    file.seal()
    return file


async def hear(
    data: bytes,
    budget: MemoryBudget,
    *,
    channels: ChannelMode = ChannelMode.MIX,
    audio_track: int | None = None,
    limits: DecodeLimits = LIMITS,
    on_fraction: Callable[[float], None] = lambda _: None,
) -> Heard:
    with memory_file(data, budget) as source:
        pcm = await decode(source, budget, limits, channels=channels, audio_track=audio_track, on_fraction=on_fraction)
    try:
        assert pcm.file.size == pcm.layout.size_bytes == budget.used_bytes
        values = np.frombuffer(os.pread(pcm.file.fd, pcm.file.size, 0), np.int16)
        return Heard(values.reshape(-1, pcm.layout.channels), pcm.media)
    finally:
        pcm.close()


def hear_now(
    data: bytes,
    budget: MemoryBudget,
    *,
    channels: ChannelMode = ChannelMode.MIX,
    audio_track: int | None = None,
    limits: DecodeLimits = LIMITS,
) -> Heard:
    return asyncio.run(hear(data, budget, channels=channels, audio_track=audio_track, limits=limits))
