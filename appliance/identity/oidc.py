"""Signing in with an OpenID Connect provider: authorization code, PKCE (S256), state and nonce.

Between the two halves of a sign-in the server keeps nothing: what it must know again is sealed into a cookie of the
browser that started, so a callback that another browser is talked into is worth nothing (RFC 9700, 4.7).
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections import OrderedDict
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx
import msgspec
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from cryptography.fernet import Fernet, InvalidToken

from appliance.domain import Value
from appliance.errors import SignInNotTrusted, SignInRefusedElsewhere, StartRefused
from appliance.identity.discovery import Discovery, Metadata
from appliance.identity.id_token import Expected, InvalidIdToken, UnknownSigner, check_id_token
from appliance.identity.provider import ExternalIdentity, GroupRules, is_loopback
from appliance.settings import Settings

PENDING_S: Final = 600  # a person may look for their second factor at the provider's
REMEMBERED_STATES: Final = 10_000
CALLBACK_PATH: Final = "/api/v1/session/oidc/callback"

_ERROR_CODE: Final = re.compile(r"[a-z_]{1,60}")
_DENIED: Final = {"access_denied": "it refused, or you did", "login_required": "you are not signed in there"}


class SignInStart(Value, frozen=True):
    url: str  # where the browser goes
    cookie: str  # what it must bring back; good for `PENDING_S`


class Callback(Value, frozen=True):
    """What the browser brings back, all of it unproven."""

    cookie: str
    state: str
    code: str = ""
    error: str = ""
    issuer: str | None = None  # RFC 9207


class _Pending(Value, frozen=True):
    state: str
    nonce: str
    verifier: str


class _Tokens(Value, frozen=True):
    id_token: str
    access_token: str


class OidcProvider:
    """An `IdentityProvider` of `Callback`s. Raises `StartRefused` when the settings cannot work."""

    def __init__(self, settings: Settings) -> None:
        check_oidc_settings(settings)
        self._settings = settings
        self._discovery = Discovery(settings)
        self._rules = GroupRules(settings.oidc_allowed_groups, settings.oidc_admin_groups)
        self._seal = Fernet(Fernet.generate_key())  # of this process: a restart ends sign-ins that are under way
        self._seen_states: OrderedDict[str, None] = OrderedDict()

    @property
    def label(self) -> str:
        return self._settings.oidc_label

    async def reach(self) -> None:
        """Ask for its description and its keys. Raises `SignInSourceDown`."""
        await self._discovery.keys()

    async def start(self) -> SignInStart:
        """Raises `SignInSourceDown`."""
        metadata = await self._discovery.metadata()
        pending = _Pending(state=secrets.token_urlsafe(32), nonce=secrets.token_urlsafe(32), verifier=secrets.token_urlsafe(48))
        url = prepare_grant_uri(
            metadata.authorization_endpoint,
            client_id=self._settings.oidc_client_id,
            response_type="code",
            redirect_uri=self._settings.oidc_redirect_url,
            scope=self._settings.oidc_scopes,
            state=pending.state,
            nonce=pending.nonce,
            code_challenge=create_s256_code_challenge(pending.verifier),
            code_challenge_method="S256",
        )
        return SignInStart(url=url, cookie=self._seal.encrypt(msgspec.json.encode(pending)).decode())

    async def identify(self, proof: Callback) -> ExternalIdentity:
        """Raises as `IdentityProvider.identify`."""
        pending = self._take_pending(proof)
        if proof.error or not proof.code:
            reason = proof.error if _ERROR_CODE.fullmatch(proof.error) else "it sent no code"
            raise SignInRefusedElsewhere(self.label, _DENIED.get(reason, reason))
        metadata = await self._discovery.metadata()
        if proof.issuer not in (None, metadata.issuer):
            raise self._not_trusted("the answer comes from another provider")
        tokens = await self._redeem(metadata, proof.code, pending.verifier)
        claims = await self._check(tokens, pending.nonce)
        return self._identity(await self._completed(metadata, claims, tokens.access_token))

    def _take_pending(self, proof: Callback) -> _Pending:
        """The sign-in that this very browser started, once."""
        try:
            pending = msgspec.json.decode(self._seal.decrypt(proof.cookie.encode(), ttl=PENDING_S), type=_Pending)
        except (InvalidToken, UnicodeEncodeError) as error:
            raise self._not_trusted("it was not started in this browser, or more than ten minutes ago") from error
        if not hmac.compare_digest(pending.state.encode(), proof.state.encode(errors="replace")):
            raise self._not_trusted("it was not started in this browser")
        if pending.state in self._seen_states:
            raise self._not_trusted("it has been used already")
        self._seen_states[pending.state] = None
        if len(self._seen_states) > REMEMBERED_STATES:
            self._seen_states.popitem(last=False)
        return pending

    async def _redeem(self, metadata: Metadata, code: str, verifier: str) -> _Tokens:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._settings.oidc_redirect_url,
            "code_verifier": verifier,
        }
        headers, fields = self._client_proof(metadata)
        request = httpx.Request("POST", metadata.token_endpoint, data=form | fields, headers=headers)
        answer = await self._discovery.send(request)
        if answer.status == 400:
            raise self._not_trusted("the provider does not know its own code, or knows it as used")
        if answer.status == 401:
            raise self._discovery.down("it refuses the appliance's client id and secret")
        return self._discovery.decode(answer, _Tokens, "tokens")

    def _client_proof(self, metadata: Metadata) -> tuple[dict[str, str], dict[str, str]]:
        """Headers and form fields with which the appliance shows that it is this client (RFC 6749, 2.3.1)."""
        client_id, secret = self._settings.oidc_client_id, self._settings.oidc_client_secret
        if not secret:
            return {}, {"client_id": client_id}
        methods = metadata.token_endpoint_auth_methods_supported
        if "client_secret_basic" not in methods and "client_secret_post" in methods:
            return {}, {"client_id": client_id, "client_secret": secret}
        pair = httpx.BasicAuth(quote(client_id, safe=""), quote(secret, safe=""))
        return {"Authorization": next(pair.auth_flow(httpx.Request("POST", metadata.token_endpoint))).headers["Authorization"]}, {}

    async def _check(self, tokens: _Tokens, nonce: str) -> dict[str, Any]:
        expected = Expected(
            issuer=self._settings.oidc_issuer,
            client_id=self._settings.oidc_client_id,
            nonce=nonce,
            access_token=tokens.access_token,
            now_s=int(time.time()),
        )
        try:
            return check_id_token(tokens.id_token, await self._discovery.keys(), expected)
        except UnknownSigner:
            return await self._check_with_new_keys(tokens.id_token, expected)
        except InvalidIdToken as error:
            raise self._not_trusted(str(error)) from error

    async def _check_with_new_keys(self, id_token: str, expected: Expected) -> dict[str, Any]:
        try:
            return check_id_token(id_token, await self._discovery.keys(fresh=True), expected)
        except UnknownSigner as error:
            raise self._not_trusted("its ID token is signed by nobody the provider names") from error
        except InvalidIdToken as error:
            raise self._not_trusted(str(error)) from error

    async def _completed(self, metadata: Metadata, claims: dict[str, Any], access_token: str) -> dict[str, Any]:
        """The claims, and what only userinfo says; many providers keep names and groups there."""
        wanted = {"name", "email", self._settings.oidc_groups_claim}
        if metadata.userinfo_endpoint is None or wanted <= claims.keys():
            return claims
        request = httpx.Request("GET", metadata.userinfo_endpoint, headers={"Authorization": f"Bearer {access_token}"})
        more = self._discovery.decode(await self._discovery.send(request), dict[str, Any], "userinfo")
        if more.get("sub") != claims["sub"]:  # Core 5.3.2: else it is about somebody else
            raise self._not_trusted("its userinfo is about somebody else")
        return more | claims

    def _identity(self, claims: dict[str, Any]) -> ExternalIdentity:
        found = claims.get(self._settings.oidc_groups_claim, [])
        groups = tuple(str(group) for group in (found if isinstance(found, list) else [found]))
        email = "" if claims.get("email_verified") is False else str(claims.get("email") or "")
        return ExternalIdentity(
            provider=self._settings.oidc_issuer,
            subject=claims["sub"],
            email=email,
            name=str(claims.get("name") or claims.get("preferred_username") or email or claims["sub"]),
            groups=groups,
            is_admin=self._rules.makes_admin(self.label, groups),
        )

    def _not_trusted(self, reason: str) -> SignInNotTrusted:
        return SignInNotTrusted(self.label, reason)


def check_oidc_settings(settings: Settings) -> None:
    """Raises `StartRefused`."""
    issuer, redirect = settings.oidc_issuer, settings.oidc_redirect_url
    if not settings.oidc_client_id:
        raise StartRefused("oidc_issuer is set, oidc_client_id is not.", "Register the appliance at the provider first.")
    if not issuer.startswith("https://") and not is_loopback(issuer):
        raise StartRefused(f"oidc_issuer is '{issuer}': it must begin with https://.", "Identities must not travel unencrypted.")
    if urlsplit(redirect).path != CALLBACK_PATH or not (redirect.startswith("https://") or is_loopback(redirect)):
        raise StartRefused(
            f"oidc_redirect_url is '{redirect}'.", f"It must be https://<name of the appliance>{CALLBACK_PATH}, as registered."
        )
    if "openid" not in settings.oidc_scopes.split():
        raise StartRefused("oidc_scopes does not name 'openid'.", "Without it the provider says who may what, but not who it is.")
