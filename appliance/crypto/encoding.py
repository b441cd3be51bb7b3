"""How values become bytes that mean one thing only: length-prefixed fields, base64 without padding, padding of contents."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Final

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")
_SMALLEST_STEP_BYTES: Final = 1024
_PAD: Final = b"\x80"


def join_fields(fields: Iterable[bytes | str | int]) -> bytes:
    """Each field as its length (4 bytes, big-endian) and its bytes; texts in UTF-8, numbers in decimal digits."""
    encoded = (field if isinstance(field, bytes) else str(field).encode() for field in fields)
    return b"".join(len(field).to_bytes(4, "big") + field for field in encoded)


def to_base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def from_base64url(text: str) -> bytes:
    """Strict: one text for one content. Raises `ValueError`."""
    if len(text) % 4 == 1 or not _BASE64URL.fullmatch(text):
        raise ValueError("not base64url")
    content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if to_base64url(content) != text:
        raise ValueError("not the shortest base64url")
    return content


def pad(content: bytes) -> bytes:
    """0x80, then zeros up to a coarse length: at most an eighth longer (or 1 KiB), so the size says little about the text."""
    length = len(content) + 1
    step = max(_SMALLEST_STEP_BYTES, 1 << max(0, length.bit_length() - 4))
    return content + _PAD + bytes(-length % step)


def unpad(padded: bytes) -> bytes:
    """Raises `ValueError`."""
    end = padded.rstrip(b"\0")
    if not end.endswith(_PAD):
        raise ValueError("no padding")
    return end[: -len(_PAD)]
