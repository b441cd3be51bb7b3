"""`tls=builtin`: the appliance's own authority and the certificate it gives itself, kept in `data_dir/tls`."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidSignature

from appliance.domain import Value
from appliance.errors import CertificateRefused
from appliance.tls.authority import Authority, make_authority, read_authority
from appliance.tls.credentials import Credentials, read_credentials
from appliance.tls.names import Names
from appliance.tls.private_folder import PrivateFolder

log = logging.getLogger(__name__)

AUTHORITY_FILE = "authority.pem"  # with its key
PUBLIC_FILE = "ca.pem"  # without; `Settings.own_authority_path`
LEAF_FILE = "server.pem"
AUTHORITY_WARNING = timedelta(days=365)


class Coverage(Value, frozen=True):
    """Names that people may use, and those of them that the authority may not vouch for."""

    covered: Names
    beyond: Names


class BuiltIn:
    """Makes what is missing. Safe to use from several processes at once.

    `names`: those of the server now; `configured`: those of them that somebody asked for.
    """

    def __init__(self, folder: PrivateFolder, names: Callable[[], Names], configured: Names) -> None:
        self._folder = folder
        self._names = names
        self._configured = configured
        self._told: set[str] = set()

    def authority(self, now: datetime) -> Authority:
        """Made when there is none. Raises CertificateRefused when it is damaged, StartRefused when the folder is not usable."""
        with self._folder.held():
            return self._authority(now)

    def at_start(self, now: datetime) -> Credentials:
        return self.credentials(now)

    def credentials(self, now: datetime) -> Credentials:
        """The present leaf, or a fresh one: when a third of its time is left, or when it lacks a name that it could bear."""
        with self._folder.held():
            authority = self._authority(now)
            self._tell(authority, now)
            held = self._leaf(authority, now)
            wanted = authority.permitted_of(self._names())
            if held is not None and not held.is_due(now) and not wanted.without(held.names):
                return held
            return self._issue(authority, now)

    def renew(self, now: datetime) -> Credentials:
        with self._folder.held():
            return self._issue(self._authority(now), now)

    def renew_authority(self, now: datetime) -> Authority:
        """Whoever trusted the old one must trust the new one; the old one's key is gone."""
        with self._folder.held():
            authority = self._make(now)
            self._issue(authority, now)
            return authority

    def coverage(self, now: datetime) -> Coverage:
        authority = self.authority(now)
        names = self._names()
        covered = authority.permitted_of(names)
        return Coverage(covered, names.without(covered))

    def _authority(self, now: datetime) -> Authority:
        kept = self._folder.read(AUTHORITY_FILE)
        return self._make(now) if kept is None else read_authority(kept)

    def _make(self, now: datetime) -> Authority:
        authority = make_authority(self._names(), socket.gethostname(), now)
        self._folder.write(AUTHORITY_FILE, authority.pem_with_key)
        self._folder.write(PUBLIC_FILE, authority.pem)
        return authority

    def _leaf(self, authority: Authority, now: datetime) -> Credentials | None:
        """None when it must be made anew: not there, damaged, expired, or of another authority."""
        kept = self._folder.read(LEAF_FILE)
        if kept is None:
            return None
        try:
            leaf = read_credentials(kept, kept, now)
            leaf.certificate.verify_directly_issued_by(authority.certificate)
        except (CertificateRefused, ValueError, TypeError, InvalidSignature):
            return None
        return leaf

    def _issue(self, authority: Authority, now: datetime) -> Credentials:
        if not authority.certificate.not_valid_before_utc <= now < authority.certificate.not_valid_after_utc:
            raise CertificateRefused(
                f"The appliance's own authority is valid from {authority.certificate.not_valid_before_utc:%Y-%m-%d} to "
                f"{authority.certificate.not_valid_after_utc:%Y-%m-%d}, and the clock of this machine says {now:%Y-%m-%d}.",
                "Set the clock right; if it is right, 'appliance trust renew --authority' makes a new one.",
            )
        leaf = authority.issue(self._names(), now)
        self._folder.write(LEAF_FILE, leaf.pem)
        log.info("A certificate was made for %s, valid until %s.", leaf.names, f"{leaf.not_after:%Y-%m-%d}")
        return leaf

    def _tell(self, authority: Authority, now: datetime) -> None:
        """Each once."""
        beyond = self._configured.without(authority.permitted_of(self._configured))
        if beyond:
            self._warn(
                f"The appliance's own authority may not vouch for {beyond}: it was made before these names were. "
                "'appliance trust renew --authority' makes a new one, which every computer must then trust."
            )
        if authority.certificate.not_valid_after_utc - now < AUTHORITY_WARNING:
            self._warn(
                f"The appliance's own authority ends on {authority.certificate.not_valid_after_utc:%Y-%m-%d}. "
                "'appliance trust renew --authority' makes a new one, which every computer must then trust."
            )

    def _warn(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            log.warning("%s", sentence)
