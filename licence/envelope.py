"""DSSE 1.0 (Dead Simple Signing Envelope): a signature over exact bytes, so that nothing is parsed before it is trusted.

Knows nothing of licences. Source: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md and `envelope.md` there.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from licence.errors import BadSignature, UnknownSigner, UnreadableLicence, WrongKind
from licence.keys import PublicKey, TrustedKeys, public_key_of

MAX_BYTES: Final = 64 * 2**10


class Signature(msgspec.Struct, frozen=True):
    sig: str  # base64
    keyid: str = ""  # says which key to try; it is not signed


class Envelope(msgspec.Struct, frozen=True, rename="camel"):
    payload_type: str
    payload: str  # base64
    signatures: tuple[Signature, ...]


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """What is signed: `"DSSEv1" SP LEN(type) SP type SP LEN(body) SP body`."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, *keys: Ed25519PrivateKey) -> bytes:
    """The envelope as a file: one line of JSON. With two keys it is trusted by whoever knows either."""
    message = pre_authentication_encoding(payload_type, payload)
    signatures = tuple(Signature(_base64(key.sign(message)), public_key_of(key).id) for key in keys)
    return msgspec.json.encode(Envelope(payload_type, _base64(payload), signatures)) + b"\n"


def verify(raw: bytes, payload_type: str, trusted: TrustedKeys) -> bytes:
    """The signed bytes, once one signature by one of the trusted keys holds; does not look into them.

    Raises `UnreadableLicence`, `WrongKind`, `UnknownSigner`, `BadSignature`.
    """
    envelope = read_envelope(raw)
    if envelope.payload_type != payload_type:
        raise WrongKind(envelope.payload_type)
    payload = payload_of(envelope)
    message = pre_authentication_encoding(envelope.payload_type, payload)
    known = {key.id: key for key in trusted}
    ours = [signature for signature in envelope.signatures if signature.keyid in known]
    if not ours:
        raise UnknownSigner([signature.keyid for signature in envelope.signatures])
    if not any(_holds(signature, message, known[signature.keyid]) for signature in ours):
        raise BadSignature
    return payload


def read_envelope(raw: bytes) -> Envelope:
    """The envelope, with nothing in it trusted. Raises `UnreadableLicence`."""
    if len(raw) > MAX_BYTES:
        raise UnreadableLicence(f"it is larger than {MAX_BYTES // 2**10} KiB")
    try:
        return msgspec.json.decode(raw, type=Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableLicence("it is not the signed JSON that a licence is") from error


def payload_of(envelope: Envelope) -> bytes:
    """What the envelope says, unverified: for showing only. Raises `UnreadableLicence`."""
    return _bytes(envelope.payload, "payload")


def _holds(signature: Signature, message: bytes, key: PublicKey) -> bool:
    try:
        key.verifier().verify(_bytes(signature.sig, "signature"), message)
    except InvalidSignature:
        return False
    return True


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str, what: str) -> bytes:
    """Exactly one text stands for some bytes: bits that base64 leaves over are not let through."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnreadableLicence(f"its {what} is not base64") from error
    if _base64(raw) != text:
        raise UnreadableLicence(f"its {what} is not base64 as it should be")
    return raw
