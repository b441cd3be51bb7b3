"""The pages people open in a browser: static files, served as they stand in the repository.

Everything they show they fetch from the REST API with the reader's own key; nothing here knows a transcript.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from litestar import Request, Response, Router, get
from litestar.exceptions import NotFoundException

from appliance.domain import Value

STATIC_DIR = Path(__file__).parent / "static"

CONTENT_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}

# Only this appliance's own files run or load; no frame may hold the page; markup made from strings is refused.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",  # the code that an authenticator scans
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "object-src 'none'",
        "require-trusted-types-for 'script'",
    )
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

UNSEEN = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex, nofollow, noarchive"}  # of addresses that are a secret


class StaticFile(Value, frozen=True):
    content: bytes
    content_type: str
    etag: str


def _read(path: Path) -> StaticFile:
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
    return StaticFile(content=content, content_type=CONTENT_TYPES[path.suffix], etag=etag)


# Read once: a request names a key of this table, never a path.
FILES = {path.name: _read(path) for path in sorted(STATIC_DIR.iterdir()) if path.suffix in CONTENT_TYPES}


def _answer(request: Request[Any, Any, Any], file: StaticFile) -> Response[bytes]:
    """The file, or 304 when the browser holds this very content; `no-cache` makes it ask, so an update shows at once."""
    headers = {"ETag": file.etag, "Cache-Control": "no-cache"}
    if request.headers.get("If-None-Match") == file.etag:
        return Response(b"", status_code=304, headers=headers, media_type=file.content_type)
    return Response(file.content, headers=headers, media_type=file.content_type)


@get("/", include_in_schema=False, sync_to_thread=False)
def page(request: Request[Any, Any, Any]) -> Response[bytes]:
    return _answer(request, FILES["index.html"])


@get("/trust", include_in_schema=False, sync_to_thread=False)
def trust_page(request: Request[Any, Any, Any]) -> Response[bytes]:
    return _answer(request, FILES["trust.html"])


@get("/s/{token:str}", include_in_schema=False, sync_to_thread=False, response_headers=UNSEEN)
def shared_page(token: str) -> Response[bytes]:
    """The same for every link, good or not; what the link shows is asked for by the page."""
    return Response(FILES["shared.html"].content, media_type=FILES["shared.html"].content_type)


@get("/static/{name:str}", include_in_schema=False, sync_to_thread=False)
def static_file(request: Request[Any, Any, Any], name: str) -> Response[bytes]:
    if name not in FILES:
        raise NotFoundException
    return _answer(request, FILES[name])


def routes() -> list[Router]:
    """The page at `/` and its files under `/static/`; no key is needed to load them, and they hold no data."""
    return [
        Router(
            "/",
            route_handlers=[page, trust_page, shared_page, static_file],
            response_headers=SECURITY_HEADERS,
            opt={"access": "public"},
        )
    ]
