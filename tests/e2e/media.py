"""Recordings made on the spot with ffmpeg: the good, the odd and the broken."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def ffmpeg(*arguments: str) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg (Debian package) makes the recordings of this test")
    subprocess.run(["ffmpeg", "-loglevel", "error", "-y", *arguments], check=True)


def looped(source: Path, target: Path, seconds: int, *encoding: str) -> Path:
    """`source` over and over, `seconds` long."""
    ffmpeg("-stream_loop", "-1", "-i", str(source), "-t", str(seconds), *encoding, str(target))
    return target


def synthetic(target: Path, graph: str, seconds: float, *encoding: str) -> Path:
    """`graph` is an ffmpeg audio source, e.g. "anoisesrc=color=pink"."""
    ffmpeg("-f", "lavfi", "-i", graph, "-t", str(seconds), *encoding, str(target))
    return target


def video(target: Path, sound: Path | None) -> Path:
    picture = ["-f", "lavfi", "-i", "color=black:s=64x64:r=5", "-t", "5"]
    ffmpeg(*picture, *(["-i", str(sound), "-shortest", "-c:a", "aac"] if sound else []), "-c:v", "mpeg4", str(target))
    return target
