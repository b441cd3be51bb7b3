"""What a request with a session cookie must show: the cookie of a session that lives, and for changes that our own page sent it.

The form is never read for a token (TRAPS 2): it comes in a header, which other sites cannot set, and is checked before the body
is received. API keys need none of it: no browser adds them by itself.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie, State

from appliance.errors import CrossSite, CsrfTokenWrong

AnyConnection = ASGIConnection[Any, Any, Any, State]

SECURE_COOKIE: Final = "__Host-session"  # a browser takes it over TLS only, from this host only, for every path
PLAIN_COOKIE: Final = "session"  # where the appliance is reached over plain HTTP on its own machine
SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS"))
RECENT: Final = timedelta(minutes=15)


def session_secret(connection: AnyConnection) -> str | None:
    return connection.cookies.get(_cookie_name(connection)) or None


def session_cookie(connection: AnyConnection, secret: str) -> Cookie:
    """Gone with the browser; how long the session itself lasts is the server's to say."""
    return Cookie(
        key=_cookie_name(connection), value=secret, path="/", secure=is_secure(connection), httponly=True, samesite="strict"
    )


def forgotten_cookie(connection: AnyConnection) -> Cookie:
    return Cookie(
        key=_cookie_name(connection), value="", path="/", secure=is_secure(connection), httponly=True, samesite="strict", max_age=0
    )


def csrf_token(secret: str) -> str:
    """Made from the session's secret, which no script can read; so it need not be kept, and ends with the session."""
    return hmac.new(secret.encode(errors="replace"), b"csrf token", hashlib.sha256).hexdigest()


def check_own_page(connection: AnyConnection) -> None:
    """Raises `CrossSite` when a browser says that another site's page sent this. Other clients say nothing."""
    headers = connection.headers
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise CrossSite
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        raise CrossSite


def check_change(connection: AnyConnection, secret: str) -> None:
    """Raises `CrossSite`, `CsrfTokenWrong`."""
    method = connection.scope.get("method")
    if method in SAFE_METHODS:
        return
    check_own_page(connection)
    if method is None:
        return  # a WebSocket, which has no headers of a page's own; browsers always say where it comes from
    given = connection.headers.get("x-csrf-token", "")
    if not hmac.compare_digest(given.encode(errors="replace"), csrf_token(secret).encode()):
        raise CsrfTokenWrong


def is_secure(connection: AnyConnection) -> bool:
    return connection.url.scheme == "https"


def _cookie_name(connection: AnyConnection) -> str:
    return SECURE_COOKIE if is_secure(connection) else PLAIN_COOKIE
