"""The way in: what a running appliance shows to those who connect, kept fresh while it runs.

New connections see a new certificate, those that are open go on with the old one; what cannot be renewed stays as it is, and the
log says why.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

import msgspec

from appliance.domain import Value
from appliance.errors import ApplianceError, CertificateRefused, StartRefused
from appliance.settings import Settings
from appliance.tls.acme_server import AcmeServer, AcmeSite
from appliance.tls.authority import Authority
from appliance.tls.builtin import BuiltIn
from appliance.tls.confirmation import confirm, is_confirmed
from appliance.tls.credentials import Credentials, fingerprint
from appliance.tls.customer_files import CustomerFiles
from appliance.tls.names import Names, configured_names, is_address, names_of_server
from appliance.tls.private_folder import PrivateFolder

log = logging.getLogger(__name__)

CHECK_EVERY_S = 10.0
END_WARNING = timedelta(days=21)  # for certificates that only a person can renew
STRICT_WHEN_TRUSTED_S = 365 * 86400
STRICT_UNTIL_THEN_S = 300

RECORDED_FILE = "recorded"  # the fingerprint of the certificate that was last told of; a start may show another one

Clock = Callable[[], datetime]
Change = Literal["issued", "renewed", "installed"]  # the first one; by itself; by whoever looks after the files
Listener = Callable[[Change], Awaitable[None]]


def now_utc() -> datetime:
    return datetime.now(UTC)


class Source(Protocol):
    """Where the certificate comes from. Both block, and raise ApplianceError."""

    def at_start(self, now: datetime) -> Credentials: ...

    def credentials(self, now: datetime) -> Credentials: ...


class Shown(Value, frozen=True):
    """The certificate in use, for people."""

    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    fingerprint_sha256: str


class View(Value, frozen=True):
    """What holds at one moment."""

    names: Names  # that the server has now, whatever the certificate says
    credentials: Credentials | None = None
    authority: Authority | None = None  # the built-in one, where it signed what is shown
    confirmed: bool = False


class Door:
    """Made by `open_door`."""

    def __init__(
        self,
        settings: Settings,
        folder: PrivateFolder,
        source: Source | None = None,
        *,
        builtin: BuiltIn | None = None,
        answers: dict[str, str] | None = None,
        clock: Clock = now_utc,
    ) -> None:
        """`builtin`: when its authority is what people trust; `answers`: for the ACME server, by token. Raises StartRefused."""
        self.mode = settings.tls
        self.answers = answers if answers is not None else {}
        self._settings = settings
        self._folder = folder
        self._source = source
        self._builtin = builtin
        self._clock = clock
        self._told = ""
        self._listener: Listener | None = None
        self._view = self._look(source.at_start(clock()) if source else None)
        self.context = server_context() if source else None
        self._load(self._view)

    @property
    def authority(self) -> Authority | None:
        return self._view.authority

    @property
    def names(self) -> Names:
        return self._view.names

    @property
    def trust_confirmed(self) -> bool:
        return self._view.confirmed

    @property
    def shown(self) -> Shown | None:
        """None where there is no TLS."""
        credentials = self._view.credentials
        if credentials is None:
            return None
        return Shown(
            names=(*credentials.names.dns, *map(str, credentials.names.ips)),
            not_before=credentials.certificate.not_valid_before_utc,
            not_after=credentials.not_after,
            fingerprint_sha256=fingerprint(credentials.certificate),
        )

    @property
    def strict_transport_s(self) -> int:
        """max-age of HSTS; 0: no such header. TRAPS 29: short until somebody has said that browsers trust the certificate."""
        if self.context is None:
            return 0
        return STRICT_WHEN_TRUSTED_S if self.trust_confirmed else STRICT_UNTIL_THEN_S

    def admits(self, host: str) -> bool:
        """Whether a Host header is one of ours. Addresses all are: rebinding needs a name that its owner points here."""
        name = host_name(host)
        credentials = self._view.credentials
        return is_address(name) or name in self.names.dns or (credentials is not None and name in credentials.names.dns)

    def confirm_trust(self) -> None:
        """Writes to the disk."""
        if self._source is not None:
            confirm(self._folder, self._anchor(self._view.authority))
            self._view = msgspec.structs.replace(self._view, confirmed=True)

    async def tell(self, listener: Listener) -> None:
        """Of the certificate that is shown, whenever it is not the one that was last told of, be it in an earlier run."""
        self._listener = listener
        await self._tell_listener()

    async def _tell_listener(self) -> None:
        shown = self.shown
        if self._listener is None or shown is None:
            return
        known = self._folder.read(RECORDED_FILE)
        if known == shown.fingerprint_sha256.encode():
            return
        await self._listener("installed" if self.mode == "files" else "renewed" if known else "issued")
        self._folder.write(RECORDED_FILE, shown.fingerprint_sha256.encode())

    async def watch(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await self.check()
            except Exception:  # whatever it was, the certificate must be looked after in ten seconds as well
                log.exception("The certificate could not be looked after.")
            await asyncio.sleep(CHECK_EVERY_S)

    async def check(self) -> None:
        """What cannot be renewed stays, and the log says why, once for each reason."""
        try:
            if self._adopt(await asyncio.to_thread(self._look_again)):
                await self._tell_listener()
        except ApplianceError as error:
            self._tell(f"The certificate stays as it is. {error.message} {error.hint}")
            return
        self._warn_of_the_end()

    def _adopt(self, view: View) -> bool:
        """Whether new connections see another certificate than before."""
        is_new = bool(view.credentials and self._view.credentials and view.credentials.pem != self._view.credentials.pem)
        if is_new:
            self._load(view)
            self._told = ""
            log.info("New connections see a new certificate.")
        self._view = view
        return is_new

    def _look_again(self) -> View:
        return self._look(self._source.credentials(self._clock()) if self._source else None)

    def _look(self, credentials: Credentials | None) -> View:
        """Blocks: reads the disk."""
        authority = self._builtin.authority(self._clock()) if self._builtin else None
        confirmed = credentials is not None and is_confirmed(self._folder, self._anchor(authority))
        return View(names_of_server(self._settings.tls_names), credentials, authority, confirmed)

    def _anchor(self, authority: Authority | None) -> str:
        return authority.fingerprint if authority else self.mode

    def _load(self, view: View) -> None:
        if self.context is not None and view.credentials is not None:
            load(self.context, view.credentials)

    def _warn_of_the_end(self) -> None:
        credentials = self._view.credentials
        if credentials is not None and credentials.not_after - self._clock() < END_WARNING:
            self._tell(f"The certificate ends on {credentials.not_after:%Y-%m-%d %H:%M} UTC; it must be renewed.")

    def _tell(self, sentence: str) -> None:
        if sentence != self._told:
            self._told = sentence
            log.warning("%s", sentence)


def open_door(settings: Settings, clock: Clock = now_utc) -> Door:
    """Raises StartRefused when the appliance must not, or cannot, serve like this."""
    folder = PrivateFolder(settings.tls_path)
    if settings.tls == "off":
        _check_off(settings)
        return Door(settings, folder)
    builtin = built_in(settings)
    answers: dict[str, str] = {}
    source = _source(settings, folder, builtin, answers)
    return Door(settings, folder, source, builtin=builtin if source is builtin else None, answers=answers, clock=clock)


def built_in(settings: Settings) -> BuiltIn:
    """Raises StartRefused when a configured name is none."""
    folder = PrivateFolder(settings.tls_path)
    return BuiltIn(folder, lambda: names_of_server(settings.tls_names), configured_names(settings.tls_names))


def _source(settings: Settings, folder: PrivateFolder, builtin: BuiltIn, answers: dict[str, str]) -> Source:
    configured = configured_names(settings.tls_names)
    if settings.tls == "files":
        return CustomerFiles(settings.tls_certificate_file, settings.tls_key_file, configured)
    if settings.tls == "acme":
        _check_acme(settings, configured)
        site = AcmeSite(settings.acme_directory, configured, settings.acme_ca_file or settings.ca_file, settings.acme_contact)
        return AcmeServer(site, folder, builtin, answers)
    return builtin


def _check_off(settings: Settings) -> None:
    if settings.host in ("127.0.0.1", "::1", "localhost") or settings.tls_off_confirmed:
        return
    raise StartRefused(
        f"With tls=off everybody on the way could read what is sent to {settings.host}.",
        "Leave TLS on; or, behind a proxy of yours that speaks TLS to everybody, say so with APPLIANCE_TLS_OFF_CONFIRMED=true.",
    )


def _check_acme(settings: Settings, configured: Names) -> None:
    if not settings.acme_directory.startswith("https://"):
        raise StartRefused(
            "With tls=acme the appliance needs an ACME server.", "Set APPLIANCE_ACME_DIRECTORY to its https:// address."
        )
    if not configured:
        raise StartRefused(
            "With tls=acme the appliance must know which names to ask for.", "Set APPLIANCE_TLS_NAMES to those that people use."
        )
    if not settings.http_port:
        raise StartRefused(
            "With tls=acme the ACME server asks the appliance over plain HTTP.",
            "Set APPLIANCE_HTTP_PORT, and let it be reached as port 80 of each name.",
        )


def server_context() -> ssl.SSLContext:
    """TLS 1.3 alone, HTTP/1.1 alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


def load(context: ssl.SSLContext, credentials: Credentials) -> None:
    """OpenSSL reads from files alone: here one in memory, so that exactly the bytes that were checked are loaded, and no key lies
    about. A spare context comes first, because a refusal half-way would leave the one in use without a key. Raises
    CertificateRefused."""
    fd = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(fd, credentials.pem)
        for target in (server_context(), context):
            target.load_cert_chain(f"/proc/self/fd/{fd}")
    except ssl.SSLError as error:
        raise CertificateRefused(
            f"OpenSSL refuses the certificate ({error.reason}).",
            "Have it made again with P-256, or RSA with 2048 bits or more, and SHA-256.",
        ) from error
    finally:
        os.close(fd)


def host_name(host: str) -> str:
    """Of a Host header: without its port, brackets and final dot, in lower case."""
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].rstrip(".")
