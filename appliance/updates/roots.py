"""Whom this appliance trusts: the vendor's root comes with the program, the site's own is made or brought by its administrator.

The root in `roots/vendor.json` is for development: its keys can be derived by everybody (`signing.py`). A release build puts
the real one in its place; `is_development` is how `appliance doctor` and the release's own check tell them apart.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization import DeserializationError

from appliance.catalogue.activation import sync_folder
from appliance.catalogue.releases import Channel, channel_folder
from appliance.errors import SiteRootRefused
from appliance.updates.releases import TRUST, Releases

VENDOR_ROOT = Path(__file__).with_name("roots") / "vendor.json"
DEVELOPMENT = "development"  # field of a signed root whose keys are no secret
_CREATE = "Make one with 'appliance models root create FOLDER', or bring one with 'appliance models root add FILE'."


def vendor_root() -> bytes:
    return VENDOR_ROOT.read_bytes()


def is_development(root: bytes) -> bool:
    return bool(Metadata[Root].from_bytes(root).signed.unrecognized_fields.get(DEVELOPMENT))


def site_root_path(models_dir: Path) -> Path:
    return channel_folder(models_dir, Channel.SITE) / "root.json"


def site_root(models_dir: Path) -> bytes:
    """Raises SiteRootRefused when the site has none."""
    try:
        return site_root_path(models_dir).read_bytes()
    except FileNotFoundError:
        raise SiteRootRefused("This site has no trust root of its own.", _CREATE) from None


def read_root(path: Path) -> bytes:
    """Raises SiteRootRefused when there is no such file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SiteRootRefused(f"'{path}' cannot be read: {error.strerror}.", "Give the file '1.root.json'.") from error


def add_site_root(models_dir: Path, data: bytes, *, replace: bool = False) -> str:
    """Trust this root from now on; returns its fingerprint. Raises SiteRootRefused.

    With `replace` what was learned from the one before is forgotten with it; models that came in stay.
    """
    found = check_root(data)
    path = site_root_path(models_dir)
    if path.exists() and path.read_bytes() != data and not replace:
        raise SiteRootRefused("This site has a trust root already.", "With 'root add --replace' another takes its place.")
    with Releases(models_dir).importing():
        if path.exists() and path.read_bytes() != data:
            shutil.rmtree(path.with_name(TRUST), ignore_errors=True)
        temporary = path.with_name(f"{path.name}.new")
        temporary.write_bytes(data)
        temporary.replace(path)
        sync_folder(path.parent)
    return found


def refuse_inside(folder: Path, *forbidden: Path) -> None:
    """Keys that lie beside what they protect protect nothing. Raises SiteRootRefused."""
    for other in forbidden:
        if folder.resolve().is_relative_to(other.resolve()):
            raise SiteRootRefused(f"{folder} lies inside {other}, where the appliance keeps its own.", "Choose another folder.")


def check_root(data: bytes) -> str:
    """The fingerprint of a root, for people to compare. Raises SiteRootRefused when it is none, or not signed by itself."""
    try:
        found = Metadata[Root].from_bytes(data)
        if not isinstance(found.signed, Root):
            raise SiteRootRefused("This is another kind of list, not a trust root.", "Give the file '1.root.json'.")
        found.signed.verify_delegate(Root.type, found.signed_bytes, found.signatures)
    except (DeserializationError, RepositoryError) as error:
        raise SiteRootRefused("This file is not a trust root that is signed by its own keys.", "Give '1.root.json'.") from error
    return fingerprint(found.signed)


def fingerprint(root: Root) -> str:
    """The beginnings of its keys' identifiers."""
    return " ".join(sorted(keyid[:16] for keyid in root.roles[Root.type].keyids))
