"""Libraries that report home are told not to before they are imported (TRAPS 9), and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def import_at_home(home: Path, code: str) -> set[str]:
    """The files that a process which runs `code` leaves in its home directory."""
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


def test_onnxruntime_left_alone_would_keep_a_device_id(tmp_path: Path) -> None:
    """Otherwise the next test shows nothing; if this fails, the library has mended its ways."""
    assert import_at_home(tmp_path, "import onnxruntime")


@pytest.mark.slow
@pytest.mark.parametrize("module", ["appliance.audio.speech", "appliance.engine.whisper", "appliance.cli.doctor"])
def test_nothing_is_left_in_the_home_directory(tmp_path: Path, module: str) -> None:
    code = f"import {module}, os, onnxruntime; assert os.environ['PYANNOTE_METRICS_ENABLED'] == '0'"
    assert import_at_home(tmp_path, code) == set()
