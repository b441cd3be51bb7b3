"""Keys of backups: age's X25519 pairs (https://age-encryption.org/v1). The server needs the public half only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyrage

from appliance.errors import BackupRefused

MAX_KEY_FILE_BYTES = 64 * 2**10
READABLE_IN_CONTAINER = "in the container user 10001 must be able to read it (chown 10001:10001)"


def make_pair() -> tuple[str, str]:
    """The public key `age1…`, and the lines of the file with the secret one, as `age-keygen` writes them."""
    identity = pyrage.x25519.Identity.generate()
    public = str(identity.to_public())
    return public, f"# public key: {public}\n{identity}\n"


def read_recipients(keys: Sequence[str]) -> list[pyrage.x25519.Recipient]:
    """Raises `BackupRefused`."""
    if not keys:
        raise BackupRefused(
            "It is not said for whom to encrypt the backup.",
            "Make a pair of keys with 'appliance backup keygen', and give the public one with --recipient or as the setting "
            "backup_recipients. Keep the secret one away from this server.",
        )
    try:
        return [pyrage.x25519.Recipient.from_str(key.strip()) for key in keys]
    except pyrage.RecipientError as error:
        raise BackupRefused("That is not a public key for backups.", "It begins with 'age1'.") from error


def read_identities(file: Path) -> list[pyrage.x25519.Identity]:
    """The secret keys of a file; lines that begin with # are comments. Raises `BackupRefused`."""
    try:
        with file.open("rb") as opened:
            lines = opened.read(MAX_KEY_FILE_BYTES).decode(errors="replace").splitlines()
    except OSError as error:
        raise BackupRefused(
            f"The key file {file} cannot be read: {error.strerror}.",
            f"Check its path, and whose it is: {READABLE_IN_CONTAINER}.",
        ) from error
    try:
        found = [pyrage.x25519.Identity.from_str(line.strip()) for line in lines if line.strip() and not line.startswith("#")]
    except pyrage.IdentityError as error:
        raise BackupRefused(
            f"The file {file} holds something that is no secret key.", "'appliance backup keygen' makes them."
        ) from error
    if not found:
        raise BackupRefused(f"The file {file} holds no secret key.", "'appliance backup keygen' makes them.")
    return found
