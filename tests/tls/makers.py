"""Certificates as a customer's authority would make them, good and bad ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Made:
    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return key_pem(self.key)


def key_pem(key: Key, passphrase: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def make(
    name: str,
    signer: Made | None = None,
    *,
    hosts: Sequence[str] = (),
    key: Key | None = None,
    begins: datetime = NOW - DAY,
    ends: datetime = NOW + 90 * DAY,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
) -> Made:
    """A leaf when it has `hosts`, else an authority; signed by itself without a signer."""
    own_key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject if signer else subject)
        .public_key(own_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=not hosts, path_length=None), critical=True)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    signing = signer.key if signer else own_key
    algorithm = None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Made(builder.sign(signing, algorithm), own_key)


@dataclass(frozen=True)
class CustomerFiles:
    """A chain of two and its key, on the disk as an administrator would put it there."""

    root: Made
    certificate: Path
    key: Path

    def put(self, leaf: Made, *more: Made) -> None:
        self.certificate.write_bytes(b"".join(made.pem for made in (leaf, *more)))
        self.key.write_bytes(leaf.key_pem)
        self.key.chmod(0o600)


def customer_files(folder: Path, **leaf: object) -> CustomerFiles:
    begins = datetime.now(UTC) - DAY
    root = make("Ward Root", begins=begins, ends=begins + 900 * DAY)
    files = CustomerFiles(root, folder / "box.crt", folder / "box.key")
    files.put(make("box", root, hosts=["localhost", "box.ward.example"], begins=begins, ends=begins + 60 * DAY))
    return files
