"""The runner that seals the suite notices what it is there for: packets, by whom and to whom, and recordings left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.privacy.sealed import CANARY, ROOT, is_a_test_s_own, marks, question, why_not

needs_root = pytest.mark.skipif(bool(why_not()), reason=why_not() or "nothing is missing")

IMPORTS = "import pathlib, socket, subprocess, tempfile, time; canary = '" + CANARY.decode() + "'; "


def sealed(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.privacy.sealed", sys.executable, "-c", IMPORTS + code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("pathlib.Path(tempfile.mkdtemp(), 'quiet.txt').write_text('nothing')", 0),
        ("s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())", 0),
        ("s = socket.create_server(('::1', 0), family=socket.AF_INET6); socket.create_connection(s.getsockname()[:2])", 0),
        ("raise SystemExit(7)", 7),
        ("subprocess.run(['unshare', '--net', '--mount', 'true'], check=True)", 0),  # what some tests do themselves
    ],
    ids=["a file", "loopback", "loopback of IPv6", "the status of the command", "a namespace within"],
)
def test_what_is_allowed(code: str, status: int) -> None:
    done = sealed(code)
    assert done.returncode == status, done.stderr
    assert "0 packets off loopback, 0 files with a recording" in done.stderr


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(b'x', ('203.0.113.7', 9)); time.sleep(1)", "udp 9 to 203.0.113.7"),
        ("s = socket.socket(); s.settimeout(1); s.connect_ex(('203.0.113.7', 443)); time.sleep(1)", "tcp 443 to 203.0.113.7"),
        (
            "s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.sendto(b'x', ('2001:db8::7', 9)); time.sleep(1)",
            "udp 9 to 2001:db8::7",
        ),
        ("socket.getaddrinfo('telemetry.invalid.example', 443)", "udp 53 (asks for telemetry.invalid.example) to 198.18.0.53"),
    ],
    ids=["a datagram", "a connection", "over IPv6", "a lookup of a name"],
)
def test_a_packet_that_leaves_is_named(code: str, seen: str) -> None:
    done = sealed(code)
    assert done.returncode == 1, done.stderr
    assert f"would have left the machine: {seen}" in done.stderr
    assert "-c import pathlib" in done.stderr  # by whom


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("/tmp/pytest-of-root/test/data/appliance.db", True),
        ("/tmp/pytest-of-root/test/data/call.wav", True),
        ("/tmp/upload.wav", True),  # whoever spools picks a name like the recording's
        ("/var/tmp/tmpab3k", True),
        ("/tmp/pytest-of-root/test/log.txt", True),
        ("/tmp/pytest-of-root/test/call.wav", False),  # what a test made to send
    ],
)
def test_a_recording_left_behind_is_found(place: str, found: bool) -> None:
    code = f"place = pathlib.Path('{place}'); place.parent.mkdir(parents=True, exist_ok=True); place.write_text('..' + canary)"
    done = sealed(code)
    assert done.returncode == int(found), done.stderr
    assert (f"a recording lies in {place}" in done.stderr) is found


def test_only_what_tests_send_is_passed_over() -> None:
    assert is_a_test_s_own(Path("pytest-of-ann/pytest-0/test_x/a.WAV"))
    assert not is_a_test_s_own(Path("pytest-of-ann/pytest-0/test_x/data/a.wav"))


def test_the_marks_are_of_speech_and_differ() -> None:
    assert len(set(marks())) == len(marks()) >= 10


def test_a_name_is_read_from_a_question() -> None:
    assert question(b"\x03www\x07example\x03org\x00\x00\x01") == "www.example.org"
    assert question(b"\x3fcut off") == ""
