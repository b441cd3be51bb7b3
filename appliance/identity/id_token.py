"""ID tokens: bytes in, claims out or an error. No network and no clock of its own.

OpenID Connect Core 1.0, 3.1.3.7: signature by a key of the provider, `iss`, `aud`/`azp`, `exp`, `iat`, `nonce`, `at_hash`.
"""

from __future__ import annotations

from typing import Any, Final

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from appliance.domain import Value

# Public-key signatures only. `none` signs nothing, and with HS* the published key, or the client's secret, would sign.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LEEWAY_S: Final = 60  # by which the clocks may differ
MAX_TOKEN_CHARS: Final = 100_000


class Expected(Value, frozen=True):
    issuer: str
    client_id: str
    nonce: str
    access_token: str
    now_s: int  # seconds since 1970


class UnknownSigner(Exception):
    """No key at hand made this signature; the provider may have a new one."""


class InvalidIdToken(Exception):
    """`str()` says in a few words what is wrong."""


def check_id_token(token: str, keys: KeySet, expected: Expected) -> dict[str, Any]:
    """The claims. Raises `UnknownSigner`, `InvalidIdToken`."""
    if len(token) > MAX_TOKEN_CHARS:
        raise InvalidIdToken("its ID token is too long")
    try:
        decoded = jwt.decode(token, keys, algorithms=ALGORITHMS)
    except (BadSignatureError, InvalidKeyIdError) as error:
        raise UnknownSigner from error
    except (JoseError, ValueError) as error:
        raise InvalidIdToken(f"its ID token is not signed as it must be ({_said(error)})") from error
    claims = CodeIDToken(
        decoded.claims,
        decoded.header,
        options={
            "iss": {"essential": True, "value": expected.issuer},
            "aud": {"essential": True, "value": expected.client_id},
            "sub": {"essential": True},
            "nonce": {"essential": True, "value": expected.nonce},
        },
        params={"nonce": expected.nonce, "client_id": expected.client_id, "access_token": expected.access_token},
    )
    try:
        claims.validate(now=expected.now_s, leeway=LEEWAY_S)
    except (JoseError, ValueError, TypeError) as error:
        raise InvalidIdToken(f"its ID token does not fit this sign-in ({_said(error)})") from error
    if not isinstance(claims["sub"], str):
        raise InvalidIdToken("its ID token names nobody")
    return dict(claims)


def _said(error: Exception) -> str:
    """Names the claim or the rule; never a value of the token."""
    claim = getattr(error, "claim", None)
    return f"{getattr(error, 'error', type(error).__name__)}{f': {claim}' if claim else ''}"
