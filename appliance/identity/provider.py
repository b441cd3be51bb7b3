"""What every source of identities has in common: one question, one answer, and who may in as what."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from appliance.domain import Value
from appliance.errors import NotInAllowedGroup, StartRefused

Proof_contra = TypeVar("Proof_contra", contravariant=True)


class ExternalIdentity(Value, frozen=True):
    """A person as the source knows them. `provider` and `subject` together are the identity, and nothing else is.

    The e-mail address is what the source shows, and may change or be given to somebody else: it links no accounts.
    """

    provider: str  # the issuer's address, or "ldap"
    subject: str  # never reused and never changed by the source
    email: str  # "" where the source names none
    name: str
    groups: tuple[str, ...]
    is_admin: bool  # by the groups that the settings name


class IdentityProvider(Protocol[Proof_contra]):
    @property
    def label(self) -> str:
        """What people call it."""

    async def identify(self, proof: Proof_contra) -> ExternalIdentity:
        """Whose proof this is.

        Raises `SignInSourceDown`, `SignInNotTrusted`, `SignInRefusedElsewhere`, `NotInAllowedGroup`.
        """


class GroupRules(Value, frozen=True):
    """What membership in a group of the source means here; groups are compared without regard to case."""

    allowed: tuple[str, ...]  # empty: everybody
    admins: tuple[str, ...]
    are_dns: bool = False  # what the source calls a group is a DN; the settings may then name its common name alone

    def makes_admin(self, label: str, groups: Iterable[str]) -> bool:
        """Raises `NotInAllowedGroup`."""
        names = {name for group in groups for name in (_names_of(group) if self.are_dns else (group.casefold(),))}
        if self.allowed and not names & {group.casefold() for group in self.allowed}:
            raise NotInAllowedGroup(label)
        return bool(names & {group.casefold() for group in self.admins})


def _names_of(group: str) -> tuple[str, ...]:
    """A group in a directory is a DN; settings may name it whole, or by the common name it begins with."""
    first, comma, _ = group.partition(",")
    attribute, equals, value = first.partition("=")
    is_dn = bool(comma and equals and attribute.strip().casefold() == "cn")
    return (group.casefold(), value.strip().casefold()) if is_dn else (group.casefold(),)


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Checks certificate and host name, TLS 1.2 at least; trusts the machine's authorities and those of `ca_file` (PEM)."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise StartRefused(f"The certificate file {ca_file} cannot be used: {error}.", "It must be a PEM file.") from error
    return context


def is_loopback(url: str) -> bool:
    """Whether what is sent there stays on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
