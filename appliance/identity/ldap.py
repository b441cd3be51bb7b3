"""Signing in with the name and password of an LDAP directory or Active Directory.

Encrypted (LDAPS or StartTLS, certificate checked) unless the directory is on this machine; what people type is escaped
(RFC 4515 in filters, RFC 4514 in names), and an empty password never reaches it (RFC 4513, 5.1.2: it would succeed).
"""

from __future__ import annotations

import asyncio
import math
import re
import ssl
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from ldap3 import NONE, SAFE_SYNC, Connection, Server, Tls
from ldap3.core.exceptions import (
    LDAPBusyResult,
    LDAPConfidentialityRequiredResult,
    LDAPException,
    LDAPExceptionError,
    LDAPInvalidCredentialsResult,
    LDAPNoSuchObjectResult,
    LDAPOperationResult,
    LDAPStrongerAuthRequiredResult,
    LDAPUnavailableResult,
)
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import escape_rdn

from appliance.domain import Value
from appliance.errors import SignInRefusedElsewhere, SignInSourceDown, StartRefused
from appliance.identity.provider import ExternalIdentity, GroupRules, is_loopback, tls_context
from appliance.settings import Settings

PROVIDER: Final = "ldap"  # one directory to an appliance; what tells people apart is the subject
MAX_NAME_CHARS: Final = 256
MAX_PASSWORD_CHARS: Final = 1024
MAX_GROUPS: Final = 500
MAX_DEPTH: Final = 8  # of groups in groups
THREADS: Final = 4  # a directory that hangs takes no more
# Everything else that a bind is answered with means that this person does not come in: locked, expired, unknown, wrong.
NOT_THE_PERSONS_FAULT: Final = (
    LDAPBusyResult,
    LDAPUnavailableResult,
    LDAPConfidentialityRequiredResult,
    LDAPStrongerAuthRequiredResult,
)

_PLACE = re.compile(r"\{(name|dn)\}")


class NameAndPassword(Value, frozen=True):
    name: str
    password: str


class Entry(Value, frozen=True):
    """One object of the directory."""

    dn: str
    attributes: Mapping[str, Sequence[bytes]]  # by lower-case name

    def text(self, attribute: str) -> str:
        """Its first value; hexadecimal where it is no text, as Active Directory's objectGUID."""
        value = next(iter(self.attributes.get(attribute.lower(), ())), b"")
        return value.hex() if attribute.lower() == "objectguid" else _decoded(value)

    def texts(self, attribute: str) -> tuple[str, ...]:
        return tuple(value.decode(errors="replace") for value in self.attributes.get(attribute.lower(), ()))


