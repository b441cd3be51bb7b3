"""A recording's way over TLS, as a person on the same machine sends it: real appliance, real model, real command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recordings import telephone_call
from tests.served import serve

pytestmark = pytest.mark.engine


def test_the_command_line_transcribes_over_tls_and_an_administrator_confirms(tmp_path: Path) -> None:
    with serve(tmp_path, env={"APPLIANCE_TLS": "builtin"}) as served:
        assert served.url.startswith("https://")
        command = [sys.executable, "-m", "appliance.cli", "transcribe", "--server", served.url, str(telephone_call())]
        env = {**os.environ, "APPLIANCE_DATA_DIR": str(served.data_dir), "APPLIANCE_KEY": served.key}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stderr
        assert "hello" in done.stdout.lower()

        with served.client() as client:
            assert client.get("/healthz").headers["strict-transport-security"] == "max-age=300"
            answer = client.post("/v1/tls/confirm")
            assert (answer.status_code, answer.json()["confirmed"]) == (200, True)
            assert client.get("/healthz").headers["strict-transport-security"] == "max-age=31536000"
