"""`appliance decrypt`, as a person calls it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.crypto.envelope import MIN_ITERATIONS, lock, write_envelope
from appliance.export import export
from appliance.export.json import render_json
from tests.export.generated import record_of, sentence, transcript_of

PASSWORD = "pässwörd 会"


def envelope(content: bytes) -> bytes:
    return write_envelope(lock(content, PASSWORD, transcript="slug", owner="person_1", version=1, iterations=MIN_ITERATIONS))


def decrypt(*arguments: str, password: str) -> tuple[int, bytes, str]:
    """With a terminal, on which the password is typed; returns exit status, stdout, and all that the terminal showed."""
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "appliance.cli", "decrypt", *arguments]
    process = subprocess.Popen(command, stdin=child, stdout=subprocess.PIPE, stderr=child, start_new_session=True)
    os.close(child)
    shown = b""
    while b"assword" not in shown and (part := _read(parent)):
        shown += part
    if b"assword" in shown:
        os.write(parent, password.encode() + b"\n")
    out, _ = process.communicate(timeout=60)
    while part := _read(parent):
        shown += part
    os.close(parent)
    return process.returncode, out, shown.decode()


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except OSError:  # the other side is closed
        return b""


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
