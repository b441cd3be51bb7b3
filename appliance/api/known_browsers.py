"""Browsers in which somebody has signed in before, told by a cookie; attempts from there are counted apart.

Whoever guesses elsewhere cannot keep those people out, even where everybody comes from one address, as behind a proxy or the
container's gate. Published as "Slow Down Online Guessing Attacks with Device Cookies" (OWASP). The cookie opens nothing: it is
sealed to one account, and its browser has no more attempts than an address has.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Final

from litestar.datastructures import Cookie

from appliance.api.services import ApiRequest, services_of
from appliance.api.session_guard import is_secure
from appliance.errors import SealBroken

SECURE_COOKIE: Final = "__Host-known"
PLAIN_COOKIE: Final = "known"
LASTS_S: Final = 365 * 24 * 3600
BROWSER_BYTES: Final = 12


def origin_of_attempt(request: ApiRequest, account: str) -> str:
    """What failures are counted by: this browser, where it is known for the account, and otherwise the address."""
    sealed = request.cookies.get(_name(request), "")
    try:
        browser = services_of(request).store.people_key.open(base64.urlsafe_b64decode(sealed), _about(account))
    except (SealBroken, binascii.Error, ValueError):
        return request.client.host if request.client else ""
    return f"browser {browser.hex()}"


def known_cookie(request: ApiRequest, account: str) -> Cookie:
    """For the answer at the door. A new one each time, so that none is worth stealing for long."""
    sealed = services_of(request).store.people_key.seal(secrets.token_bytes(BROWSER_BYTES), _about(account))
    return Cookie(
        key=_name(request),
        value=base64.urlsafe_b64encode(sealed).decode(),
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
        max_age=LASTS_S,
    )


def _about(account: str) -> str:
    return f"known browser of {account}"


def _name(request: ApiRequest) -> str:
    return SECURE_COOKIE if is_secure(request) else PLAIN_COOKIE
