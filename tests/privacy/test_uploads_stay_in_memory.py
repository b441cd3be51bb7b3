"""The product's first promise, with evidence: audio never reaches a disk, and nothing leaves the machine (TRAPS 4)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.privacy.confined import UPLOAD_BYTES

ROOT = Path(__file__).resolve().parent.parent.parent
needed = [tool for tool in ("strace", "unshare", "ip") if shutil.which(tool) is None]

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0 or bool(needed), reason=f"needs root and {needed or 'nothing more'}"),
]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    work_dir = tmp_path_factory.mktemp("cage")
    private = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]  # however it ends, nobody is left running
    command = ["unshare", *private, sys.executable, "-m", "tests.privacy.confined", str(work_dir)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=800)
    assert run.returncode == 0, run.stderr[-6000:]
    report: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return report


def test_the_uploads_were_really_transcribed(seen: dict[str, Any]) -> None:
    ways = {"native, waiting", "native, raw", "native, form", "private"}
    ways |= {"openai, waiting", "openai, streamed", "openai, diarized", "openai, translated"}
    assert set(seen["texts"]) == ways
    assert {way for way, text in seen["texts"].items() if "New Jersey" not in text} == set()


def test_what_was_killed_with_the_appliance_is_marked_and_the_next_recording_is_heard(seen: dict[str, Any]) -> None:
    assert seen["interrupted"] == "interrupted"


def test_no_file_but_the_database_is_opened_for_writing_or_written(seen: dict[str, Any]) -> None:
    """And, by name, what else is the appliance's own: keys, certificate, the licence's mark (`confined.own_files`)."""
    assert seen["saw_database"], "the trace saw nothing at all"
    assert seen["saw_keys"], "the trace did not see the authority being made"
    assert seen["opened"] == []
    assert seen["written"] == []


def test_the_canary_in_the_audio_is_in_no_file(seen: dict[str, Any]) -> None:
    assert seen["canary_in"] == []


def test_the_disk_sees_a_fraction_of_what_was_uploaded(seen: dict[str, Any]) -> None:
    assert seen["disk_bytes"] < UPLOAD_BYTES / 20


def test_no_packet_leaves_loopback(seen: dict[str, Any]) -> None:
    assert seen["sink_counts"], "the sink counts nothing, so a zero would mean nothing"
    assert seen["addresses"] == []
    assert seen["sink_packets"] == 0
