"""A maker of small releases with keys of its own, and a site that imports them. The weights are a header and noise."""

from __future__ import annotations

import hashlib
import io
import random
import struct
import tarfile
import wave
from collections.abc import Callable, Mapping
from pathlib import Path

from appliance.catalogue import Catalogue, Shelf
from appliance.catalogue.releases import Channel, ReleaseRecord
from appliance.updates.bundle import open_bundle
from appliance.updates.importer import Trial, TryOut, import_bundle
from appliance.updates.release import Canary
from appliance.updates.releases import Releases
from appliance.updates.repository import Repository, plan_model
from appliance.updates.signing import Keys, development_keys

ENTRY = """
id = "{id}"
name = "Tiny"
description = "For tests."
kind = "recognition"
backend = "whisper"
languages = ["en"]
memory_bytes = 1
licence = "MIT"
"""


def weights(seed: int, size_bytes: int = 40_000) -> bytes:
    """What CTranslate2's files begin with, and noise."""
    return struct.pack("<IH", 6, 12) + b"WhisperSpec\0" + random.Random(seed).randbytes(size_bytes)


def model_files(seed: int, size_bytes: int = 40_000) -> dict[str, bytes]:
    return {"model.bin": weights(seed, size_bytes), "config.json": b"{}", "vocabulary.txt": b"release %d\n" % seed}


def clip_of(seconds: float = 0.1) -> bytes:
    packed = io.BytesIO()
    with wave.open(packed, "wb") as clip:
        clip.setparams((1, 2, 16_000, 0, "NONE", ""))
        clip.writeframes(bytes(int(seconds * 16_000) * 2))
    return packed.getvalue()


class Maker:
    """Makes releases as the vendor does, and bundles of them."""

    def __init__(self, folder: Path, keys: Keys | None = None, threshold: int = 2) -> None:
        self.folder = folder
        self.keys = keys or development_keys()
        self.repository = Repository(folder / "repository")
        self.repository.create(self.keys, threshold=threshold)

    @property
    def anchor(self) -> bytes:
        return (self.repository.metadata / "1.root.json").read_bytes()

    def release(
        self, seed: int, *, model_id: str = "tiny", files: Mapping[str, bytes] | None = None, minimum_version: str = "0"
    ) -> int:
        source = self.folder / f"files-{seed}-{random.getrandbits(40):x}"
        for name, content in (files or model_files(seed)).items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (self.folder / "entry.toml").write_text(ENTRY.format(id=model_id))
        (self.folder / "clip.wav").write_bytes(clip_of())
        canary = Canary(self.repository.store(self.folder / "clip.wav"), "hello world")
        plan = plan_model(self.repository, self.folder / "entry.toml", source, canary, minimum_version)
        return self.repository.put(plan, self.keys)

    def tar(self, name: str = "bundle", since: int | None = None) -> Path:
        target = self.folder / f"{name}.tar"
        self.repository.write_bundle(target, since)
        return target

    def bundle(self, name: str = "bundle", since: int | None = None) -> Path:
        """As a folder."""
        self.repository.write_bundle(self.folder / name, since)
        return self.folder / name


def passes(_trial: Trial) -> None:
    """Every model works."""


class Site:
    """The models of an appliance, with a shelf as the running one has it."""

    def __init__(self, folder: Path, anchor: bytes) -> None:
        self.models_dir = folder / "models"
        self.anchor = anchor
        self.releases = Releases(self.models_dir)
        self.shelf = Shelf(Catalogue({}), self.models_dir)

    def take(
        self, path: Path, *, try_out: TryOut = passes, channel: Channel = Channel.VENDOR, activate: bool = True
    ) -> ReleaseRecord:
        with open_bundle(path) as bundle:
            return import_bundle(bundle, self.releases, channel, self.anchor, try_out=try_out, activate=activate)

    def serves(self, model_id: str = "tiny") -> int:
        """The seed of the release that a request gets now: the shelf finds it, and its bytes are those that were made."""
        assert self.shelf.resolve(model_id, model_id, {}).id == model_id
        folder = self.shelf.path(model_id)
        self.shelf.verify(model_id)
        seed = int((folder / "vocabulary.txt").read_text().split()[1])
        assert (folder / "model.bin").read_bytes() == model_files(seed)["model.bin"]
        return seed

    def remembered(self) -> dict[str, str]:
        """What the channel believes, as checksums."""
        folder = self.releases.folder / "vendor" / "trust"
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.json")}

    def leftovers(self) -> list[str]:
        """Files that nobody needs: half contents, folders of work."""
        strange = list((self.releases.folder / "blobs").rglob("*.part"))
        return [path.name for path in [*strange, *self.releases.folder.glob("*/work")]]


def rewrite(tar: Path, change: Callable[[tarfile.TarInfo, bytes], list[tuple[tarfile.TarInfo, bytes]]]) -> Path:
    """Another tar, each member replaced by what `change` makes of it."""
    target = tar.with_name(f"changed-{tar.name}")
    with tarfile.open(tar) as old, tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as new:
        for member in old:
            file = old.extractfile(member)
            for info, content in change(member, file.read() if file else b""):
                info.size = len(content) if info.isreg() else info.size
                new.addfile(info, io.BytesIO(content))
    return target