class LdapDirectory:
    """An `IdentityProvider` of `NameAndPassword`s. Raises `StartRefused` when the settings cannot work."""

    def __init__(self, settings: Settings) -> None:
        check_ldap_settings(settings)
        self._settings = settings
        self._rules = GroupRules(settings.ldap_allowed_groups, settings.ldap_admin_groups, are_dns=True)
        self._tls = _CheckedTls(tls_context(settings.ca_file))
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ldap")

    @property
    def label(self) -> str:
        return self._settings.ldap_label

    async def identify(self, proof: NameAndPassword) -> ExternalIdentity:
        """Raises as `IdentityProvider.identify`."""
        name = unicodedata.normalize("NFC", proof.name).strip()
        if not proof.password or not name or len(name) > MAX_NAME_CHARS or len(proof.password) > MAX_PASSWORD_CHARS:
            raise self._refused()
        # Invisible characters are nothing to a directory, and would make one account many to what slows guessing down.
        if any(unicodedata.category(char).startswith("C") for char in name):
            raise self._refused()
        if any(unicodedata.category(char) in ("Cc", "Cs") for char in proof.password):
            raise self._refused()
        work = asyncio.get_running_loop().run_in_executor(self._threads, self._identify, name, proof.password)
        try:
            async with asyncio.timeout(3 * self._settings.identity_timeout_s):  # it takes several questions
                return await work
        except TimeoutError as error:
            raise self._down("the directory takes too long to answer") from error

    async def reach(self) -> None:
        """Connect, and be let in as who looks people up. Raises `SignInSourceDown`."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._reach)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _identify(self, name: str, password: str) -> ExternalIdentity:
        with self._failures_told():
            return self._directly(name, password) if self._settings.ldap_user_dn else self._by_looking_up(name, password)

    def _reach(self) -> None:
        wanted = self._settings
        user, password = (None, None) if wanted.ldap_user_dn else (wanted.ldap_bind_dn, wanted.ldap_bind_password)
        with self._failures_told(), self._connection(user, password):
            pass  # that it could be opened is all

    @contextmanager
    def _failures_told(self) -> Iterator[None]:
        """Of the directory and of the account that looks people up."""
        try:
            yield
        except LDAPInvalidCredentialsResult as error:
            raise self._down("it refuses the account that looks people up") from error
        except LDAPException as error:
            raise self._down(_reason(error)) from error

    def _by_looking_up(self, name: str, password: str) -> ExternalIdentity:
        with self._connection(self._settings.ldap_bind_dn, self._settings.ldap_bind_password) as reader:
            entry = self._find(reader, name)
            if entry is None:
                raise self._refused()
            with self._connection_of_person(entry.dn, password):
                pass  # that it could be opened is the proof
            return self._identity(reader, entry, name)

    def _directly(self, name: str, password: str) -> ExternalIdentity:
        template = self._settings.ldap_user_dn
        is_dn = "=" in template
        if not is_dn and not re.fullmatch(r"[\w.\-']+", name):
            raise self._refused()  # in `{name}@example.org` an '@' or a '\' would choose another domain
        user = _filled(template, name=escape_rdn(name) if is_dn else name)
        with self._connection_of_person(user, password) as reader:
            entry = self._read(reader, user) if is_dn else self._find(reader, name)
            if entry is None:
                raise self._down("it does not show people their own entry")
            return self._identity(reader, entry, name)

    @contextmanager
    def _connection_of_person(self, dn: str, password: str) -> Iterator[Connection]:
        """Raises `SignInRefusedElsewhere` when the directory does not let them in."""
        with self._connection(None, None) as connection:
            try:
                self._bind(connection, dn, password)
            except NOT_THE_PERSONS_FAULT:
                raise
            except LDAPOperationResult as error:
                raise self._refused() from error
            yield connection

    @contextmanager
    def _connection(self, user: str | None, password: str | None) -> Iterator[Connection]:
        """Encrypted before anything is said; bound as `user`, anonymously for "", not at all for None."""
        url, timeout_s = urlsplit(self._settings.ldap_url), math.ceil(self._settings.identity_timeout_s)
        is_ldaps = url.scheme == "ldaps"
        server = Server(
            url.hostname or "",
            url.port or (636 if is_ldaps else 389),
            use_ssl=is_ldaps,
            tls=self._tls,
            get_info=NONE,
            connect_timeout=timeout_s,
        )
        connection = Connection(
            server,
            client_strategy=SAFE_SYNC,
            raise_exceptions=True,
            auto_referrals=False,  # a referral would carry the password to a server that nobody named
            check_names=False,
            receive_timeout=timeout_s,
        )
        try:
            connection.open()
            if not is_ldaps and self._settings.ldap_start_tls:
                connection.start_tls()
            if user is not None:
                self._bind(connection, user, password or "")
            yield connection
        finally:
            _hang_up(connection)

    def _bind(self, connection: Connection, user: str, password: str) -> None:
        """The password goes as bytes: a text the library would change or refuse first (RFC 4013)."""
        if user:
            connection.user, connection.password, connection.authentication = user, password.encode(), "SIMPLE"
        connection.bind()

    def _find(self, reader: Connection, name: str) -> Entry | None:
        sought = _filled(self._settings.ldap_user_filter, name=escape_filter_chars(name))
        found = self._search(reader, self._settings.ldap_base_dn, sought, limit=2)
        if len(found) > 1:
            raise self._down("several people fit that name, and ldap_user_filter must find one")
        return found[0] if found else None

    def _read(self, reader: Connection, dn: str) -> Entry | None:
        found = self._search(reader, dn, "(objectClass=*)", limit=1, scope="BASE")
        return found[0] if found else None

    def _search(
        self, reader: Connection, base: str, sought: str, *, limit: int, scope: Literal["BASE", "SUBTREE"] = "SUBTREE"
    ) -> list[Entry]:
        wanted = self._settings
        _, _, response, _ = reader.search(
            base,
            sought,
            scope,
            attributes=[wanted.ldap_subject_attribute, wanted.ldap_name_attribute, wanted.ldap_email_attribute, "memberOf"],
            size_limit=limit,
            time_limit=math.ceil(wanted.identity_timeout_s),
        )
        return [_entry(item) for item in response or () if item["type"] == "searchResEntry"]

    def _identity(self, reader: Connection, entry: Entry, name: str) -> ExternalIdentity:
        subject = entry.text(self._settings.ldap_subject_attribute)
        if not subject:
            raise self._down(f"it does not show the attribute {self._settings.ldap_subject_attribute} of people")
        groups = self._groups(reader, entry, name)
        return ExternalIdentity(
            provider=PROVIDER,
            subject=subject,
            email=entry.text(self._settings.ldap_email_attribute),
            name=entry.text(self._settings.ldap_name_attribute) or name,
            groups=groups,
            is_admin=self._rules.makes_admin(self.label, groups),
        )

    def _groups(self, reader: Connection, entry: Entry, name: str) -> tuple[str, ...]:
        """DNs of the groups they are in, directly or, where nested groups count, through other groups."""
        found: dict[str, str] = {}  # by DN without regard to case: groups may contain each other
        waiting = [entry]
        for _ in range(MAX_DEPTH if self._settings.ldap_nested_groups else 1):
            around = [group for member in waiting for group in self._groups_of(reader, member, name)]
            waiting = [
                group for group in {group.dn.casefold(): group for group in around}.values() if group.dn.casefold() not in found
            ]
            found |= {group.dn.casefold(): group.dn for group in waiting}
            if len(found) > MAX_GROUPS:
                raise self._down(f"somebody is in more than {MAX_GROUPS} groups")
            if not waiting:
                break
        return tuple(sorted(found.values()))

    def _groups_of(self, reader: Connection, member: Entry, name: str) -> list[Entry]:
        named = [Entry(dn, {}) for dn in member.texts("memberOf")]
        if not self._settings.ldap_group_filter:
            return named
        sought = _filled(self._settings.ldap_group_filter, name=escape_filter_chars(name), dn=escape_filter_chars(member.dn))
        base = self._settings.ldap_groups_base_dn or self._settings.ldap_base_dn
        try:
            return named + self._search(reader, base, sought, limit=MAX_GROUPS)
        except LDAPNoSuchObjectResult as error:
            raise self._down("there is nothing at ldap_groups_base_dn, or it may not be read") from error

    def _refused(self) -> SignInRefusedElsewhere:
        return SignInRefusedElsewhere(self.label, "the name or the password is not right")

    def _down(self, reason: str) -> SignInSourceDown:
        return SignInSourceDown(self.label, reason)


class _CheckedTls(Tls):
    """Python's own check of certificate and host name; the library's compares names with code of its own."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context

    def wrap_socket(self, connection: Connection, do_handshake: bool = False) -> None:
        connection.socket = self._context.wrap_socket(
            connection.socket, do_handshake_on_connect=do_handshake, server_hostname=connection.server.host
        )


