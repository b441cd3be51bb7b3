"""A key in a file beside the database, for the few values that must be readable here and in no copy of the database alone."""

from __future__ import annotations

import os
import secrets
from functools import cached_property
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.errors import SealBroken

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


class LocalKey:
    """AES-256-GCM with a random nonce each time. The file is made when it is first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def seal(self, secret: bytes, about: str) -> bytes:
        """`about` names what it belongs to, so that a sealed value moved elsewhere does not open."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, about.encode())

    def open(self, sealed: bytes, about: str) -> bytes:
        """Raises `SealBroken`: another key file, or another place."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about.encode())
        except InvalidTag as error:
            raise SealBroken(self._path.name) from error

    @cached_property
    def _cipher(self) -> AESGCM:
        try:
            return AESGCM(self._path.read_bytes())
        except FileNotFoundError:
            _make(self._path)
            return AESGCM(self._path.read_bytes())


def _make(path: Path) -> None:
    """Whole or not at all; whoever is first wins."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(KEY_BYTES))
        os.fsync(descriptor)
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        os.close(descriptor)
        draft.unlink()
