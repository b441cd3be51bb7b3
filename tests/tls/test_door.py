"""What the door admits, what it tells browsers, and how it keeps its certificate."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.errors import CertificateRefused, StartRefused
from appliance.tls import Door, built_in, open_door
from appliance.tls import door as module
from appliance.tls.credentials import read_credentials
from appliance.tls.door import load, server_context
from tests.tls.conftest import Clock, MakeSettings
from tests.tls.makers import DAY, NOW, customer_files, make


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"tls": "off", "host": "0.0.0.0"}, "everybody on the way could read"),
        ({"tls": "files"}, "needs a certificate and its key"),
        ({"tls": "acme"}, "needs an ACME server"),
        ({"tls": "acme", "acme_directory": "http://ca.lan/acme"}, "needs an ACME server"),
        ({"tls": "acme", "acme_directory": "https://ca.lan/acme"}, "which names to ask for"),
        ({"tls": "acme", "acme_directory": "https://ca.lan/acme", "tls_names": ["box.lan"]}, "over plain HTTP"),
        ({"tls_names": ["https://box"]}, "neither a host name nor an address"),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_remedy(settings: MakeSettings, changes: dict[str, object], what: str) -> None:
    with pytest.raises(StartRefused, match=what) as caught:
        open_door(settings(**changes))
    assert caught.value.hint


@pytest.mark.parametrize("changes", [{"host": "127.0.0.1"}, {"host": "::1"}, {"host": "0.0.0.0", "tls_off_confirmed": True}])
def test_tls_can_be_left_to_a_proxy(settings: MakeSettings, changes: dict[str, object]) -> None:
    door = open_door(settings(tls="off", **changes))
    assert door.context is None
    assert door.strict_transport_s == 0
    assert not settings().tls_path.exists()


def test_tls_1_3_alone() -> None:
    context = server_context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.maximum_version in (ssl.TLSVersion.MAXIMUM_SUPPORTED, ssl.TLSVersion.TLSv1_3)


# --- the Host header ---


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8443", "127.0.0.1:8443", "[::1]:8443", "10.9.8.7", "box.ward.example."])
def test_its_names_and_all_addresses_are_admitted(settings: MakeSettings, host: str) -> None:
    assert open_door(settings(tls_names=["box.ward.example"])).admits(host)


@pytest.mark.parametrize(
    "host", ["", "::1", "evil.example", "evil.example:8443", "localhost.evil.example", "*", "xlocalhost", "127.0.0.1.evil.example"]
)
def test_a_name_that_is_not_ours_is_not(settings: MakeSettings, host: str) -> None:
    """TRAPS 27: it would admit `*`."""
    assert not open_door(settings()).admits(host)


def test_names_of_the_customer_s_certificate_are_admitted(settings: MakeSettings, tmp_path: Path) -> None:
    files = customer_files(tmp_path)
    door = open_door(settings(tls="files", tls_certificate_file=files.certificate, tls_key_file=files.key))
    assert door.admits("box.ward.example")
    assert not door.admits("ward.example")


# --- HSTS ---


def test_hsts_is_short_until_an_administrator_has_confirmed(settings: MakeSettings) -> None:
    """TRAPS 29."""
    door = open_door(settings())
    assert door.strict_transport_s == 300
    door.confirm_trust()
    assert door.strict_transport_s == 365 * 86400
    assert open_door(settings()).strict_transport_s == 365 * 86400


def test_a_new_authority_must_be_confirmed_anew(settings: MakeSettings) -> None:
    door = open_door(settings())
    door.confirm_trust()
    built_in(settings()).renew_authority(datetime.now(UTC))
    asyncio.run(door.check())
    assert door.strict_transport_s == 300


def test_a_running_appliance_sees_what_the_command_confirmed(settings: MakeSettings) -> None:
    running = open_door(settings())
    open_door(settings()).confirm_trust()
    asyncio.run(running.check())
    assert running.trust_confirmed


# --- keeping ---


def test_time_passes_and_the_certificate_is_another(settings: MakeSettings, clock: Clock) -> None:
    door = open_door(settings(), clock)
    first = door.shown
    asyncio.run(door.check())
    assert door.shown == first
    clock.pass_(days=61)
    asyncio.run(door.check())
    assert door.shown
    assert first
    assert door.shown.not_after > first.not_after


def told_of(door: Door) -> list[str]:
    """What the audit log of a running appliance would hold of it: at its start, and after a look."""
    told: list[str] = []

    async def listen(change: str) -> None:
        told.append(change)

    async def run() -> None:
        await door.tell(listen)
        await door.check()

    asyncio.run(run())
    return told


def test_each_certificate_of_its_own_is_told_of_once_also_when_a_start_renews_it(settings: MakeSettings, clock: Clock) -> None:
    door = open_door(settings(), clock)
    assert told_of(door) == ["issued"]
    assert told_of(door) == []
    clock.pass_(days=61)
    assert told_of(door) == ["renewed"]
    clock.pass_(days=61)
    assert told_of(open_door(settings(), clock)) == ["renewed"]
    assert told_of(open_door(settings(), clock)) == []


def test_files_that_somebody_puts_there_are_told_of(settings: MakeSettings, tmp_path: Path) -> None:
    files, now = customer_files(tmp_path), datetime.now(UTC)
    chosen = settings(tls="files", tls_certificate_file=files.certificate, tls_key_file=files.key)
    door = open_door(chosen)
    assert told_of(door) == ["installed"]
    files.put(make("box", files.root, hosts=["box"], begins=now - DAY, ends=now + 50 * DAY))
    assert told_of(door) == ["installed"]
    assert told_of(open_door(chosen)) == []


def test_without_tls_there_is_nothing_to_tell(settings: MakeSettings) -> None:
    assert told_of(open_door(settings(tls="off"))) == []


def refused_replacements(now: datetime) -> list[Callable[[Path], None]]:
    def other_key(folder: Path) -> None:
        (folder / "box.key").write_bytes(make("other", hosts=["x"]).key_pem)

    def half_a_file(folder: Path) -> None:
        (folder / "box.crt").write_bytes((folder / "box.crt").read_bytes()[:300])

    def gone(folder: Path) -> None:
        (folder / "box.crt").unlink()

    def expired(folder: Path) -> None:
        old = make("box", hosts=["box"], begins=now - 9 * DAY, ends=now - DAY)
        (folder / "box.crt").write_bytes(old.pem)
        (folder / "box.key").write_bytes(old.key_pem)

    return [other_key, half_a_file, gone, expired]


@pytest.mark.parametrize("replace", refused_replacements(datetime.now(UTC)), ids=lambda replace: replace.__name__)
def test_a_bad_replacement_changes_nothing_and_is_said_once(
    settings: MakeSettings, tmp_path: Path, replace: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    files = customer_files(tmp_path)
    door = open_door(settings(tls="files", tls_certificate_file=files.certificate, tls_key_file=files.key))
    before = door.shown
    replace(tmp_path)
    for _ in range(3):
        asyncio.run(door.check())
    assert door.shown == before
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 1
    assert said[0].startswith("The certificate stays as it is. ")


def test_a_certificate_that_only_people_can_renew_is_announced(
    settings: MakeSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files, now = customer_files(tmp_path), datetime.now(UTC)
    files.put(make("box", files.root, hosts=["box"], begins=now - DAY, ends=now + 20 * DAY))
    door = open_door(settings(tls="files", tls_certificate_file=files.certificate, tls_key_file=files.key))
    asyncio.run(door.check())
    asyncio.run(door.check())
    assert caplog.text.count("it must be renewed") == 1


def test_a_certificate_that_openssl_refuses_leaves_the_one_in_use_alone() -> None:
    """Its bytes are sound, its key is another's: half of it would be loaded."""
    good, other = make("box", hosts=["localhost"]), make("other", hosts=["localhost"])
    context = server_context()
    load(context, read_credentials(good.pem, good.key_pem, NOW))
    wrong = read_credentials(other.pem, other.key_pem, NOW)
    with pytest.raises(CertificateRefused, match="OpenSSL refuses"):
        load(context, msgspec.structs.replace(wrong, pem=good.key_pem + other.pem))
    assert handshake(context, good.certificate.public_bytes(Encoding.PEM).decode()) == "TLSv1.3"


def handshake(server: ssl.SSLContext, trusted: str) -> str | None:
    """In memory. The protocol that was agreed on."""
    client = ssl.create_default_context(cadata=trusted)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    there = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (here, there, here, there):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return here.version()


def test_the_care_for_the_certificate_survives_what_nobody_foresaw(
    settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CHECK_EVERY_S", 0.0)
    door, seen = open_door(settings()), []

    async def fail() -> None:
        seen.append(1)
        if len(seen) == 3:
            raise asyncio.CancelledError
        raise RuntimeError("something new")

    monkeypatch.setattr(door, "check", fail)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(door.watch())
    assert caplog.text.count("could not be looked after") == 2
