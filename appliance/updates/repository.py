"""The maker's side: a folder of signed lists and contents from which bundles are cut, whole or as differences.

Lists live long, since a site without a network sees a new bundle perhaps once a year.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tomllib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from appliance.catalogue.manifest import INSTALLED, VERIFIED, sha256_of
from appliance.errors import InvalidRequest
from appliance.updates.bundle import BLOBS, METADATA
from appliance.updates.release import CUSTOM, Canary, ModelPlan, ReleasePlan
from appliance.updates.roots import DEVELOPMENT
from appliance.updates.signing import RELEASE_KEYS, Keys

LIFETIMES = {
    Root.type: timedelta(days=5 * 365),
    Targets.type: timedelta(days=2 * 365),
    Snapshot.type: timedelta(days=365),
    Timestamp.type: timedelta(days=365),
}


class Repository:
    """Never rewrites a list that was signed; each change makes the next version. Not safe for two makers at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metadata = folder / METADATA
        self.blobs = folder / BLOBS

    def create(self, keys: Keys, *, threshold: int, development: bool = False, now: datetime | None = None) -> None:
        """An empty repository with its first root, signed by `threshold` of the root keys at least."""
        if (self.metadata / "1.root.json").exists():
            raise InvalidRequest(f"There is a repository in {self.folder} already.", "Use it, or choose another folder.")
        self.metadata.mkdir(parents=True, exist_ok=True)
        self.blobs.mkdir(parents=True, exist_ok=True)
        marks = {DEVELOPMENT: True} if development else {}
        root = Root(expires=_expiry(Root.type, now), consistent_snapshot=True, unrecognized_fields=marks)
        for signer in keys.root:
            root.add_key(signer.public_key, Root.type)
        for role in RELEASE_KEYS:
            root.add_key(keys.release[role].public_key, role)
        root.roles[Root.type].threshold = threshold
        self._write(f"1.{Root.type}", Metadata(root), keys.root)

    def renew_root(self, keys: Keys, *, now: datetime | None = None) -> int:
        """The next root, with the same keys and a new date of expiry. Returns its version."""
        root = self.root()
        root.version += 1
        root.expires = _expiry(Root.type, now)
        self._write(f"{root.version}.{Root.type}", Metadata(root), keys.root)
        return root.version

    def root(self) -> Root:
        versions = [int(path.name.partition(".")[0]) for path in self.metadata.glob("*.root.json")]
        if not versions:
            raise InvalidRequest(f"There is no repository in {self.folder}.", "Make one with 'init'.")
        return Metadata[Root].from_file(str(self.metadata / f"{max(versions)}.root.json")).signed

    def version(self) -> int:
        """Of the newest release; 0 while there is none."""
        return max((int(path.name.partition(".")[0]) for path in self.metadata.glob("*.targets.json")), default=0)

    def targets(self, version: int) -> Targets:
        path = self.metadata / f"{version}.{Targets.type}.json"
        if not path.exists():
            raise InvalidRequest(f"There is no release {version} in {self.folder}.", f"The newest is {self.version()}.")
        return Metadata[Targets].from_file(str(path)).signed

    def plan(self) -> ReleasePlan:
        """What the newest release holds."""
        if not self.version():
            return ReleasePlan(())
        return msgspec.convert(self.targets(self.version()).unrecognized_fields[CUSTOM], ReleasePlan)

    def store(self, path: Path) -> str:
        """Take a file in; returns its SHA-256."""
        sha256 = sha256_of(path)
        if not (self.blobs / sha256).exists():
            shutil.copyfile(path, self.blobs / sha256)
        return sha256

    def put(self, model: ModelPlan, keys: Keys, *, note: str = "", now: datetime | None = None) -> int:
        """Release the model beside the others of the newest release, in the place of one of the same id."""
        others = [other for other in self.plan().models if other.model != model.model]
        made_at = (now or datetime.now(UTC)).replace(microsecond=0)
        return self.release(ReleasePlan((*others, model), note, made_at), keys, now=now)

    def release(self, plan: ReleasePlan, keys: Keys, *, now: datetime | None = None) -> int:
        """Sign a release of models whose files were stored. Returns its version."""
        version = self.version() + 1
        blobs = sorted({sha256 for model in plan.models for sha256 in (*model.files.values(), model.canary.clip)})
        targets = {sha256: TargetFile((self.blobs / sha256).stat().st_size, {"sha256": sha256}, sha256) for sha256 in blobs}
        custom = {CUSTOM: msgspec.to_builtins(plan)}
        signed = Targets(version, None, _expiry(Targets.type, now), targets, unrecognized_fields=custom)
        data = self._write(f"{version}.{Targets.type}", Metadata(signed), [keys.release[Targets.type]])
        snapshot = Snapshot(version, None, _expiry(Snapshot.type, now), {"targets.json": _described(version, data)})
        data = self._write(f"{version}.{Snapshot.type}", Metadata(snapshot), [keys.release[Snapshot.type]])
        timestamp = Timestamp(version, None, _expiry(Timestamp.type, now), _described(version, data))
        self._write(Timestamp.type, Metadata(timestamp), [keys.release[Timestamp.type]])
        return version

    def write_bundle(self, target: Path, since: int | None = None) -> int:
        """The newest release as a `.tar` or a folder; with `since` only the contents that release did not have. Returns bytes."""
        members = list(self._members(since))
        if target.suffix == ".tar":
            with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as tar:
                for path in members:
                    _add(tar, path, path.relative_to(self.folder).as_posix())
        else:
            for path in members:
                copy = target / path.relative_to(self.folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
        return sum(path.stat().st_size for path in members)

    def _members(self, since: int | None) -> Iterator[Path]:
        """Lists first: whoever reads must know what to expect."""
        version = self.version()
        earlier = set(self.targets(since).targets) if since else set()
        yield from sorted(self.metadata.glob("*.root.json"), key=lambda path: int(path.name.partition(".")[0]))
        yield self.metadata / "timestamp.json"
        yield self.metadata / f"{version}.{Snapshot.type}.json"
        yield self.metadata / f"{version}.{Targets.type}.json"
        yield from (self.blobs / sha256 for sha256 in sorted(self.targets(version).targets) if sha256 not in earlier)

    def _write(self, name: str, metadata: Metadata[Any], signers: Sequence[Signer]) -> bytes:
        for signer in signers:
            metadata.sign(signer, append=True)
        data = metadata.to_bytes()
        (self.metadata / f"{name}.json").write_bytes(data)
        return data


def plan_model(repository: Repository, entry: Path, folder: Path, canary: Canary, minimum_version: str = "0") -> ModelPlan:
    """Store an installed model (or a folder of its files) under the catalogue entry `entry`, a TOML file."""
    text = entry.read_text(encoding="utf-8")
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in (INSTALLED, VERIFIED)]
    files = {path.relative_to(folder).as_posix(): repository.store(path) for path in paths}
    return ModelPlan(str(tomllib.loads(text)["id"]), text, files, canary, minimum_version)


def _described(version: int, data: bytes) -> MetaFile:
    return MetaFile(version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})


def _expiry(role: str, now: datetime | None) -> datetime:
    return ((now or datetime.now(UTC)) + LIFETIMES[role]).replace(microsecond=0)


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    member = tarfile.TarInfo(name)
    member.size = path.stat().st_size
    member.mode = 0o644
    with path.open("rb") as file:
        tar.addfile(member, file)
