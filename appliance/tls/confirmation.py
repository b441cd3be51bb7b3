"""Whether an administrator has said that people's computers trust the certificate. It ends with the authority it was said of."""

from __future__ import annotations

from appliance.tls.private_folder import PrivateFolder

FILE = "trust-confirmed"


def is_confirmed(folder: PrivateFolder, anchor: str) -> bool:
    """`anchor`: what is trusted, e.g. the fingerprint of the authority."""
    return folder.read(FILE) == anchor.encode()


def confirm(folder: PrivateFolder, anchor: str) -> None:
    folder.write(FILE, anchor.encode())
