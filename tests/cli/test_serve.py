"""How `appliance serve` starts: what it refuses, what it says, what it leaves to the appliance's own log."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from appliance.api.access_log import AccessLog
from appliance.app import create_app, stop_jobs
from appliance.cli import keys, serve
from appliance.cli.serve import (
    AnnouncingServer,
    announcement,
    listening_socket,
    plain_socket,
    server_config,
    start_logging,
)
from appliance.errors import LinkSpent, StartRefused
from appliance.settings import Settings
from appliance.store import held_alone
from appliance.tls import open_door

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
            listening_socket("127.0.0.1", taken.getsockname()[1])
        assert "--port" in caught.value.hint
        with pytest.raises(StartRefused) as caught:
            plain_socket(settings(http_port=taken.getsockname()[1]))
    assert "APPLIANCE_HTTP_PORT" in caught.value.hint


def test_port_0_is_a_free_one() -> None:
    with listening_socket("127.0.0.1", 0) as listener:
        assert listener.getsockname()[1] > 0


def test_the_web_servers_own_log_of_requests_is_off(settings: MakeSettings) -> None:
    """TRAPS 3: that log holds query strings, and on WebSockets the key stands in them."""
    assert server_config(create_app(settings()), open_door(settings())).access_log is False


def test_only_behind_a_proxy_somebody_else_speaks_for_a_client(settings: MakeSettings) -> None:
    """Else any program of this machine could sign in as if it came from elsewhere."""
    for mode, believed in (("builtin", False), ("off", True)):
        chosen = settings(tls=mode)
        assert server_config(create_app(chosen), open_door(chosen)).proxy_headers is believed


def announced(settings: Settings, address: str = "https://127.0.0.1:8443") -> str:
    return "\n".join(asyncio.run(announcement(settings, address, open_door(settings))))


def test_the_first_start_says_what_is_missing(settings: MakeSettings) -> None:
    said = announced(settings())
    assert "https://127.0.0.1:8443" in said
    assert "appliance models fetch" in said
    assert "appliance keys create" in said
    assert "not encrypted" not in said


def test_the_fingerprint_to_compare_is_said_until_somebody_has_confirmed_it(settings: MakeSettings) -> None:
    door = open_door(settings())
    assert door.authority
    assert door.authority.fingerprint in announced(settings())
    assert "https://127.0.0.1:8443/trust" in announced(settings())
    door.confirm_trust()
    assert "/trust" not in announced(settings())


def setup_link(said: str) -> str:
    return said.partition("https://127.0.0.1:8443/#setup/")[2].split()[0]


def test_the_first_start_prints_a_link_that_makes_one_administrator(settings: MakeSettings) -> None:
    """Each start until then has a new one, and the one before ends."""

    async def set_up(token: str, name: str) -> None:
        async with keys.opened_store(settings()) as store:
            await store.people.set_up(token, name, f"{name}@example.org", "correct horse battery")

    old, new = setup_link(announced(settings())), setup_link(announced(settings()))
    assert len(new) == 43
    with pytest.raises(LinkSpent):
        asyncio.run(set_up(old, "eve"))
    asyncio.run(set_up(new, "ann"))
    assert "#setup" not in announced(settings())
    with pytest.raises(LinkSpent):
        asyncio.run(set_up(new, "eve"))


def test_listening_on_the_network_without_tls_is_said_plainly(settings: MakeSettings) -> None:
    plain = settings(host="0.0.0.0", tls="off", tls_off_confirmed=True)
    assert "not encrypted" in announced(plain, "http://box:8080")
    assert "not encrypted" not in announced(settings(host="0.0.0.0"))


@pytest.mark.slow
@pytest.mark.usefixtures("settings")
def test_a_start_that_is_refused_is_a_sentence_without_a_traceback() -> None:
    env = {**os.environ, "APPLIANCE_CATALOGUE_DIR": "/nowhere"}
    done = subprocess.run(SERVE, capture_output=True, text=True, timeout=60, check=False, env=env)
    assert done.returncode == 1
    assert "There is no model catalogue in /nowhere. Set APPLIANCE_CATALOGUE_DIR" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_jobs_end_while_the_appliance_still_answers(settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who watches `/readyz` learns that it is draining, and who waits for a text still gets it."""
    statuses: list[tuple[int, str]] = []

    async def ask_meanwhile(app: AccessLog) -> None:
        await stop_jobs(app)
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{listener.getsockname()[1]}/readyz")
        statuses.append((answer.status_code, answer.json()["reason"]))

    monkeypatch.setattr(serve, "stop_jobs", ask_meanwhile)
    with listening_socket("127.0.0.1", 0) as listener:
        server = AnnouncingServer(settings(tls="off"), listener, open_door(settings(tls="off")))
        asyncio.run(stopped(server, listener))
    assert statuses == [(503, "shutting down")]


async def stopped(server: AnnouncingServer, listener: socket.socket) -> None:
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup([listener])
    await server.shutdown([listener])


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_wait_for_jobs(settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forever(app: AccessLog) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(serve, "stop_jobs", forever)
    with listening_socket("127.0.0.1", 0) as listener:
        server = AnnouncingServer(settings(), listener, open_door(settings()))
        server.force_exit = True

        async def shut() -> None:
            server.servers = []
            async with asyncio.timeout(10):
                await server.shutdown([])

        asyncio.run(shut())


@pytest.mark.slow
def test_a_data_folder_that_another_appliance_uses_is_refused(settings: MakeSettings) -> None:
    """It would mark the other one's running jobs as interrupted."""
    with held_alone(settings().database_path):
        done = subprocess.run(SERVE, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Another appliance uses this data folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def _logging_as_it_was() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("", "httpx", "httpcore", "uvicorn.error")]
    before = [(logger.level, logger.handlers[:], logger.filters[:]) for logger in loggers]
    yield
    for logger, (level, handlers, filters) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:], logger.filters[:] = handlers, filters


@pytest.mark.usefixtures("_logging_as_it_was")
@pytest.mark.parametrize("level", ["debug", "info", "error"])
def test_addresses_of_webhooks_are_not_logged(settings: MakeSettings, level: str) -> None:
    start_logging(settings(log_level=level))
    for name in ("httpx", "httpcore.http11"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)
        assert logging.getLogger(name).isEnabledFor(logging.WARNING) == (level != "error")


@pytest.mark.slow
@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(
    "entering",
    [
        "serve.serve(host='192.0.2.1', port=0, device=None)",  # an address of no machine
        "asyncio.run(local.local_transcriber(Settings(catalogue_dir='/nowhere')).__aenter__())",
    ],
)
def test_the_process_that_takes_recordings_leaves_no_dump(entering: str) -> None:
    """TRAPS 5, for the processes that are not workers: each is stopped right after its first step."""
    code = f"""
import asyncio, ctypes, resource
from appliance.cli import local, serve
from appliance.errors import ApplianceError
from appliance.settings import Settings
try:
    {entering}
except ApplianceError:
    print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "0 0 0\n", done.stderr


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
