"""`appliance decrypt`, as a person calls it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from appliance.crypto.envelope import MIN_ITERATIONS, lock, write_envelope
from appliance.export import export
from appliance.export.json import render_json
from tests.api.conftest import until
from tests.export.generated import record_of, sentence, transcript_of

PASSWORD = "pässwörd 会"


def envelope(content: bytes) -> bytes:
    return write_envelope(lock(content, PASSWORD, transcript="slug", owner="person_1", version=1, iterations=MIN_ITERATIONS))


def decrypt(*arguments: str, password: str) -> tuple[int, bytes, str]:
    """With a terminal, on which the password is typed; returns exit status, stdout, and all that the terminal showed."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "appliance.cli", "decrypt", *arguments]
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True)
    try:
        if until(lambda: process.poll() is not None or not shows_what_is_typed(theirs), 60) and process.poll() is None:
            os.write(ours, password.encode() + b"\n")
        out, _ = process.communicate(timeout=60)
        os.set_blocking(ours, False)
        return process.returncode, out, os.read(ours, 65536).decode()
    finally:
        os.close(theirs)
        os.close(ours)


def shows_what_is_typed(terminal: int) -> bool:
    return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)


@pytest.mark.parametrize("file_format", ["json", "srt", "csv"])
def test_it_writes_what_the_export_writes(tmp_path: Path, file_format: str) -> None:
    spoken = sentence("Sayın Aydın, wir beginnen jetzt.", speaker="SPEAKER_00")
    record = record_of(transcript_of([spoken], "Ayşe"))
    assert record.transcript
    (tmp_path / "e.json").write_bytes(envelope(render_json(record, record.transcript)))
    status, out, shown = decrypt(str(tmp_path / "e.json"), "--format", file_format, password=PASSWORD)
    assert (status, out) == (0, export(record, file_format).content)
    assert PASSWORD not in shown


def test_a_wrong_password_is_told_plainly(tmp_path: Path) -> None:
    (tmp_path / "e.json").write_bytes(envelope(b"{}"))
    status, out, shown = decrypt(str(tmp_path / "e.json"), password="another")
    assert (status, out) == (1, b"")
    assert "the password is wrong, or the envelope was altered" in shown


def test_what_is_no_envelope_does_not_even_ask(tmp_path: Path) -> None:
    (tmp_path / "e.json").write_bytes(b"{}")
    status, _, shown = decrypt(str(tmp_path / "e.json"), password="")
    assert status == 2
    assert "not the envelope of a private transcript" in shown


def test_a_missing_file_is_told_by_name() -> None:
    status, _, shown = decrypt("/nowhere/e.json", password="")
    assert status == 2
    assert "cannot be read" in shown
