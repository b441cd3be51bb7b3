"""The vendor's public keys: the current one and the next, so that a key can be changed without refusing an old licence.

`keys.json` beside this file holds those built in. What is in the repository is the **development root**: its private halves
were thrown away when it was made, and nobody can sign with it. A release puts the vendor's keys there (docs/licence.md,
"At a release"), and `python -m licence check-release` refuses to go on while it still finds the development root.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from importlib.resources import files
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

DEVELOPMENT_KEY_IDS: Final = frozenset({"805c0cdb1ab160f1", "92df5bea775f1ba0"})


class PublicKey(msgspec.Struct, frozen=True):
    ed25519: str  # the 32 bytes of RFC 8032, base64

    @property
    def raw(self) -> bytes:
        return base64.b64decode(self.ed25519, validate=True)

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of its SHA-256."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def verifier(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self.raw)


class TrustedKeys(msgspec.Struct, frozen=True):
    """A licence signed by either is trusted; older licences stay valid after `next` has become `current`'s successor."""

    current: PublicKey
    next: PublicKey
    former: tuple[PublicKey, ...] = ()  # no longer signed with, still trusted: a new image never refuses an old licence

    def __iter__(self) -> Iterator[PublicKey]:
        yield from (self.current, self.next, *self.former)

    @property
    def is_development(self) -> bool:
        return any(key.id in DEVELOPMENT_KEY_IDS for key in self)


def public_key_of(key: Ed25519PrivateKey) -> PublicKey:
    return PublicKey(base64.b64encode(key.public_key().public_bytes_raw()).decode())


def read_trusted_keys(raw: bytes) -> TrustedKeys:
    """Raises `msgspec.DecodeError` or `ValueError` for what is not a file of keys."""
    keys = msgspec.json.decode(raw, type=TrustedKeys)
    for key in keys:
        key.verifier()
    return keys


EMBEDDED: Final = read_trusted_keys(files("licence").joinpath("keys.json").read_bytes())
