"""`tls=acme` against Pebble, the ACME server that Let's Encrypt tests clients with: a real one, in its own process.

It hands out a random authority at each start, refuses a third of all nonces, and asks the appliance over HTTP as any server would.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from appliance.errors import CertificateNotObtained
from appliance.settings import Settings
from appliance.tls import door, open_door
from appliance.tls.acme_server import ACCOUNT_FILE, FIRST_RETRY, LEAF_FILE, AcmeServer, AcmeSite
from appliance.tls.authority import make_authority
from appliance.tls.builtin import BuiltIn
from appliance.tls.names import configured_names
from appliance.tls.private_folder import PrivateFolder
from tests.served import free_port
from tests.tls.conftest import Clock, MakeSettings
from tests.tls.live import Live, live, wait_until
from tests.tls.makers import make

MANNERS = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "33"}  # in percent: of its own accord one in twenty

needs_pebble = pytest.mark.skipif(shutil.which("pebble") is None, reason="Debian's package pebble is not installed")


@dataclass(frozen=True)
class Pebble:
    directory: str
    management: str
    ca_file: Path  # of its own HTTPS
    asks_port: int  # the plain HTTP port of appliances

    def root_of_what_it_issues(self, folder: Path) -> Path:
        trust = ssl.create_default_context(cafile=self.ca_file)
        root = folder / "acme-root.pem"
        root.write_text(httpx.get(f"{self.management}/roots/0", verify=trust, trust_env=False).text)
        return root

    def settings(self, make: MakeSettings, **changes: object) -> Settings:
        acme = {"tls": "acme", "acme_directory": self.directory, "acme_ca_file": self.ca_file, "http_port": self.asks_port}
        return make(**{**acme, "tls_names": ["localhost"], "acme_contact": "ops@ward.example", **changes})


@pytest.fixture
def pebble(tmp_path: Path) -> Iterator[Pebble]:
    folder = tmp_path / "pebble"
    folder.mkdir()
    authority = make_authority(configured_names(["localhost"]), "pebble", datetime.now(UTC))
    (folder / "server.pem").write_bytes(authority.issue(configured_names(["localhost"]), datetime.now(UTC)).pem)
    (folder / "ca.pem").write_bytes(authority.pem)
    port, management, asks = free_port(), free_port(), free_port()
    config = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(folder / "server.pem"),
        "privateKey": str(folder / "server.pem"),
        "httpPort": asks,
        "tlsPort": free_port(),
    }
    (folder / "config.json").write_text(json.dumps({"pebble": config}))
    with (folder / "log.txt").open("wb") as log:
        command = ["pebble", "-config", str(folder / "config.json")]
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **MANNERS})
    try:
        made = Pebble(f"https://localhost:{port}/dir", f"https://localhost:{management}", folder / "ca.pem", asks)
        _wait_for(made)
        yield made
    finally:
        process.kill()
        process.wait()


def _wait_for(pebble: Pebble) -> None:
    trust, end = ssl.create_default_context(cafile=pebble.ca_file), time.monotonic() + 20
    while time.monotonic() < end:
        try:
            if httpx.get(pebble.directory, verify=trust, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("pebble did not start")


def issuer(running: Live) -> str:
    credentials = running.door._view.credentials
    assert credentials
    return credentials.certificate.issuer.rfc4514_string()


@pytest.mark.slow
@needs_pebble
def test_a_certificate_is_obtained_and_renewed_while_the_appliance_serves(
    pebble: Pebble, settings: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "CHECK_EVERY_S", 0.1)
    with live(pebble.settings(settings)) as running:
        wait_until(lambda: "Pebble" in issuer(running))
        with running.client(pebble.root_of_what_it_issues(tmp_path)) as client:
            assert client.get("/healthz").status_code == 200
            assert client.get("/v1/tls").json()["authority"] is None
        first = running.shown_serial()
        running.door._clock = lambda: datetime.now(UTC) + timedelta(days=365 * 4)  # of five years
        wait_until(lambda: running.shown_serial() != first)
        with running.client(pebble.root_of_what_it_issues(tmp_path)) as client:
            assert client.get("/healthz").status_code == 200
        wait_until(lambda: running.door.answers == {})  # by that clock it asks again and again
    modes = {path.name: path.stat().st_mode & 0o777 for path in running.settings.tls_path.iterdir()}
    assert modes[ACCOUNT_FILE] == modes[LEAF_FILE] == 0o600


@pytest.mark.slow
@needs_pebble
def test_the_next_start_has_the_certificate_without_asking(pebble: Pebble, settings: MakeSettings) -> None:
    site = pebble.settings(settings)
    with live(site) as running:
        wait_until(lambda: "Pebble" in issuer(running))
    away = open_door(pebble.settings(settings, acme_directory="https://localhost:1/dir"))
    assert away.shown == running.door.shown


@pytest.mark.slow
@needs_pebble
def test_the_account_is_used_again(pebble: Pebble, settings: MakeSettings) -> None:
    site = pebble.settings(settings)
    with live(site) as running:
        wait_until(lambda: "Pebble" in issuer(running))
        account = (site.tls_path / ACCOUNT_FILE).read_bytes()
        (site.tls_path / LEAF_FILE).unlink()
        before = running.shown_serial()
        asyncio.run(running.door.check())
        assert running.shown_serial() != before
    assert (site.tls_path / ACCOUNT_FILE).read_bytes() == account


@pytest.mark.slow
@needs_pebble
def test_an_appliance_that_cannot_be_asked_says_so_and_serves_on(
    pebble: Pebble, settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(door, "CHECK_EVERY_S", 0.1)
    with live(pebble.settings(settings, http_port=free_port())) as running:
        wait_until(lambda: "could not prove that this appliance is localhost" in caplog.text)
        with running.client() as client:  # the built-in authority stands in
            assert client.get("/healthz").status_code == 200
    assert "APPLIANCE_HTTP_PORT" in caplog.text


# --- without a server ---


@dataclass
class Site:
    folder: PrivateFolder
    clock: Clock

    def server(self, directory: str, ca_file: Path | None = None) -> AcmeServer:
        names = configured_names(["localhost"])
        until_then = BuiltIn(self.folder, lambda: names, names)
        return AcmeServer(AcmeSite(directory, names, ca_file), self.folder, until_then, {})


@pytest.fixture
def site(tmp_path: Path, clock: Clock) -> Site:
    return Site(PrivateFolder(tmp_path / "tls"), clock)


def test_a_server_that_is_down_is_asked_again_ever_more_rarely(site: Site) -> None:
    server = site.server(f"https://localhost:{free_port()}/dir")
    stand_in = server.at_start(site.clock())
    assert stand_in.names.ips == ()
    tried = []
    for minute in range(60):
        try:
            assert server.credentials(site.clock()).pem == stand_in.pem
        except CertificateNotObtained:
            tried.append(minute)
        site.clock.pass_(minutes=1)
    assert timedelta(minutes=1) == FIRST_RETRY
    assert tried == [0, 1, 3, 7, 15, 31]


@needs_pebble
def test_an_authority_that_is_not_known_is_said(site: Site, pebble: Pebble) -> None:
    with pytest.raises(CertificateNotObtained, match="not known here") as caught:
        site.server(pebble.directory).credentials(site.clock())
    assert "APPLIANCE_ACME_CA_FILE" in caught.value.hint


def test_a_name_that_was_added_needs_another_certificate(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    kept = make_authority(configured_names(["box"]), "x", site.clock()).issue(configured_names(["box"]), site.clock())
    site.folder.write(LEAF_FILE, kept.pem)
    assert "localhost" in site.server("https://localhost:1/dir").at_start(site.clock()).names.dns
    site.folder.write(LEAF_FILE, b"rubbish")
    with caplog.at_level(logging.WARNING):
        site.server("https://localhost:1/dir").at_start(site.clock())
    assert "holds no certificate" in caplog.text


def test_a_clock_a_little_behind_the_server_s_does_no_harm(site: Site) -> None:
    """What was made this second is not valid yet: Pebble showed it."""
    fresh = make("localhost", hosts=["localhost"], begins=site.clock() + timedelta(seconds=30))
    site.folder.write(LEAF_FILE, fresh.key_pem + fresh.pem)
    server = site.server(f"https://localhost:{free_port()}/dir")
    assert server.at_start(site.clock()).certificate == fresh.certificate
    assert server.credentials(site.clock()).certificate == fresh.certificate
