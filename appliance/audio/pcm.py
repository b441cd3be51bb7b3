"""The one shape that decoded audio has everywhere: int16 little-endian, 16 kHz, channels interleaved."""

from __future__ import annotations

from appliance.domain import Value

SAMPLE_RATE_HZ = 16_000
BYTES_PER_SAMPLE = 2


class PcmLayout(Value, frozen=True):
    """How to read a recording in shared memory."""

    samples: int  # per channel
    channels: int

    @property
    def duration(self) -> float:
        return self.samples / SAMPLE_RATE_HZ

    @property
    def size_bytes(self) -> int:
        return self.samples * self.channels * BYTES_PER_SAMPLE
