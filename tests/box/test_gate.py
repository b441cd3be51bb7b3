"""The gate passes bytes both ways, and the health check asks through TLS or without."""

from __future__ import annotations

import http.server
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.api.conftest import until
from tests.served import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
GATE = [str(ROOT / "docker/gate.py")]
IDLE_S = 0.2
IMPATIENT = [
    "-c",
    f"""
import asyncio, sys
sys.path.insert(0, {str(ROOT / "docker")!r})
import gate
gate.IDLE_S = {IDLE_S}
port, inner = map(int, sys.argv[2].split(":"))
asyncio.run(gate.main(sys.argv[1], {{port: inner}}))
""",
]


@contextmanager
def gate_to(inner_port: int) -> Iterator[int]:
    """Started as compose starts it; yields its port, and expects that it ends well."""
    with gate_process_to(inner_port) as (port, _):
        yield port


@contextmanager
def gate_process_to(inner_port: int, program: Sequence[str] = GATE) -> Iterator[tuple[int, psutil.Process]]:
    port = free_port()
    command = [sys.executable, "-I", "-S", *program, "127.0.0.1", f"{port}:{inner_port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "passed on" in process.stdout.readline()
        try:
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()
    assert process.returncode == 0


def answer_once(listener: socket.socket) -> None:
    """Reads until the other side has ended, and only then answers: a half-closed connection must get through."""
    connection, _ = listener.accept()
    with connection:
        heard = b"".join(iter(lambda: connection.recv(65536), b""))
        connection.sendall(b"heard %d" % len(heard))


def test_a_recording_goes_in_and_the_answer_comes_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as inner:
        threading.Thread(target=answer_once, args=(inner,), daemon=True).start()
        with gate_to(inner.getsockname()[1]) as port, socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"x" * 5_000_000)
            client.shutdown(socket.SHUT_WR)
            assert b"".join(iter(lambda: client.recv(100), b"")) == b"heard 5000000"


def test_while_the_appliance_is_away_connections_are_closed_at_once() -> None:
    with gate_to(free_port()) as port, socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        assert client.recv(100) == b""


def test_a_client_that_stays_after_the_appliance_has_ended_takes_nobodys_place() -> None:
    """Else two thousand silent clients would keep everybody out."""
    with socket.create_server(("127.0.0.1", 0)) as inner, gate_process_to(inner.getsockname()[1]) as (port, gate):
        nobody = gate.num_fds()
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            served, _ = inner.accept()
            assert gate.num_fds() == nobody + 2
            served.close()
            assert client.recv(100) == b""
            assert until(lambda: gate.num_fds() == nobody)


def speak_now_and_then(listener: socket.socket, word: bytes) -> None:
    connection, _ = listener.accept()
    with connection, suppress(ConnectionError):
        for _ in range(5):
            time.sleep(IDLE_S / 2)
            connection.sendall(word)
        connection.sendall(b"end")


@pytest.mark.slow
@pytest.mark.parametrize(("word", "received"), [(b"", b""), (b".", b".....end")], ids=["nothing moves", "an event now and then"])
def test_a_connection_on_which_nothing_moves_ends(word: bytes, received: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inner:
        threading.Thread(target=speak_now_and_then, args=(inner, word), daemon=True).start()
        with (
            gate_process_to(inner.getsockname()[1], IMPATIENT) as (port, _),
            socket.create_connection(("127.0.0.1", port), timeout=10) as client,
        ):
            assert b"".join(iter(lambda: client.recv(100), b"")) == received


@contextmanager
def health_server(status: int) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def check_health(port: int, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", str(ROOT / "docker/healthcheck.py")]
    env = {"PATH": os.environ["PATH"], "APPLIANCE_PORT": str(port), **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.slow
def test_an_answering_appliance_is_healthy_and_a_failing_one_is_not() -> None:
    with health_server(200) as port:
        assert check_health(port, APPLIANCE_TLS="off").returncode == 0
    with health_server(500) as port:
        failing = check_health(port, APPLIANCE_TLS="off")
    assert failing.returncode == 1
    assert "status 500" in failing.stdout


def test_nobody_there_is_said_in_a_sentence() -> None:
    done = check_health(free_port())
    assert done.returncode == 1
    assert re.match("The appliance does not answer: .*refused", done.stdout)


def test_the_port_may_stand_in_the_settings_file(tmp_path: Path) -> None:
    with health_server(200) as port:
        (tmp_path / "appliance.toml").write_text(f'port = {port}\ntls = "off"\n')
        environment = {"PATH": os.environ["PATH"], "APPLIANCE_CONFIG": str(tmp_path / "appliance.toml")}
        command = [sys.executable, "-I", "-S", str(ROOT / "docker/healthcheck.py")]
        assert subprocess.run(command, env=environment, check=False, timeout=30).returncode == 0
