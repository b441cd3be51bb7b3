"""How `appliance serve` starts: what it refuses, what it says, what it leaves to the appliance's own log."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from appliance.cli import keys
from appliance.cli.serve import announcement, listening_socket, server_config
from appliance.errors import StartRefused
from appliance.settings import Settings

MakeSettings = Callable[..., Settings]
SERVE = [sys.executable, "-m", "appliance.cli", "serve", "--port", "0"]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeSettings:
    monkeypatch.setenv("APPLIANCE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("APPLIANCE_MODELS_DIR", str(tmp_path / "models"))
    return lambda **changes: Settings(device="cpu", **changes)


def test_a_taken_port_is_refused_before_anything_starts(settings: MakeSettings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StartRefused, match="Address already in use") as caught:
            listening_socket(settings(port=taken.getsockname()[1]))
    assert "--port" in caught.value.hint


def test_port_0_is_a_free_one(settings: MakeSettings) -> None:
    with listening_socket(settings(port=0)) as listener:
        assert listener.getsockname()[1] > 0


def test_the_web_servers_own_log_of_requests_is_off(settings: MakeSettings) -> None:
    """TRAPS 3: that log holds query strings, and on WebSockets the key stands in them."""
    assert server_config(settings()).access_log is False


def test_the_first_start_says_what_is_missing(settings: MakeSettings) -> None:
    said = "\n".join(asyncio.run(announcement(settings(), "http://127.0.0.1:8080")))
    assert "http://127.0.0.1:8080" in said
    assert "appliance models fetch" in said
    assert "appliance keys create" in said
    assert "not encrypted" not in said


def test_a_site_with_a_key_is_not_told_to_make_one(settings: MakeSettings) -> None:
    CliRunner().invoke(keys.app, ["create", "somebody"])
    assert "keys create" not in "\n".join(asyncio.run(announcement(settings(), "http://127.0.0.1:8080")))


def test_listening_on_the_network_is_said_plainly(settings: MakeSettings) -> None:
    """Until TLS comes, what is sent over the network can be read there."""
    said = "\n".join(asyncio.run(announcement(settings(host="0.0.0.0"), "http://box:8080")))
    assert "not encrypted" in said


@pytest.mark.usefixtures("settings")
def test_a_start_that_is_refused_is_a_sentence_without_a_traceback() -> None:
    env = {**os.environ, "APPLIANCE_CATALOGUE_DIR": "/nowhere"}
    done = subprocess.run(SERVE, capture_output=True, text=True, timeout=60, check=False, env=env)
    assert done.returncode == 1
    assert "There is no model catalogue in /nowhere. Set APPLIANCE_CATALOGUE_DIR" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.engine
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("settings")
def test_it_says_where_it_is_and_stops_when_asked(ending: signal.Signals) -> None:
    process = subprocess.Popen(SERVE, stderr=subprocess.PIPE, text=True, env={**os.environ, "APPLIANCE_DEVICE": "cpu"})
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("Ctrl-C stops it."):
                break
            assert "Traceback" not in line
        process.send_signal(ending)
        rest = process.communicate(timeout=60)[1]
    assert process.returncode == 0
    assert rest.endswith("Stopped.\n")
