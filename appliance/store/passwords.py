"""Passwords: argon2id as RFC 9106 recommends it for machines that also do other work, a few at a time.

Each check takes 64 MiB for a fifth of a second; however many people (or attackers) sign in at once, no more than
`AT_ONCE` checks run, and the others wait.
"""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from appliance.errors import InvalidField

AT_ONCE: Final = 2
MIN_CHARS: Final = 12  # NIST SP 800-63B: length, and no rules about which characters
MAX_CHARS: Final = 256


class Passwords:
    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="password")

    async def hash(self, password: str) -> str:
        """In the PHC format, parameters and salt included."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._hasher.hash, password.encode())

    async def verify(self, stored: str | None, password: str) -> bool:
        """Takes as long for somebody who has no password, or does not exist (None)."""
        given = password.encode(errors="replace")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._verify, stored, given)

    def is_outdated(self, stored: str) -> bool:
        """It was made with other parameters than those of now."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    @cached_property
    def _nobodys(self) -> str:
        return self._hasher.hash(secrets.token_bytes(32))

    def _verify(self, stored: str | None, given: bytes) -> bool:
        nobodys = self._nobodys  # made before either answer, so that the first one does not tell them apart
        try:
            return self._hasher.verify(stored or nobodys, given) and stored is not None
        except (VerificationError, InvalidHashError):
            return False


def check_new_password(password: str, *known: str) -> None:
    """`known`: what everybody knows of the person, such as the e-mail address. Raises `InvalidField`."""
    if not MIN_CHARS <= len(password) <= MAX_CHARS:
        raise InvalidField("password", f"must have {MIN_CHARS} to {MAX_CHARS} characters", "A few words in a row are easy to keep.")
    if any("\ud800" <= char <= "\udfff" for char in password):
        raise InvalidField("password", "holds characters that are no text")
    if len(set(password)) < 4 or password.casefold() in {text.casefold() for text in known}:
        raise InvalidField("password", "is too easy to guess", "A few words in a row are easy to keep.")
