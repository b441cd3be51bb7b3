"""What a browser must know to trust this appliance: its certificate authority to take away, and whether that has been done."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Literal

from litestar import Response, get, post

from appliance.api.auth import ADMIN, PUBLIC, caller
from appliance.api.services import ApiRequest, services_of
from appliance.domain import Value
from appliance.errors import NoAuthority, TlsIsOff
from appliance.tls import Authority, Door, Shown

TAGS = ["Trust"]


class AuthorityState(Value, frozen=True):
    name: str
    not_after: datetime
    fingerprint_sha256: str


class TlsState(Value, frozen=True):
    """All of it can be seen by whoever connects."""

    mode: Literal["builtin", "files", "acme", "off"]
    confirmed: bool  # an administrator has said that people's computers trust the certificate
    strict_transport_s: int  # how long browsers are told to insist on HTTPS
    certificate: Shown | None = None
    authority: AuthorityState | None = None  # None: it is not the appliance's own


@get("/v1/tls", opt=PUBLIC, tags=TAGS, summary="The certificate in use, and the authority to trust", sync_to_thread=False)
def read_tls(request: ApiRequest) -> TlsState:
    return state_of(services_of(request).door)


@post("/v1/tls/confirm", opt=ADMIN, tags=TAGS, status_code=200, summary="Say that people's computers trust the certificate")
async def confirm_trust(request: ApiRequest) -> TlsState:
    """From then on browsers are told to insist on HTTPS for a year, not for five minutes. A new authority ends it."""
    services = services_of(request)
    if services.door is None or services.door.context is None:
        raise TlsIsOff
    await asyncio.to_thread(services.door.confirm_trust)
    await services.store.audit.record("authority.confirmed", caller(request).owner_id)
    return state_of(services.door)


@get("/trust/ca.pem", opt=PUBLIC, tags=TAGS, media_type="application/x-pem-file", sync_to_thread=False)
def authority_as_pem(request: ApiRequest) -> Response[bytes]:
    """The authority for Linux, Firefox and programs."""
    return download(authority_of(request).pem, "application/x-pem-file", "appliance-ca.pem")


@get("/trust/ca.crt", opt=PUBLIC, tags=TAGS, media_type="application/x-x509-ca-cert", sync_to_thread=False)
def authority_as_der(request: ApiRequest) -> Response[bytes]:
    """The authority for Windows, macOS, iOS and Android."""
    return download(authority_of(request).der, "application/x-x509-ca-cert", "appliance-ca.crt")


def state_of(door: Door | None) -> TlsState:
    if door is None:
        return TlsState(mode="off", confirmed=False, strict_transport_s=0)
    return TlsState(
        mode=door.mode,
        confirmed=door.trust_confirmed,
        strict_transport_s=door.strict_transport_s,
        certificate=door.shown,
        authority=authority_state(door.authority) if door.authority else None,
    )


def authority_state(authority: Authority) -> AuthorityState:
    return AuthorityState(authority.name, authority.not_after, authority.fingerprint)


def authority_of(request: ApiRequest) -> Authority:
    door = services_of(request).door
    if door is None or door.authority is None:
        raise NoAuthority
    return door.authority


def download(content: bytes, media_type: str, name: str) -> Response[bytes]:
    return Response(content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})