def _hang_up(connection: Connection) -> None:
    """Also where opening it failed half-way, when the library leaves the socket to the garbage collector."""
    with suppress(LDAPException, OSError):
        connection.unbind()
    if connection.socket is not None:
        connection.socket.close()


def _entry(item: Mapping[str, Any]) -> Entry:
    return Entry(item["dn"], {name.lower(): tuple(values) for name, values in item["raw_attributes"].items()})


def _decoded(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return value.hex()
    return value.hex() if any(unicodedata.category(char) == "Cc" for char in text) else text


def _filled(template: str, **values: str) -> str:
    """In one pass, so that nothing in a value is taken for a place to fill."""
    return _PLACE.sub(lambda place: values.get(place[1], place[0]), template)


def _reason(error: LDAPException) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "the directory's certificate is not trusted here (see the setting ca_file)"
    if isinstance(error, LDAPOperationResult):
        return f"the directory answers '{error.description}'"
    if isinstance(error, LDAPExceptionError) and "timed out" in str(error):
        return "the directory does not answer in time"
    return "there is no encrypted connection to the directory"


def check_ldap_settings(settings: Settings) -> None:
    """Raises `StartRefused`."""
    url = urlsplit(settings.ldap_url)
    if url.scheme not in ("ldap", "ldaps") or not url.hostname:
        raise StartRefused(f"ldap_url is '{settings.ldap_url}'.", "It must be ldaps://<server> or ldap://<server>.")
    if url.scheme == "ldap" and not settings.ldap_start_tls and not is_loopback(settings.ldap_url):
        raise StartRefused("ldap_start_tls is off.", "Passwords would travel unencrypted; use ldaps://, or leave StartTLS on.")
    if not settings.ldap_base_dn:
        raise StartRefused("ldap_url is set, ldap_base_dn is not.", "Name the place in the directory where people are.")
    if "{name}" not in settings.ldap_user_filter or "{name}" not in (settings.ldap_user_dn or "{name}"):
        raise StartRefused("ldap_user_filter or ldap_user_dn lacks {name}.", "It stands for what a person types.")
