"""A certificate with its chain and key, read and judged: bytes in, sound credentials or a sentence out. No files, no network."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from appliance.domain import Value
from appliance.errors import CertificateRefused
from appliance.tls.names import Names, collected

MIN_RSA_BITS = 2048
MIN_CURVE_BITS = 256
WEAK_HASHES = (hashes.MD5, hashes.SHA1)

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class Credentials(Value, frozen=True):
    """What a server shows and proves. `pem`: the key, then the chain, as OpenSSL reads them from one file."""

    pem: bytes
    chain: tuple[x509.Certificate, ...]  # the server's own first
    key: PrivateKey

    @property
    def certificate(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def names(self) -> Names:
        return names_in(self.certificate)

    @property
    def not_after(self) -> datetime:
        return min(certificate.not_valid_after_utc for certificate in self.chain)

    def is_valid(self, now: datetime) -> bool:
        return self.certificate.not_valid_before_utc <= now < self.not_after

    def is_due(self, now: datetime) -> bool:
        """True when less than a third of its time is left, or the clock stands before its beginning."""
        life = self.not_after - self.certificate.not_valid_before_utc
        return not self.is_valid(now) or self.not_after - now < life / 3


def names_in(certificate: x509.Certificate) -> Names:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Names()
    addresses = [ip for ip in names.get_values_for_type(x509.IPAddress) if isinstance(ip, IPv4Address | IPv6Address)]
    return collected(names.get_values_for_type(x509.DNSName), addresses)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 as browsers and operating systems show it: "AB:CD:…"."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def to_pem(key: PrivateKey, chain: Sequence[x509.Certificate]) -> bytes:
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain)


def read_credentials(chain_pem: bytes, key_pem: bytes, now: datetime, where: str = "The certificate") -> Credentials:
    """Raises CertificateRefused: what is wrong with `where`, and what to do about it."""
    chain = _read_chain(chain_pem, where)
    key = _read_key(key_pem)
    _check_match(chain, key, where)
    _check_order(chain, where)
    for certificate in chain:
        _check_strength(certificate, where)
        _check_dates(certificate, now, where)
    _check_purpose(chain[0], where)
    return Credentials(pem=to_pem(key, chain), chain=chain, key=key)


def _read_chain(pem: bytes, where: str) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise CertificateRefused(
            f"{where} holds no certificate in PEM form.",
            "It should have lines that say BEGIN CERTIFICATE; 'openssl x509 -inform der -in FILE' turns a DER file into one.",
        ) from error


def _read_key(pem: bytes) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise CertificateRefused(
            "The private key is protected by a passphrase, which nobody can type when the appliance starts.",
            "Take it off with 'openssl pkey -in KEY -out NEWKEY', and keep that file readable by the appliance alone.",
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateRefused(
            "The private key cannot be read.", "It should be a PEM file with a line that says BEGIN PRIVATE KEY."
        ) from error
    if not isinstance(key, PrivateKey):
        raise CertificateRefused(
            f"Browsers take no certificate with a key of this kind ({type(key).__name__}).",
            "Use an elliptic curve key (P-256) or RSA with 2048 bits or more.",
        )
    return key


def _check_match(chain: Sequence[x509.Certificate], key: PrivateKey, where: str) -> None:
    public = key.public_key()
    if chain[0].public_key() == public:
        return
    if any(certificate.public_key() == public for certificate in chain):
        raise CertificateRefused(
            f"{where} has its certificates in the wrong order.",
            "The server's own comes first, then the one that signed it, and so on.",
        )
    raise CertificateRefused(
        "The private key does not belong to the certificate.",
        "APPLIANCE_TLS_CERTIFICATE_FILE and APPLIANCE_TLS_KEY_FILE must name a pair; was one of them renewed without the other?",
    )


def _check_order(chain: Sequence[x509.Certificate], where: str) -> None:
    for signed, signer in itertools.pairwise(chain):
        try:
            signed.verify_directly_issued_by(signer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise CertificateRefused(
                f"{where} has its certificates in the wrong order, or one is missing: '{_title(signed)}' was not signed by "
                f"'{_title(signer)}', which follows it.",
                "The server's own comes first, then the one that signed it, and so on.",
            ) from error


def _check_strength(certificate: x509.Certificate, where: str) -> None:
    public = certificate.public_key()
    if isinstance(public, rsa.RSAPublicKey) and public.key_size < MIN_RSA_BITS:
        weak = f"an RSA key of {public.key_size} bits"
    elif isinstance(public, ec.EllipticCurvePublicKey) and public.key_size < MIN_CURVE_BITS:
        weak = f"an elliptic curve key of {public.key_size} bits"
    elif isinstance(certificate.signature_hash_algorithm, WEAK_HASHES) and certificate.issuer != certificate.subject:
        weak = f"a signature with {certificate.signature_hash_algorithm.name.upper()}"
    else:
        return
    raise CertificateRefused(
        f"{where} is too weak: '{_title(certificate)}' has {weak}.",
        "Have it made again with P-256, or RSA with 2048 bits or more, and SHA-256.",
    )


def _check_dates(certificate: x509.Certificate, now: datetime, where: str) -> None:
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now >= ends:
        raise CertificateRefused(
            f"{where} has expired: '{_title(certificate)}' was valid until {ends:%Y-%m-%d %H:%M} UTC.",
            f"Have it renewed. (The clock of this machine says {now:%Y-%m-%d %H:%M} UTC.)",
        )
    if now < begins:
        raise CertificateRefused(
            f"{where} is not valid yet: '{_title(certificate)}' begins at {begins:%Y-%m-%d %H:%M} UTC.",
            f"The clock of this machine says {now:%Y-%m-%d %H:%M} UTC: is it right?",
        )


def _check_purpose(certificate: x509.Certificate, where: str) -> None:
    if not names_in(certificate):
        raise CertificateRefused(
            f"{where} names no host: it has no 'subject alternative name', and browsers read nothing else.",
            "Have it made again with the names of this appliance in it.",
        )
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.SERVER_AUTH not in usage and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usage:
        raise CertificateRefused(
            f"{where} was not made for servers (its extended key usage lacks 'server authentication').",
            "Have it made again as a server's certificate.",
        )


def _title(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "(no subject)"
