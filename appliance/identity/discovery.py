"""What an OpenID Connect provider says of itself, and its keys (OpenID Connect Discovery 1.0); every request to it.

Answers are bounded in time and size, redirects are not followed, and nothing is sent unencrypted beyond this machine.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, TypeVar

import httpx
import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from appliance.domain import Value
from appliance.errors import SignInSourceDown
from appliance.identity.provider import is_loopback, tls_context
from appliance.settings import Settings

MAX_ANSWER_BYTES: Final = 2**20
BELIEVED_S: Final = 3600.0  # a key the provider withdrew is trusted no longer than this

T = TypeVar("T")


class Metadata(Value, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class Answer(Value, frozen=True):
    status: int
    body: bytes


class Discovery:
    """One provider. Every method raises `SignInSourceDown`."""

    def __init__(self, settings: Settings) -> None:
        self._label = settings.oidc_label
        self._issuer = settings.oidc_issuer
        self._timeout_s = settings.identity_timeout_s
        self._tls = tls_context(settings.ca_file)
        self._one_at_a_time = asyncio.Lock()
        self._metadata: Metadata | None = None
        self._keys: KeySet | None = None
        self._believed_until = 0.0  # time.monotonic()

    async def metadata(self) -> Metadata:
        async with self._one_at_a_time:
            if self._metadata is None or time.monotonic() >= self._believed_until:
                self._metadata, self._keys = await self._fetch_metadata(), None
                self._believed_until = time.monotonic() + BELIEVED_S
            return self._metadata

    async def keys(self, *, fresh: bool = False) -> KeySet:
        """The keys that sign; `fresh` asks again, for the provider may have changed them since."""
        uri = (await self.metadata()).jwks_uri
        async with self._one_at_a_time:
            if self._keys is None or fresh:
                self._keys = await self._fetch_keys(uri)
            return self._keys

    async def send(self, request: httpx.Request) -> Answer:
        try:
            async with asyncio.timeout(self._timeout_s), httpx.AsyncClient(verify=self._tls, timeout=self._timeout_s) as client:
                response = await client.send(request, stream=True)
                return Answer(response.status_code, await self._read(response))
        except (TimeoutError, httpx.TimeoutException) as error:
            raise self.down(f"{request.url.host} did not answer within {self._timeout_s:g} s") from error
        except (httpx.HTTPError, OSError) as error:
            raise self.down(_reason(request.url.host, error)) from error

    def decode(self, answer: Answer, shape: type[T], what: str) -> T:
        if answer.status != 200:
            raise self.down(f"it answers {answer.status} instead of its {what}")
        try:
            return msgspec.json.decode(answer.body, type=shape)
        except msgspec.MsgspecError as error:
            raise self.down(f"its {what} cannot be read") from error

    def down(self, reason: str) -> SignInSourceDown:
        return SignInSourceDown(self._label, reason)

    async def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise self.down("its answer is far too long")
        return bytes(body)

    async def _fetch_metadata(self) -> Metadata:
        url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        found = self.decode(await self.send(httpx.Request("GET", url)), Metadata, "description")
        if found.issuer != self._issuer:  # Discovery 4.3: identical, or somebody speaks for somebody else
            raise self.down(f"it names itself '{found.issuer[:200]}', the setting oidc_issuer '{self._issuer}'")
        endpoints = (found.authorization_endpoint, found.token_endpoint, found.jwks_uri, found.userinfo_endpoint)
        for endpoint in filter(None, endpoints):
            if not endpoint.startswith("https://") and not (is_loopback(self._issuer) and is_loopback(endpoint)):
                raise self.down("one of its addresses is not encrypted (https)")
        return found

    async def _fetch_keys(self, uri: str) -> KeySet:
        document = self.decode(await self.send(httpx.Request("GET", uri)), dict[str, list[dict[str, str | list[str]]]], "keys")
        try:
            return KeySet.import_key_set({"keys": document["keys"]})
        except (JoseError, KeyError, ValueError, TypeError) as error:
            raise self.down("its keys cannot be read") from error


def _reason(host: str, error: Exception) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"the certificate of {host} is not trusted here (see the setting ca_file)"
    return f"there is no connection to {host}"
