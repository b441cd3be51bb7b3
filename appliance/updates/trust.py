"""Decides whether a bundle's signed lists may be believed, by the rules of The Update Framework (python-tuf's client).

Lists as bytes in, the verified list of files or a typed error out. What it remembers (roots and versions seen) goes into a
folder of the caller's, who makes it a copy and keeps it only if the whole import succeeds. The time is looked at once, at
the start. Contents are none of its business: their checksums stand in what is returned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    StorageError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.ngclient import FetcherInterface, Updater

from appliance.errors import MetadataMissing, MetadataTampered, TooFewSignatures, UpdateExpired, UpdateMixed, UpdateOlder, WrongRoot

_ORDER = (Timestamp.type, Snapshot.type, Targets.type)


def verify(metadata: Mapping[str, bytes], state: Path, anchor: bytes) -> Targets:
    """The files of the newest release in `metadata` ("timestamp.json", "7.targets.json", …), verified from the root `anchor`.

    `state` is what earlier calls remembered; it is changed even if this fails. Raises WrongRoot, TooFewSignatures,
    MetadataTampered, MetadataMissing, UpdateExpired, UpdateOlder, UpdateMixed, and OSError where `state` cannot be written.
    """
    known = _versions(state)
    lists = _Lists(metadata)
    now = datetime.now(UTC)
    updater = Updater(str(state), "bundle:/metadata/", fetcher=lists, bootstrap=anchor)
    try:
        updater.refresh()
    except ExpiredMetadataError as error:
        raise _expired(metadata, state, now) from error
    except (BadVersionNumberError, LengthOrHashMismatchError) as error:
        raise _older_or_mixed(lists, state, known) from error
    except UnsignedMetadataError as error:
        _explain_signatures(lists.role, metadata[lists.asked], state)
        raise TooFewSignatures(lists.role, 0, 1) from error
    except DownloadHTTPError as error:
        raise MetadataMissing(lists.asked) from error
    except (RepositoryError, DownloadError) as error:
        if "is missing info" in str(error):  # a snapshot that forgot a list it had
            raise UpdateOlder(lists.role) from error
        raise MetadataTampered(lists.role) from error
    return Metadata[Targets].from_file(str(state / "targets.json")).signed


class _Lists(FetcherInterface):
    """Hands the bundle's lists to the client as if they came from a server."""

    def __init__(self, metadata: Mapping[str, bytes]) -> None:
        self.all = metadata
        self.asked = ""  # the name that was asked for last: where an error is about it

    @property
    def role(self) -> str:
        return self.asked.removesuffix(".json").rpartition(".")[2]

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.rpartition("/")[2]
        self.asked = name if name in self.all or "root" not in name else self.asked  # a missing next root is no fault
        if name not in self.all:
            raise DownloadHTTPError(f"no {name}", 404)
        return iter((self.all[name],))


def _versions(state: Path) -> dict[str, int]:
    """The highest versions that were accepted before."""
    return {role: found.signed.version for role in _ORDER if (found := _load(state / f"{role}.json"))}


def _load(path: Path) -> Metadata[Any] | None:
    try:
        return Metadata.from_file(str(path))
    except (DeserializationError, StorageError):
        return None


def _parse(data: bytes) -> Metadata[Any] | None:
    try:
        return Metadata.from_bytes(data)
    except DeserializationError:
        return None


def _expired(metadata: Mapping[str, bytes], state: Path, now: datetime) -> UpdateExpired:
    """The list that ends first among those that have ended."""
    found = [_load(state / "root.json"), *(_parse(data) for name, data in metadata.items() if "root" not in name)]
    ended = [one.signed for one in found if one and one.signed.is_expired(now)]
    worst = min(ended or [one.signed for one in found if one], key=lambda signed: signed.expires)
    return UpdateExpired(worst.type, f"{worst.expires:%Y-%m-%d}", f"{now:%Y-%m-%d}")


def _older_or_mixed(lists: _Lists, state: Path, known: Mapping[str, int]) -> UpdateOlder | UpdateMixed | MetadataTampered:
    data = lists.all.get(lists.asked, b"")
    found = _parse(data)
    if found is None or lists.role == Root.type:
        return MetadataTampered(lists.role)
    if found.signed.version < known.get(lists.role, 0) and _is_older(lists, known):
        return UpdateOlder(lists.role)
    _explain_signatures(lists.role, data, state)
    return UpdateMixed(lists.role)


def _is_older(lists: _Lists, known: Mapping[str, int]) -> bool:
    """Whether the bundle as a whole is old, not only one list that was put into a newer one."""
    timestamp = _parse(lists.all.get("timestamp.json", b""))
    return timestamp is None or lists.role == Timestamp.type or timestamp.signed.version <= known.get(Timestamp.type, 0)


def _explain_signatures(role: str, data: bytes, state: Path) -> None:
    """Why the signatures of a list do not count; returns where they do."""
    found, root = _parse(data), _load(state / "root.json")
    if found is None or root is None or not isinstance(root.signed, Root):
        raise MetadataTampered(role)
    trusted = root.signed.roles[role]
    result = root.signed.get_verification_result(role, found.signed_bytes, found.signatures)
    if result.verified:
        return
    known = [keyid for keyid in found.signatures if keyid in trusted.keyids]
    if found.signatures and not known:
        raise WrongRoot(role)
    if len(known) >= trusted.threshold:
        raise MetadataTampered(role)
    raise TooFewSignatures(role, len(result.signed), trusted.threshold)
