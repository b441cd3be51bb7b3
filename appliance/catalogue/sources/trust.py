"""Whom a download trusts: the machine's own certificates, and those of an organisation that runs its own authority."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import httpx

from appliance.errors import FetchFailed

_BUNDLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE")  # what package installers are told on such networks; SSL_CERT_FILE is read anyway


def trust_context(ca_file: Path | None) -> ssl.SSLContext:
    """Verifies servers against the public authorities, the machine's store, SSL_CERT_FILE and `ca_file` (PEM)."""
    context = httpx.create_ssl_context()
    context.load_default_certs()
    for bundle in {os.environ.get(name) for name in _BUNDLES} - {None, "", os.environ.get("SSL_CERT_FILE")}:
        _load(context, Path(str(bundle)), required=False)
    if ca_file:
        _load(context, ca_file, required=True)
    return context


def _load(context: ssl.SSLContext, bundle: Path, *, required: bool) -> None:
    try:
        context.load_verify_locations(cafile=bundle)
    except (OSError, ssl.SSLError) as error:
        if required:
            raise FetchFailed(f"The certificate file {bundle} cannot be used: {error}.", "It must be a PEM file.") from error
