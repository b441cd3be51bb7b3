"""`tls=files`: what is said at the start, and what happens when somebody replaces the files."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.errors import CertificateRefused
from appliance.tls.customer_files import CustomerFiles
from appliance.tls.names import Names, configured_names
from tests.tls.makers import DAY, customer_files, make

BOX = Names(("box.ward.example",), ())


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Others may pass through it; pytest's own folders are for its user alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def test_both_must_be_named() -> None:
    with pytest.raises(CertificateRefused, match="needs a certificate and its key"):
        CustomerFiles(Path("box.crt"), None, Names())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    files = customer_files(tmp_path)
    files.key.unlink()
    with pytest.raises(CertificateRefused, match=r"There is no file .*box\.key"):
        CustomerFiles(files.certificate, files.key, BOX).at_start(datetime.now(UTC))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read it")
def test_a_key_that_the_service_may_not_read(open_folder: Path) -> None:
    files = customer_files(open_folder)
    files.certificate.chmod(0o644)
    code = f"""
import os
from datetime import UTC, datetime
from pathlib import Path
from appliance.errors import CertificateRefused
from appliance.tls.customer_files import CustomerFiles
from appliance.tls.names import Names
os.setgid(65534); os.setuid(65534)
try:
    CustomerFiles(Path({str(files.certificate)!r}), Path({str(files.key)!r}), Names()).at_start(datetime.now(UTC))
except CertificateRefused as error:
    print(error.message, error.hint)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"may not read {files.key}. It runs as user id 65534" in done.stdout, done.stderr


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(CertificateRefused, match="cannot be read: Is a directory"):
        CustomerFiles(tmp_path, tmp_path, BOX).at_start(datetime.now(UTC))


def test_what_is_probably_not_meant_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = customer_files(tmp_path)
    files.key.chmod(0o644)
    CustomerFiles(files.certificate, files.key, configured_names(["wrong.example"])).at_start(datetime.now(UTC))
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 2
    assert "Every user of this machine can read" in said[0]
    assert "does not name wrong.example" in said[1]


def test_a_sound_pair_is_taken_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = customer_files(tmp_path)
    assert CustomerFiles(files.certificate, files.key, BOX).at_start(datetime.now(UTC)).names.dns == (
        "box.ward.example",
        "localhost",
    )
    assert caplog.messages == []


def test_replaced_files_are_read_again_and_only_then(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    files = customer_files(tmp_path)
    source = CustomerFiles(files.certificate, files.key, BOX)
    first = source.credentials(now)
    assert source.credentials(now) is first
    fresh = make("box", files.root, hosts=["box.ward.example"], begins=now - DAY, ends=now + 30 * DAY)
    files.put(fresh)
    assert source.credentials(now).certificate == fresh.certificate
