"""Sealing to a public key: HPKE (RFC 9180) in base mode with DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM.

One message for each key. `info` binds the message to its purpose, so that one cannot be passed off as another. The sender
is not authenticated: whoever has the public key can seal to it.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.crypto.encoding import join_fields
from appliance.errors import ResultSealBroken, SealKeyInvalid

PUBLIC_KEY_BYTES: Final = 65  # an uncompressed point: 4, x, y
_SUITE: Final = hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def result_info(slug: str) -> bytes:
    """For a result sealed to a browser: that of one transcript."""
    return join_fields(("appliance private result", 1, slug))


WORKER_INFO: Final = join_fields(("appliance worker result", 1))  # from the worker to the process that joins


def check_public_key(public_key: bytes) -> None:
    """Raises `SealKeyInvalid` unless it is a point on P-256, uncompressed."""
    _load(public_key)


def seal(content: bytes, public_key: bytes, info: bytes) -> bytes:
    """The encapsulated key (65 bytes), then the ciphertext with its tag. Raises `SealKeyInvalid`."""
    return _SUITE.encrypt(content, _load(public_key), info=info)


class Recipient:
    """A key pair that lives in this process only."""

    def __init__(self) -> None:
        self._private_key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public_key(self) -> bytes:
        return self._private_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Raises `ResultSealBroken`: altered, meant for another key, or for another purpose."""
        try:
            return _SUITE.decrypt(sealed, self._private_key, info=info)
        except (InvalidTag, ValueError) as error:
            raise ResultSealBroken from error


def _load(public_key: bytes) -> ec.EllipticCurvePublicKey:
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise SealKeyInvalid(f"has {len(public_key)} bytes, not {PUBLIC_KEY_BYTES}")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)
    except ValueError as error:
        raise SealKeyInvalid("is no point on the curve P-256") from error
