"""Names that the operator writes, and names the machine has."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from pathlib import Path

import pytest

from appliance.errors import StartRefused
from appliance.tls import names
from appliance.tls.names import Names, configured_names, own_names


def test_names_and_addresses_are_told_apart() -> None:
    found = configured_names(["Box.Ward.example.", "10.0.0.5", "[fd00::5]", "fd00::6", "bücher.example"])
    assert found.dns == ("box.ward.example", "xn--bcher-kva.example")
    assert found.ips == (ip_address("10.0.0.5"), ip_address("fd00::5"), ip_address("fd00::6"))


@pytest.mark.parametrize("wrong", ["https://box", "box:8443", "", "a b", "*.ward.example", "-box", "10.0.0.0/8", "x" * 64])
def test_what_is_no_name_is_refused(wrong: str) -> None:
    with pytest.raises(StartRefused, match="APPLIANCE_TLS_NAMES") as caught:
        configured_names([wrong])
    assert "without a port" in caught.value.hint


def test_the_machine_is_always_itself() -> None:
    own = own_names()
    assert "localhost" in own.dns
    assert {ip_address("127.0.0.1"), ip_address("::1")} <= set(own.ips)


def test_domains_come_from_files_and_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server would learn of every start."""
    files = {
        "/etc/hosts": "127.0.0.1 localhost\n127.0.1.1 ward7.hospital.example ward7 # our own\n10.0.0.9 other.example other\n",
        "/etc/resolv.conf": "nameserver 10.0.0.1\nsearch lan clinic.example\n",
    }
    monkeypatch.setattr(socket, "gethostname", lambda: "Ward7")
    monkeypatch.setattr(Path, "read_text", lambda self, **_: files[str(self)])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("asked a name server"))
    found = own_names().dns
    assert set(found) == {"localhost", "ward7", "ward7.local", "ward7.hospital.example", "ward7.lan", "ward7.clinic.example"}


def test_the_host_name_that_a_container_engine_invents_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "3f2a91bc00de")
    assert own_names().dns == ("localhost",)


def test_addresses_that_need_a_zone_are_left_out() -> None:
    assert not any(address.version == 6 and address.is_link_local for address in own_names().ips)


def test_many_interfaces_do_not_make_an_endless_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [ip_address(f"172.17.{n // 256}.{n % 256}") for n in range(1000)]
    monkeypatch.setattr(names, "_own_addresses", lambda: iter(many))
    assert len(own_names().ips) == names.MAX_ADDRESSES


def test_sums_and_differences() -> None:
    left, right = configured_names(["a", "b", "10.0.0.1"]), configured_names(["b", "10.0.0.1"])
    assert left.without(right) == Names(("a",), ())
    assert right + left == left
    assert not left.without(left)
    assert str(left) == "a, b, 10.0.0.1"
