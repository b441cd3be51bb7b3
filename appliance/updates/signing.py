"""The keys that sign releases: files under a passphrase, kept away from the checkout and from the appliance's data.

Also the development keys, which anybody can derive: they make bundles for trying things out, and prove nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner, Signer

from appliance.errors import SiteRootRefused

ROOT_KEYS = ("root-1", "root-2", "root-3")
RELEASE_KEYS = ("targets", "snapshot", "timestamp")
SITE_KEY = "site"
CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Keys:
    """Who signs what. `root` may hold fewer than there are, as long as there are enough."""

    root: Sequence[Signer]
    release: Mapping[str, Signer]  # by role: targets, snapshot, timestamp


def development_keys() -> Keys:
    """Derived from their public names: no secret at all."""

    def derive(name: str) -> Signer:
        seed = hashlib.sha256(f"appliance development key {name}".encode()).digest()
        return CryptoSigner(Ed25519PrivateKey.from_private_bytes(seed))

    return Keys([derive(name) for name in ROOT_KEYS], {name: derive(name) for name in RELEASE_KEYS})


def make_vendor_keys(folder: Path, passphrase: str) -> Keys:
    """Six files; the three of the root belong on three media in three places."""
    return Keys(
        [make_key(folder, name, passphrase) for name in ROOT_KEYS],
        {name: make_key(folder, name, passphrase) for name in RELEASE_KEYS},
    )


def make_site_key(folder: Path, passphrase: str) -> Keys:
    """One key for everything: a site has one administrator who trusts himself."""
    return _for_everything(make_key(folder, SITE_KEY, passphrase))


def load_keys(folders: Sequence[Path], passphrase: str) -> Keys:
    """The keys found in these folders. Raises SiteRootRefused: a wrong passphrase, or a key for releases is missing."""
    found = {path.stem: path for folder in folders for path in sorted(folder.glob("*.pem"))}
    if SITE_KEY in found:
        return _for_everything(load_key(found[SITE_KEY], passphrase))
    missing = [name for name in RELEASE_KEYS if name not in found]
    if missing:
        raise SiteRootRefused(f"There is no key '{missing[0]}.pem' in the folders of keys.", "Name all folders, each with --keys.")
    root = [load_key(found[name], passphrase) for name in ROOT_KEYS if name in found]
    return Keys(root, {name: load_key(found[name], passphrase) for name in RELEASE_KEYS})


def make_key(folder: Path, name: str, passphrase: str) -> Signer:
    """Write `<name>.pem`, readable by its owner only. Raises SiteRootRefused rather than replace one."""
    if folder.resolve().is_relative_to(CHECKOUT):
        raise SiteRootRefused(f"{folder} lies in the checkout of the program.", "Keep keys somewhere else, best on a stick.")
    if not passphrase:
        raise SiteRootRefused("A key needs a passphrase.", "Choose a long one; nobody can recover it.")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode()))
    try:
        descriptor = os.open(folder / f"{name}.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise SiteRootRefused(f"There is a key '{name}.pem' in {folder} already.", "Use it, or choose another folder.") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    return CryptoSigner(key)


def load_key(path: Path, passphrase: str) -> Signer:
    try:
        key = load_pem_private_key(path.read_bytes(), passphrase.encode())
    except ValueError as error:
        raise SiteRootRefused(f"{path} cannot be opened with this passphrase.", "Try again.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SiteRootRefused(f"{path} is a key of another kind.", "Make keys with this program.")
    return CryptoSigner(key)


def _for_everything(signer: Signer) -> Keys:
    return Keys([signer], dict.fromkeys(RELEASE_KEYS, signer))
