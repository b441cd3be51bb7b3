"""Secrets on the disk: modes, whole files, one writer."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from appliance.errors import StartRefused
from appliance.tls.private_folder import PrivateFolder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_for_the_appliance_alone(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir(mode=0o755)
    folder = PrivateFolder(tmp_path / "tls")
    before = os.umask(0)
    try:
        folder.write("key.pem", b"secret")
    finally:
        os.umask(before)
    assert mode(folder.path) == 0o700
    assert mode(folder.path / "key.pem") == 0o600
    assert folder.read("key.pem") == b"secret"
    assert [path.name for path in folder.path.iterdir()] == ["key.pem"]


def test_what_a_broken_start_left_keeps_no_open_mode(tmp_path: Path) -> None:
    left = tmp_path / ".key.pem.new"
    left.write_bytes(b"half")
    left.chmod(0o644)
    PrivateFolder(tmp_path).write("key.pem", b"secret")
    assert mode(tmp_path / "key.pem") == 0o600


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert PrivateFolder(tmp_path / "nowhere").read("key.pem") is None


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StartRefused, match="cannot write"):
        PrivateFolder(tmp_path / "file" / "tls").write("key.pem", b"x")


def test_one_at_a_time(tmp_path: Path) -> None:
    folder, entered = PrivateFolder(tmp_path), threading.Event()

    def enter() -> None:
        with folder.held():
            entered.set()

    other = threading.Thread(target=enter)
    with folder.held():
        other.start()
        assert not entered.wait(0.2)
    other.join(10)
    assert entered.is_set()
