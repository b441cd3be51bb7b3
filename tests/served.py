"""A real appliance in its own process, as an operator would start it, for tests that go through the front door."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

START_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Served:
    url: str
    key: str
    process: subprocess.Popen[bytes]
    data_dir: Path
    log: Path

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def client(self, timeout_s: float = 300.0) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=timeout_s, verify=self.trust())

    def trust(self) -> ssl.SSLContext | bool:
        """What a client needs that checks the certificate; there is none without TLS."""
        if self.url.startswith("http:"):
            return True
        return ssl.create_default_context(cafile=self.data_dir / "tls" / "ca.pem")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(data_dir: Path, port: int, extra: Mapping[str, str]) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/root"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "APPLIANCE_DATA_DIR": str(data_dir),
        "APPLIANCE_PORT": str(port),
        "APPLIANCE_DEVICE": "cpu",
        "APPLIANCE_TLS": "off",
        **extra,
    }


def create_key(env: Mapping[str, str], *scopes: str) -> str:
    name = f"test-{secrets.token_hex(4)}"
    command = [sys.executable, "-m", "appliance.cli", "keys", "create", name, "--quiet"]
    for scope in scopes or ("transcribe", "read", "write", "admin"):
        command += ["--scope", scope]
    made = subprocess.run(command, env=dict(env), check=False, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


@contextmanager
def serve(work_dir: Path, *, env: Mapping[str, str] | None = None, wrapper: Sequence[str] = ()) -> Iterator[Served]:
    """Starts `appliance serve` (under `wrapper`, e.g. strace), waits until it is ready, and stops it as Ctrl-C would.

    It speaks plain HTTP unless `env` says `APPLIANCE_TLS=builtin`.
    """
    data_dir, log, port = work_dir / "data", work_dir / "log.txt", free_port()
    full_env = environment(data_dir, port, env or {})
    key = create_key(full_env)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*wrapper, sys.executable, "-m", "appliance.cli", "serve"],
            env=full_env,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    scheme = "http" if full_env["APPLIANCE_TLS"] == "off" else "https"
    served = Served(f"{scheme}://127.0.0.1:{port}", key, process, data_dir, log)
    try:
        wait_until_ready(served)
        yield served
    finally:
        stop(process)


def wait_until_ready(served: Served, timeout_s: float = START_TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if served.process.poll() is not None:
            raise AssertionError(f"the appliance stopped while starting:\n{served.log.read_text()[-4000:]}")
        try:
            if httpx.get(f"{served.url}/readyz", timeout=5, verify=served.trust()).status_code == 200:
                return
        except (httpx.TransportError, FileNotFoundError):  # the port is not open yet, or its authority not made
            pass
        time.sleep(0.1)
    raise AssertionError(f"not ready after {timeout_s:.0f} s:\n{served.log.read_text()[-4000:]}")


def stop(process: subprocess.Popen[bytes], timeout_s: float = 60.0) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
