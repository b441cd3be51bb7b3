"""`tls=acme`: certificates from an ACME server of the site (RFC 8555), proved over http-01 on the plain HTTP port.

Until the first one has come, and whenever the server has not answered yet at the first start, the built-in authority serves.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from acme import challenges, client, crypto_util, errors, messages
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from appliance import __version__
from appliance.domain import Value
from appliance.errors import CertificateNotObtained, CertificateRefused
from appliance.tls.builtin import BuiltIn
from appliance.tls.credentials import Credentials, read_credentials
from appliance.tls.names import Names
from appliance.tls.private_folder import PrivateFolder

log = logging.getLogger(__name__)

ACCOUNT_FILE = "acme-account.pem"
LEAF_FILE = "acme-server.pem"
NETWORK_TIMEOUT_S = 10
ORDER_TIMEOUT = timedelta(seconds=60)
FIRST_RETRY = timedelta(minutes=1)
LAST_RETRY = timedelta(hours=6)
NONCE_TRIES = 10
CLOCK_SKEW = timedelta(hours=1)  # a certificate made this second is not yet valid where the clock is behind the server's


class AcmeSite(Value, frozen=True):
    """Where the certificates come from, and for which names."""

    directory: str
    names: Names
    ca_file: Path | None = None
    contact: str = ""


class AcmeServer:
    """`answers`: what the plain HTTP port says to the server, by the token it asks for."""

    def __init__(self, site: AcmeSite, folder: PrivateFolder, until_then: BuiltIn, answers: dict[str, str]) -> None:
        self._site = site
        self._folder = folder
        self._until_then = until_then
        self._answers = answers
        self._retry_after = FIRST_RETRY
        self._next_try: datetime | None = None

    def at_start(self, now: datetime) -> Credentials:
        """What is there: the server cannot prove anything before the appliance listens."""
        return self._kept(now) or self._until_then.credentials(now)

    def credentials(self, now: datetime) -> Credentials:
        """The one that is kept, or a fresh one when it is due. Raises CertificateNotObtained, then waits before trying again."""
        kept = self._kept(now)
        if kept is not None and not kept.is_due(now + CLOCK_SKEW):
            return kept
        if self._next_try is not None and now < self._next_try:
            return kept or self._until_then.credentials(now)
        self._next_try = now + self._retry_after
        self._retry_after = min(2 * self._retry_after, LAST_RETRY)
        fresh = self._obtain(now)
        self._next_try, self._retry_after = None, FIRST_RETRY
        return fresh

    def _kept(self, now: datetime) -> Credentials | None:
        """None also when it is expired, or lacks a name that has been added since."""
        pem = self._folder.read(LEAF_FILE)
        if pem is None:
            return None
        try:
            kept = read_credentials(pem, pem, now + CLOCK_SKEW, "The certificate of the ACME server")
        except CertificateRefused as error:
            log.warning("%s", error.message)
            return None
        return None if self._site.names.without(kept.names) else kept

    def _obtain(self, now: datetime) -> Credentials:
        key = ec.generate_private_key(ec.SECP256R1())
        key_pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        with _errors_as_sentences(self._site):
            chain = self._order(crypto_util.make_csr(key_pem, list(self._site.names.dns), ipaddrs=list(self._site.names.ips)))
        fresh = read_credentials(chain.encode(), key_pem, now + CLOCK_SKEW, "The certificate of the ACME server")
        self._folder.write(LEAF_FILE, fresh.pem)
        log.info("The ACME server gave a certificate for %s, valid until %s.", fresh.names, f"{fresh.not_after:%Y-%m-%d}")
        return fresh

    def _order(self, csr_pem: bytes) -> str:
        account_key = self._account_key()
        acme = _connect(self._site, account_key)
        order = acme.new_order(csr_pem)
        tokens = []
        try:
            for body in _http_challenges(order):
                response, answer = body.response_and_validation(account_key)
                tokens.append(body.chall.encode("token"))
                self._answers[tokens[-1]] = answer
                acme.answer_challenge(body, response)
            return str(acme.poll_and_finalize(order, datetime.now() + ORDER_TIMEOUT).fullchain_pem)  # the library's clock is local
        finally:
            for token in tokens:
                self._answers.pop(token, None)

    def _account_key(self) -> JWKEC:
        kept = self._folder.read(ACCOUNT_FILE)
        if kept is None:
            key = ec.generate_private_key(ec.SECP256R1())
            kept = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            self._folder.write(ACCOUNT_FILE, kept)
        return JWKEC(key=serialization.load_pem_private_key(kept, password=None))


class _Network(client.ClientNetwork):
    """Asks again with a fresh nonce where one is refused (RFC 8555, 6.5); the library does so only once."""

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - acme's own signature
        for _ in range(NONCE_TRIES - 1):
            try:
                return self._post_once(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
                log.info("The ACME server takes another nonce: %s", error.detail)
        return self._post_once(*args, **kwargs)


def _connect(site: AcmeSite, account_key: JWKEC) -> client.ClientV2:
    """Signed in; a proxy setting of the environment is not followed."""
    network = _Network(account_key, alg=ES256, user_agent=f"appliance/{__version__}", timeout=NETWORK_TIMEOUT_S)
    network.session.trust_env = False
    if site.ca_file is not None:
        network.verify_ssl = str(site.ca_file)  # type: ignore[assignment]  # handed on to requests, which takes a file, too
    acme = client.ClientV2(client.ClientV2.get_directory(site.directory, network), network)
    try:
        acme.new_account(messages.NewRegistration.from_data(email=site.contact or None, terms_of_service_agreed=True))
    except errors.ConflictError as known:
        network.account = messages.RegistrationResource(uri=known.location, body=messages.Registration())
    return acme


def _http_challenges(order: messages.OrderResource) -> Iterator[messages.ChallengeBody]:
    """One for each name that the server does not take for proved already."""
    for authorization in order.authorizations:
        if authorization.body.status == messages.STATUS_VALID:
            continue
        offered = [body for body in authorization.body.challenges if isinstance(body.chall, challenges.HTTP01)]
        if not offered:
            raise errors.Error(f"it offers no http-01 challenge for {authorization.body.identifier.value}")
        yield offered[0]


@contextmanager
def _errors_as_sentences(site: AcmeSite) -> Iterator[None]:
    try:
        yield
    except requests.exceptions.SSLError as error:
        raise CertificateNotObtained(
            f"The ACME server at {site.directory} has a certificate of an authority that is not known here.",
            "Name that authority's file with APPLIANCE_ACME_CA_FILE.",
        ) from error
    except requests.exceptions.RequestException as error:
        raise CertificateNotObtained(
            f"The ACME server at {site.directory} does not answer ({type(error).__name__}).",
            "Check APPLIANCE_ACME_DIRECTORY, and that this machine may reach it.",
        ) from error
    except errors.ValidationError as error:
        raise CertificateNotObtained(
            f"The ACME server could not prove that this appliance is {site.names}: {_reasons(error)}",
            "It must reach the appliance's plain HTTP port (APPLIANCE_HTTP_PORT) as port 80 of each name.",
        ) from error
    except (errors.Error, messages.Error, JoseError, ValueError) as error:
        raise CertificateNotObtained(
            f"The ACME server at {site.directory} gave no certificate: {str(error) or type(error).__name__}.",
            "Its own log says more.",
        ) from error


def _reasons(error: errors.ValidationError) -> str:
    failed = (body.error for authorization in error.failed_authzrs for body in authorization.body.challenges if body.error)
    return "; ".join(str(problem.detail) for problem in failed) + "."
