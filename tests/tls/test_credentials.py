"""A customer's certificate is judged at the start, in sentences."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from appliance.errors import CertificateRefused
from appliance.tls.credentials import read_credentials
from tests.tls.makers import DAY, NOW, key_pem, make

ROOT = make("Root", ends=NOW + 900 * DAY)
MIDDLE = make("Middle", ROOT, ends=NOW + 400 * DAY)
LEAF = make("box", MIDDLE, hosts=["box.ward.example"])


def refusal(chain: bytes, key: bytes) -> str:
    with pytest.raises(CertificateRefused) as caught:
        read_credentials(chain, key, NOW, "The certificate /etc/box.crt")
    assert caught.value.hint
    return caught.value.message


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)])
def test_a_sound_chain_is_read(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    leaf = make("box", MIDDLE, hosts=["box.ward.example"], key=key)
    read = read_credentials(leaf.pem + MIDDLE.pem + ROOT.pem, leaf.key_pem, NOW)
    assert read.names.dns == ("box.ward.example",)
    assert len(read.chain) == 3
    assert read_credentials(read.pem, read.pem, NOW).pem == read.pem


def test_a_certificate_that_signed_itself_is_read() -> None:
    own = make("box", hosts=["box.ward.example"])
    assert read_credentials(own.pem, own.key_pem, NOW).certificate == own.certificate


def test_a_key_of_another_certificate() -> None:
    assert refusal(LEAF.pem, MIDDLE.key_pem) == "The private key does not belong to the certificate."


def test_the_server_s_own_must_come_first() -> None:
    assert "wrong order" in refusal(MIDDLE.pem + LEAF.pem, LEAF.key_pem)


def test_each_is_signed_by_the_next() -> None:
    assert "'CN=box' was not signed by 'CN=Root'" in refusal(LEAF.pem + ROOT.pem + MIDDLE.pem, LEAF.key_pem)


def test_an_expired_one_is_dated() -> None:
    old = make("box", MIDDLE, hosts=["box"], begins=NOW - 100 * DAY, ends=NOW - DAY)
    assert "has expired: 'CN=box' was valid until 2026-11-21 12:00 UTC" in refusal(old.pem, old.key_pem)


def test_an_expired_one_in_the_chain_counts() -> None:
    middle = make("Middle", ROOT, begins=NOW - 100 * DAY, ends=NOW - DAY)
    leaf = make("box", middle, hosts=["box"])
    assert "'CN=Middle'" in refusal(leaf.pem + middle.pem, leaf.key_pem)


def test_one_that_is_not_valid_yet_asks_for_the_clock() -> None:
    soon = make("box", MIDDLE, hosts=["box"], begins=NOW + DAY)
    assert "not valid yet" in refusal(soon.pem, soon.key_pem)


@pytest.mark.parametrize(
    ("key", "what"),
    [
        (rsa.generate_private_key(65537, 1024), "RSA key of 1024 bits"),
        (ec.generate_private_key(ec.SECP224R1()), "elliptic curve key of 224 bits"),
    ],
)
def test_weak_keys(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, what: str) -> None:
    leaf = make("box", MIDDLE, hosts=["box"], key=key)
    assert what in refusal(leaf.pem, leaf.key_pem)


def test_a_key_that_browsers_do_not_take() -> None:
    leaf = make("box", MIDDLE, hosts=["box"], key=ed25519.Ed25519PrivateKey.generate())
    assert "Browsers take no certificate" in refusal(leaf.pem, leaf.key_pem)


def test_a_passphrase_that_nobody_can_type() -> None:
    assert "passphrase" in refusal(LEAF.pem, key_pem(LEAF.key, b"secret"))


@pytest.mark.parametrize("rubbish", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nabc\n"])
def test_rubbish(rubbish: bytes) -> None:
    assert "no certificate in PEM form" in refusal(rubbish, LEAF.key_pem)
    assert "private key cannot be read" in refusal(LEAF.pem, rubbish)


def test_a_certificate_without_names() -> None:
    assert "names no host" in refusal(ROOT.pem, ROOT.key_pem)


def test_a_certificate_for_clients() -> None:
    leaf = make("box", MIDDLE, hosts=["box"], usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    assert "not made for servers" in refusal(leaf.pem, leaf.key_pem)
