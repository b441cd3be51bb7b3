"""The appliance's own certificate authority: good for this appliance's names and private addresses, and for nothing else.

Pure: values and bytes in and out; `builtin.py` keeps them on the disk. RFC 5280; the limits on leaves are those of the CA/Browser
Forum and of Apple, which also hold for authorities that a person has installed.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.errors import CertificateRefused
from appliance.tls.credentials import Credentials, fingerprint, to_pem
from appliance.tls.names import Address, Names, collected

AUTHORITY_LIFE = timedelta(days=3652)
LEAF_LIFE = timedelta(days=90)
CLOCK_SKEW = timedelta(hours=1)  # a visitor's clock may be behind

Network = IPv4Network | IPv6Network

# Whoever trusts the authority trusts it for these: addresses change by DHCP, and none of them is another organisation's.
PRIVATE_NETWORKS: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
)


class Authority:
    """A certificate that may sign leaves for the names it permits, and its key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self._key = key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem_with_key(self) -> bytes:
        return to_pem(self._key, [self.certificate])

    @property
    def name(self) -> str:
        return str(self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

    @property
    def not_after(self) -> datetime:
        return self.certificate.not_valid_after_utc

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.certificate)

    @cached_property
    def permitted(self) -> tuple[x509.GeneralName, ...]:
        constraints = self.certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        return tuple(constraints.permitted_subtrees or ())

    def permitted_of(self, names: Names) -> Names:
        """Those that a leaf may bear; a certificate with one name beyond its authority's constraints is refused whole."""
        return collected(filter(self._permits_name, names.dns), filter(self._permits_address, names.ips))

    def issue(self, names: Names, now: datetime) -> Credentials:
        """A leaf for the permitted ones of `names`, with a key of its own; it never outlives its authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        allowed = self.permitted_of(names)
        ends = min(now + LEAF_LIFE, self.certificate.not_valid_after_utc)
        begins = max(now - CLOCK_SKEW, self.certificate.not_valid_before_utc)
        builder = _builder("The appliance", self.certificate.subject, key, begins, ends)
        leaf = _with_leaf_extensions(builder, self.certificate, allowed).sign(self._key, hashes.SHA256())
        return Credentials(pem=to_pem(key, [leaf]), chain=(leaf,), key=key)

    def _permits_name(self, name: str) -> bool:
        """RFC 5280, 4.2.1.10: the name itself and what stands below it."""
        suffixes = [subtree.value for subtree in self.permitted if isinstance(subtree, x509.DNSName)]
        return any(name == suffix or name.endswith(f".{suffix}") for suffix in suffixes)

    def _permits_address(self, address: Address) -> bool:
        subtrees = [subtree.value for subtree in self.permitted if isinstance(subtree, x509.IPAddress)]
        return any(address in network for network in subtrees if isinstance(network, Network))


def make_authority(names: Names, host: str, now: datetime) -> Authority:
    """A new authority for `names`, their subdomains, private addresses, and what else of addresses stands in `names`."""
    key = ec.generate_private_key(ec.SECP256R1())
    title = f"Appliance {host[:32]} {now:%Y-%m} {secrets.token_hex(3)}"  # a person with two of them must tell them apart
    subject = _name(title)
    begins, ends = now - timedelta(days=1), now + AUTHORITY_LIFE
    usage = x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(title, subject, key, begins, ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.NameConstraints(list(_subtrees(names)), None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def read_authority(pem: bytes) -> Authority:
    """What `Authority.pem_with_key` wrote. Raises CertificateRefused."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
        certificate = x509.load_pem_x509_certificate(pem)
    except (ValueError, TypeError) as error:
        raise _damaged() from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise _damaged()
    return Authority(certificate, key)


def _damaged() -> CertificateRefused:
    return CertificateRefused(
        "The appliance's own certificate authority is damaged on the disk.",
        "Restore it from a backup, or make a new one with 'appliance trust renew --authority'; all computers must then trust that.",
    )


def _subtrees(names: Names) -> Iterable[x509.GeneralName]:
    """Both kinds must stand there: a kind of which nothing is permitted is, by RFC 5280, not limited at all."""
    for name in names.dns:
        if not any(name.endswith(f".{other}") for other in names.dns):
            yield x509.DNSName(name)
    yield from map(x509.IPAddress, PRIVATE_NETWORKS)
    public = (address for address in names.ips if not any(address in network for network in PRIVATE_NETWORKS))
    yield from map(x509.IPAddress, sorted({_site_of(address) for address in public}, key=str))


def _site_of(address: Address) -> Network:
    """A public IPv4 address alone; of IPv6 the subnet, because its hosts change their addresses by the day."""
    return ip_network(f"{address}/{32 if isinstance(address, IPv4Address) else 64}", strict=False)


def _builder(
    title: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(title))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _with_leaf_extensions(builder: x509.CertificateBuilder, issuer: x509.Certificate, names: Names) -> x509.CertificateBuilder:
    issuer_key = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    alternatives = [*map(x509.DNSName, names.dns), *map(x509.IPAddress, names.ips)]
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=False,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_key), critical=False)
    )


def _name(title: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Speech-to-text appliance"), x509.NameAttribute(NameOID.COMMON_NAME, title)]
    )
