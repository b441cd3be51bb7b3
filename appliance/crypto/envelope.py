"""The envelope of a private transcript: AES-256-GCM under a key made from a password (docs/private-transcripts.md).

The browser has its own implementation in `web/static/envelope.js`; this one is written from the document, and both are
held to the same vectors. Which transcript an envelope may be stored under is the API's business.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from typing import Annotated, Final, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Meta

from appliance.crypto.encoding import from_base64url, join_fields, pad, to_base64url, unpad
from appliance.domain import Value
from appliance.errors import EnvelopeInvalid, EnvelopeLocked

FORMAT: Final = "appliance-private-transcript"
FORMAT_VERSION: Final = 1
DEFAULT_ITERATIONS: Final = 600_000
MIN_ITERATIONS: Final = 100_000
MAX_ITERATIONS: Final = 5_000_000  # some ten seconds in a browser: a hostile envelope must not hang it
MAX_ENVELOPE_BYTES: Final = 64 * 2**20
SALT_BYTES, IV_BYTES, TAG_BYTES, KEY_BYTES = 16, 12, 16, 32

Identifier = Annotated[str, Meta(min_length=1, max_length=200)]
Base64Url = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]+$")]


class Kdf(Value, frozen=True, forbid_unknown_fields=True):
    iterations: Annotated[int, Meta(ge=MIN_ITERATIONS, le=MAX_ITERATIONS)]
    salt: Base64Url
    name: Literal["PBKDF2-SHA-256"]


class Envelope(Value, frozen=True, forbid_unknown_fields=True):
    """As it is stored: JSON with these fields, bytes in base64url without padding."""

    transcript: Identifier  # its slug
    owner: Identifier
    version: Annotated[int, Meta(ge=1, le=2**31)]  # of the envelope: one more with every change
    kdf: Kdf
    iv: Base64Url
    ciphertext: Base64Url  # with the tag of 16 bytes at its end
    cipher: Literal["AES-256-GCM"]
    format: Literal["appliance-private-transcript"]
    format_version: Literal[1]


def read_envelope(data: bytes) -> Envelope:
    """Checks everything that can be checked without the password. Raises `EnvelopeInvalid`."""
    if len(data) > MAX_ENVELOPE_BYTES:
        raise EnvelopeInvalid(f"it is larger than {MAX_ENVELOPE_BYTES // 2**20} MiB")
    try:
        envelope = msgspec.json.decode(data, type=Envelope)
    except msgspec.ValidationError as error:
        raise EnvelopeInvalid(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EnvelopeInvalid("it is not JSON") from error
    _check_size("salt", _bytes_of("salt", envelope.kdf.salt), SALT_BYTES)
    _check_size("iv", _bytes_of("iv", envelope.iv), IV_BYTES)
    if len(_bytes_of("ciphertext", envelope.ciphertext)) <= TAG_BYTES:
        raise EnvelopeInvalid("its 'ciphertext' is too short to hold anything")
    return envelope


def write_envelope(envelope: Envelope) -> bytes:
    return msgspec.json.encode(envelope)


def lock(
    content: bytes, password: str, *, transcript: str, owner: str, version: int, iterations: int = DEFAULT_ITERATIONS
) -> Envelope:
    """A new envelope, with a salt and an initialisation vector of its own."""
    kdf = Kdf(iterations, to_base64url(os.urandom(SALT_BYTES)), "PBKDF2-SHA-256")
    return lock_with(content, password, kdf, os.urandom(IV_BYTES), transcript=transcript, owner=owner, version=version)


def lock_with(content: bytes, password: str, kdf: Kdf, iv: bytes, *, transcript: str, owner: str, version: int) -> Envelope:
    """For test vectors: an `iv` must never be used twice with one key."""
    blank = Envelope(transcript, owner, version, kdf, to_base64url(iv), "", "AES-256-GCM", FORMAT, FORMAT_VERSION)
    sealed = AESGCM(derive_key(password, kdf)).encrypt(iv, pad(content), bound_data(blank))
    return msgspec.structs.replace(blank, ciphertext=to_base64url(sealed))


def unlock(envelope: Envelope, password: str) -> bytes:
    """The content. Raises `EnvelopeLocked` when the password is wrong or anything in the envelope was altered."""
    key, iv = derive_key(password, envelope.kdf), from_base64url(envelope.iv)
    try:
        return unpad(AESGCM(key).decrypt(iv, from_base64url(envelope.ciphertext), bound_data(envelope)))
    except (InvalidTag, ValueError) as error:
        raise EnvelopeLocked from error


def derive_key(password: str, kdf: Kdf) -> bytes:
    """PBKDF2 (RFC 8018) over the password in NFC and UTF-8: the same on every keyboard."""
    secret = unicodedata.normalize("NFC", password).encode()
    return hashlib.pbkdf2_hmac("sha256", secret, from_base64url(kdf.salt), kdf.iterations, KEY_BYTES)


def bound_data(envelope: Envelope) -> bytes:
    """The additional data of GCM: a change in any of these is seen as an alteration. GCM itself binds `iv`."""
    return join_fields(
        (
            envelope.format,
            envelope.format_version,
            envelope.transcript,
            envelope.owner,
            envelope.version,
            envelope.kdf.name,
            envelope.kdf.iterations,
            from_base64url(envelope.kdf.salt),
            envelope.cipher,
        )
    )


def _bytes_of(name: str, text: str) -> bytes:
    try:
        return from_base64url(text)
    except ValueError as error:
        raise EnvelopeInvalid(f"its '{name}' is not base64url") from error


def _check_size(name: str, content: bytes, n_bytes: int) -> None:
    if len(content) != n_bytes:
        raise EnvelopeInvalid(f"its '{name}' has {len(content)} bytes, not {n_bytes}")
