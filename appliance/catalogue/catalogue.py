"""Reads the catalogue: one TOML file per model, checked once, so that nobody downstream has to doubt it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from appliance.catalogue.formats import is_safe_name, is_safe_suffix
from appliance.catalogue.model import HubEntry, Model, RegistryEntry
from appliance.errors import CatalogueError, UnknownModel

_ID = re.compile(r"[a-z0-9][a-z0-9._-]*")


class Catalogue:
    """All models the appliance knows of, installed or not."""

    def __init__(self, models: Mapping[str, Model]) -> None:
        self.models: Mapping[str, Model] = MappingProxyType(dict(sorted(models.items())))

    @classmethod
    def load(cls, folder: Path) -> Catalogue:
        """Read every `*.toml` of a folder. Raises CatalogueError, which names the file and the fault."""
        if not folder.is_dir():
            raise CatalogueError(f"There is no model catalogue in {folder}.", "Set APPLIANCE_CATALOGUE_DIR to its folder.")
        models = [_read(path) for path in sorted(folder.glob("*.toml"))]
        _check_names(models)
        return cls({model.id: model for model in models})

    def get(self, model_id: str) -> Model:
        """The model of exactly this id. Raises UnknownModel."""
        try:
            return self.models[model_id]
        except KeyError:
            raise UnknownModel(model_id, tuple(self.models)) from None

    def find(self, name: str) -> Model | None:
        """The model that goes by this id or alias."""
        return self.models.get(name) or next((m for m in self.models.values() if name in m.aliases), None)


def _read(path: Path) -> Model:
    try:
        model = msgspec.toml.decode(path.read_bytes(), type=Model)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise CatalogueError(f"The catalogue entry {path.name} cannot be read: {error}.") from error
    for fault in _faults(model, path.stem):
        raise CatalogueError(f"The catalogue entry {path.name} is wrong: {fault}.")
    return model


def _faults(model: Model, stem: str) -> Iterator[str]:
    """What is wrong with an entry that has all its fields."""
    if model.id != stem or not _ID.fullmatch(model.id):
        yield f"its id '{model.id}' must be the name of the file, in small letters, digits, '.', '_' and '-'"
    if model.kind == "recognition" and not model.languages:
        yield "a recognition model must list its languages"
    names = [file.name for file in model.files]
    if len(set(names)) != len(names):
        yield "a file is listed twice"
    for file in model.files:
        if not is_safe_name(file.name):
            yield f"'{file.name}' is not a plain path below the model's folder"
        if file.convert and not file.sha256:
            yield f"{file.name} is converted, so its checksum must be pinned"
        if not file.convert and not is_safe_suffix(file.name):
            yield f"{file.name} is of a format that can carry code"
        if not any(file.name in source.files for source in model.sources):
            yield f"no source has {file.name}"
    for source in model.sources:
        yield from _source_faults(model, source)


def _source_faults(model: Model, source: RegistryEntry | HubEntry) -> Iterator[str]:
    files = {file.name: file for file in model.files}
    for unknown in source.files.keys() - files.keys():
        yield f"a source has {unknown}, which the model does not list"
    if isinstance(source, HubEntry):
        return
    for name, members in source.files.items():
        if name in files and not (files[name].sha256 and files[name].size_bytes):
            yield f"{name} comes from a package registry, so its size and checksum must be pinned"
        for member in members:
            if member.wheel not in source.wheels:
                yield f"{name} is in a wheel '{member.wheel}' that is not described"


def _check_names(models: list[Model]) -> None:
    owners: dict[str, str] = {}
    for model in models:
        for name in (model.id, *model.aliases):
            if owners.setdefault(name, model.id) != model.id:
                raise CatalogueError(f"Both {owners[name]} and {model.id} call themselves '{name}'.")
