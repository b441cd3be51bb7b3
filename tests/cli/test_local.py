"""The real engine behind `appliance transcribe`, without a server and without a database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recordings import telephone_call

pytestmark = pytest.mark.engine

TIMEOUT_S = 240.0


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "appliance.cli", "transcribe", "--device", "cpu", *map(str, arguments)]


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "APPLIANCE_DATA_DIR": str(tmp_path / "data")}


def test_a_recording_becomes_text_on_stdout_and_nothing_is_stored(tmp_path: Path) -> None:
    done = subprocess.run(
        command(telephone_call()), capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=environment(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert "hello" in done.stdout.lower()
    assert not (tmp_path / "data").exists()


def test_ctrl_c_ends_quickly_cleanly_and_leaves_nothing_running(tmp_path: Path) -> None:
    target = tmp_path / "call.txt"
    process = subprocess.Popen(
        command(telephone_call(), telephone_call().with_suffix(".rttm"), "-o", tmp_path / "texts"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(tmp_path),
        start_new_session=True,
    )
    with process:
        assert process.stderr is not None
        assert "rttm" in process.stderr.readline()  # the engine runs: it has refused what is no recording
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped." in err
    assert "Traceback" not in err
    assert out == ""
    assert not target.exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
