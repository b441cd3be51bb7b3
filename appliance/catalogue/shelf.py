"""The installed models of this machine: which are there, where, and whether they are still what was installed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

from appliance.catalogue.catalogue import Catalogue
from appliance.catalogue.manifest import (
    INSTALLED,
    VERIFIED,
    Look,
    Manifest,
    look_at,
    read_manifest,
    recall_looks,
    remember_looks,
    sha256_of,
)
from appliance.catalogue.model import Model
from appliance.catalogue.names import resolve_name, usable_names
from appliance.catalogue.releases import ActiveReleases
from appliance.errors import ModelDamaged, ModelNotInstalled, ModelReleased


class State(StrEnum):
    ABSENT = "available"  # in the catalogue, not on this machine
    INSTALLED = "installed"
    UNPROVEN = "unproven"  # changed or copied since it was last read in full; that happens before its next use
    DAMAGED = "damaged"  # a file is missing, or has another size


class Shelf:
    """One folder per fetched model below `models_dir`, named by its id; a model of an active release goes before a fetched one.

    Safe to use from several threads and processes; a release that another process activates is seen at the next question.
    """

    def __init__(self, catalogue: Catalogue, models_dir: Path) -> None:
        self._shipped = catalogue
        self._merged: tuple[object, Catalogue] = (None, catalogue)
        self._releases = ActiveReleases(models_dir)
        self.models_dir = models_dir
        self._proven: dict[str, dict[str, Look]] = {}  # for folders that cannot be written to

    @property
    def catalogue(self) -> Catalogue:
        """What the appliance knows of: the catalogue it came with, with the models of the active releases in it."""
        released = self._releases.models()
        known, merged = self._merged
        if known is not released:
            models = {model_id: used.model for model_id, used in released.items()}
            merged = Catalogue({**self._shipped.models, **models})
            self._merged = (released, merged)
        return merged

    def release_of(self, model_id: str) -> str | None:
        """The active release that has the model; None for a fetched one."""
        used = self._releases.models().get(model_id)
        return used.release if used else None

    def folder(self, model_id: str) -> Path:
        """Where a model is or would be; says nothing about whether it is there."""
        used = self._releases.models().get(model_id)
        return used.folder if used else self.models_dir / model_id

    def manifest(self, model_id: str) -> Manifest | None:
        return read_manifest(self.folder(model_id))

    def installed(self) -> tuple[Model, ...]:
        """Models that were installed here, by id; also those that were damaged since."""
        return tuple(model for model in self.catalogue.models.values() if (self.folder(model.id) / INSTALLED).is_file())

    def state(self, model_id: str) -> State:
        """How a model stands, without reading its files."""
        manifest = self.manifest(model_id)
        if manifest is None:
            return State.ABSENT
        looks = look_at(self.folder(model_id), manifest)
        if looks is None or any(looks[file.name][0] != file.size_bytes for file in manifest.files):
            return State.DAMAGED
        return State.INSTALLED if self._is_proven(model_id, looks) else State.UNPROVEN

    def path(self, model_id: str) -> Path:
        """The folder of a sound model, for loading it.

        Costs a few file look-ups, unless the files look different from when they were last read in full: then they are
        read again, which takes seconds. Raises ModelNotInstalled, and ModelDamaged when it must not be used.
        """
        manifest = self.manifest(model_id)
        if manifest is None:
            raise ModelNotInstalled(model_id)
        looks = look_at(self.folder(model_id), manifest)
        if looks is None or not self._is_proven(model_id, looks):
            self.verify(model_id)
        return self.folder(model_id)

    def verify(self, model_id: str, on_bytes: Callable[[int], None] | None = None) -> None:
        """Read every file of a model and compare its SHA-256. Raises ModelNotInstalled; ModelDamaged names the file."""
        folder, manifest = self.folder(model_id), self.manifest(model_id)
        if manifest is None:
            raise ModelNotInstalled(model_id)
        self._proven.pop(model_id, None)
        self._refuse_strangers(model_id, manifest)
        before = look_at(folder, manifest)
        for file in manifest.files:
            path = folder / file.name
            if path.is_symlink() or not path.is_file():
                raise self._damaged(model_id, file.name, "is missing")
            if sha256_of(path, on_bytes) != file.sha256:
                raise self._damaged(model_id, file.name)
        after = look_at(folder, manifest)
        if after is not None and after == before:  # else it changed while it was read, and is read again before its use
            self._remember(model_id, after)

    def remove(self, model_id: str) -> int:
        """Delete a fetched model; returns the bytes that became free. Raises ModelNotInstalled, ModelReleased."""
        if release := self.release_of(model_id):
            raise ModelReleased(model_id, release)
        folder = self.folder(self.catalogue.get(model_id).id)
        if not folder.is_dir():
            raise ModelNotInstalled(model_id)
        self._proven.pop(model_id, None)
        freed_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        (folder / INSTALLED).unlink(missing_ok=True)  # first, so that half a model is never taken for one
        shutil.rmtree(folder)
        return freed_bytes

    def resolve(self, name: str, default: str, aliases: Mapping[str, str]) -> Model:
        """The installed model that a request's name means; its id belongs into the result. See `resolve_name`."""
        return resolve_name(name, default, aliases, self.catalogue, self._installed_ids())

    def usable_names(self, default: str, aliases: Mapping[str, str]) -> tuple[str, ...]:
        """Every name that `resolve` accepts."""
        return usable_names(default, aliases, self.catalogue, self._installed_ids())

    def _installed_ids(self) -> frozenset[str]:
        return frozenset(model.id for model in self.installed())

    def _is_proven(self, model_id: str, looks: dict[str, Look]) -> bool:
        return looks in (self._proven.get(model_id), recall_looks(self.folder(model_id)))

    def _remember(self, model_id: str, looks: dict[str, Look]) -> None:
        if not remember_looks(self.folder(model_id), looks):
            self._proven[model_id] = looks

    def _damaged(self, model_id: str, file: str, problem: str = "does not match its checksum") -> ModelDamaged:
        damage = ModelDamaged(model_id, file, problem)
        if release := self.release_of(model_id):
            damage.hint = f"An administrator should import the bundle of '{release}' again, or run 'appliance models rollback'."
        return damage

    def _refuse_strangers(self, model_id: str, manifest: Manifest) -> None:
        """A file that was not installed with the model could be loaded in place of one that was."""
        folder = self.folder(model_id)
        known = {INSTALLED, VERIFIED, *(file.name for file in manifest.files)}
        for path in folder.rglob("*"):
            name = path.relative_to(folder).as_posix()
            if name not in known and not path.name.startswith(f".{VERIFIED}.") and (path.is_symlink() or not path.is_dir()):
                raise self._damaged(model_id, name, "does not belong to it")
