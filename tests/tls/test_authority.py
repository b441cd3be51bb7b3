"""The built-in authority: what it may vouch for, and what OpenSSL makes of what it may not."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.errors import CertificateRefused
from appliance.tls.authority import AUTHORITY_LIFE, LEAF_LIFE, Authority, make_authority, read_authority
from appliance.tls.credentials import Credentials
from appliance.tls.names import configured_names
from tests.tls.makers import NOW, make

NAMES = configured_names(["localhost", "box.ward.example", "10.0.0.5", "203.0.113.7", "2001:db8:1:2::7"])


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority(NAMES, "box", NOW)


def openssl_says(authority: Authority, leaf: bytes, folder: Path, *asking: str) -> str:
    (folder / "ca.pem").write_bytes(authority.pem)
    (folder / "leaf.pem").write_bytes(leaf)
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-attime", str(int(NOW.timestamp()))]
    files = ["-CAfile", str(folder / "ca.pem"), str(folder / "leaf.pem")]
    done = subprocess.run([*command, *asking, *files], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_it_can_sign_servers_of_its_own_and_no_further_authority(authority: Authority) -> None:
    extensions = authority.certificate.extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    constraints = extensions.get_extension_for_class(x509.NameConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature
    assert constraints.critical
    public = authority.certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.curve.name == "secp256r1"
    assert authority.not_after - NOW == AUTHORITY_LIFE


@pytest.mark.parametrize("name", ["localhost", "box.ward.example", "10.0.0.5", "203.0.113.7", "192.168.7.7", "fd00::1"])
def test_openssl_accepts_what_it_permits(authority: Authority, tmp_path: Path, name: str) -> None:
    leaf = authority.issue(configured_names([name]), NOW)
    asking = ("-verify_ip", name) if leaf.names.ips else ("-verify_hostname", name)
    assert openssl_says(authority, leaf.pem, tmp_path, *asking).endswith("leaf.pem: OK\n")


@pytest.mark.parametrize("host", ["bank.example", "ward.example", "other.ward.example", "xbox.ward.example"])
def test_a_stolen_key_is_of_no_use_for_other_sites(authority: Authority, tmp_path: Path, host: str) -> None:
    """Signed with the authority's own key, past our own check: the constraints are what clients look at."""
    key = serialization.load_pem_private_key(authority.pem_with_key, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    forged = make("forged", type("Signer", (), {"certificate": authority.certificate, "key": key})(), hosts=[host])
    assert "permitted subtree violation" in openssl_says(authority, forged.pem, tmp_path)


@pytest.mark.parametrize("beyond", ["bank.example", "203.0.113.8", "2001:db8:1:3::1", "ward.example"])
def test_names_beyond_it_are_left_out_of_a_leaf(authority: Authority, beyond: str) -> None:
    """One such name would make clients refuse the whole certificate."""
    leaf = authority.issue(NAMES + configured_names([beyond]), NOW)
    assert leaf.names == NAMES


def test_hosts_of_a_public_ipv6_subnet_change_their_addresses(authority: Authority) -> None:
    assert authority.permitted_of(configured_names(["2001:db8:1:2:aaaa::1"])).ips


def test_a_leaf_is_a_server_s_and_short_lived(authority: Authority) -> None:
    leaf = authority.issue(NAMES, NOW)
    assert leaf.not_after - NOW == LEAF_LIFE
    assert timedelta(days=397) > LEAF_LIFE
    assert leaf.certificate.not_valid_before_utc < NOW  # for clocks that are behind
    basic = leaf.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca) == (True, False)


def test_a_leaf_never_outlives_its_authority(authority: Authority) -> None:
    leaf = authority.issue(NAMES, authority.not_after - timedelta(days=10))
    assert leaf.not_after == authority.not_after


def test_a_certificate_is_due_when_a_third_of_its_time_is_left(authority: Authority) -> None:
    leaf: Credentials = authority.issue(NAMES, NOW)
    assert not leaf.is_due(NOW + timedelta(days=59))
    assert leaf.is_due(NOW + timedelta(days=61))
    assert leaf.is_due(NOW - timedelta(days=2))  # the clock was ahead when it was made


def test_it_survives_the_disk(authority: Authority) -> None:
    again = read_authority(authority.pem_with_key)
    assert again.fingerprint == authority.fingerprint
    assert again.issue(NAMES, NOW).names == NAMES


@pytest.mark.parametrize("damage", [b"", b"-----BEGIN CERTIFICATE-----\nabc\n"])
def test_a_damaged_one_is_said_with_a_remedy(damage: bytes) -> None:
    with pytest.raises(CertificateRefused, match="damaged") as caught:
        read_authority(damage)
    assert "trust renew --authority" in caught.value.hint


def test_a_key_of_another_authority_is_damage(authority: Authority) -> None:
    other = make_authority(NAMES, "box", NOW)
    with pytest.raises(CertificateRefused):
        read_authority(other.pem_with_key.replace(other.pem, authority.pem))


def test_two_of_them_can_be_told_apart() -> None:
    first, second = make_authority(NAMES, "h" * 64, NOW), make_authority(NAMES, "h" * 64, NOW)
    assert first.name != second.name
