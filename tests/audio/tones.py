"""A recording whose sound is known (a low tone, then a high one), written in any format, and the check that it came back."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

LOW_HZ, HIGH_HZ = 440.0, 900.0
PART_S = 0.6  # of each of the two
LEVEL = 0.4  # amplitude, full scale 1
PCM_RATE_HZ = 16_000

LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}

Samples = NDArray[np.float32]  # (samples, channels)


def tone(frequency_hz: float, seconds: float, rate_hz: int = PCM_RATE_HZ) -> NDArray[np.float32]:
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return (LEVEL * np.sin(2 * np.pi * frequency_hz * times)).astype(np.float32)


def two_tones(rate_hz: int, channels: int = 1) -> Samples:
    mono = np.concatenate([tone(LOW_HZ, PART_S, rate_hz), tone(HIGH_HZ, PART_S, rate_hz)])
    return np.repeat(mono[:, None], channels, axis=1)


def silence(seconds: float, rate_hz: int, channels: int = 1) -> Samples:
    return np.zeros((round(seconds * rate_hz), channels), dtype=np.float32)


class Piece(NamedTuple):
    """Sound that starts at a time of its own, as after a pause."""

    start_s: float
    samples: Samples


def encode(
    sound: Samples | Sequence[Piece],
    rate_hz: int,
    container: str,
    codec: str,
    *,
    layout: str | None = None,
    bit_rate: int | None = None,
    options: Mapping[str, str] | None = None,
) -> bytes:
    """One track, written with PyAV. `options` go to the container and the codec."""
    pieces = [Piece(0.0, sound)] if isinstance(sound, np.ndarray) else list(sound)
    return encode_tracks([pieces], rate_hz, container, codec, layout=layout, bit_rate=bit_rate, options=options)


def encode_tracks(
    tracks: Sequence[Sequence[Piece]],
    rate_hz: int,
    container: str,
    codec: str,
    *,
    layout: str | None = None,
    bit_rate: int | None = None,
    options: Mapping[str, str] | None = None,
) -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format=container, options=dict(options or {})) as output:
        streams: list[Any] = []
        for track in tracks:
            streams.append(output.add_stream(codec, rate=rate_hz, options=dict(options or {})))
            streams[-1].layout = layout or LAYOUTS[track[0].samples.shape[1]]
            if bit_rate:
                streams[-1].bit_rate = bit_rate
        for stream, track in zip(streams, tracks, strict=True):
            for frame in _frames(track, rate_hz, stream.layout.name):
                output.mux(stream.encode(frame))
        for stream in streams:
            output.mux(stream.encode(None))
    return target.getvalue()


def _frames(pieces: Sequence[Piece], rate_hz: int, layout: str) -> Iterator[AudioFrame]:
    for piece in pieces:
        for start in range(0, len(piece.samples), 1024):
            block = np.ascontiguousarray(piece.samples[start : start + 1024]).reshape(1, -1)
            frame = AudioFrame.from_ndarray(block, format="flt", layout=layout)
            frame.sample_rate, frame.pts = rate_hz, start + round(piece.start_s * rate_hz)
            yield frame


def wav(samples: Samples, rate_hz: int = PCM_RATE_HZ) -> bytes:
    return encode(samples, rate_hz, "wav", "pcm_s16le")


def with_ffmpeg(tmp_path: Path, source: bytes, *arguments: str) -> bytes:
    """Written with the ffmpeg program to a file named by the last argument; skips the test, plainly, where it is not installed."""
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("the program ffmpeg is not installed")
    result = tmp_path / arguments[-1]
    command = [program, "-v", "error", "-nostdin", "-y", "-threads", "1", "-i", "pipe:0", *arguments[:-1], str(result)]
    subprocess.run(command, input=source, check=True, timeout=60)
    return result.read_bytes()


def assert_two_tones(heard: NDArray[np.int16], *, level: float = LEVEL, late_s: float = 0.1) -> None:
    """One channel at 16 kHz holds the two tones of `two_tones`: pitch, loudness, order, time of the change and length."""
    assert len(heard) / PCM_RATE_HZ == pytest.approx(2 * PART_S, abs=late_s)
    change = round(PART_S * PCM_RATE_HZ)
    margin = round(late_s * PCM_RATE_HZ)
    low, high = heard[margin : change - margin], heard[change + margin : 2 * change - margin]
    assert pitch_hz(low) == pytest.approx(LOW_HZ, abs=10)
    assert pitch_hz(high) == pytest.approx(HIGH_HZ, abs=10)
    for part in (low, high):
        assert loudness(part) == pytest.approx(level / np.sqrt(2), rel=0.35)


def pitch_hz(samples: NDArray[np.int16]) -> float:
    """The strongest frequency."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), n=4 * len(samples)))
    return float(np.argmax(spectrum) * PCM_RATE_HZ / (4 * len(samples)))


def loudness(samples: NDArray[np.int16]) -> float:
    """Root mean square, full scale 1."""
    return float(np.sqrt(np.mean((samples / 32768.0) ** 2)))
