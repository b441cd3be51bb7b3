"""What a release consists of, read from its signed list. Pure: verified metadata in, a checked value or a typed error out.

Whether the list may be believed was decided in `trust.py`; whether the files are there and right is for `importer.py`.
"""

from __future__ import annotations

import mimetypes
import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from tuf.api.metadata import TargetFile, Targets

from appliance import __version__
from appliance.catalogue.formats import is_safe_name, is_safe_suffix
from appliance.catalogue.model import CatalogueFile, Model, Sha256
from appliance.catalogue.releases import SITE_PREFIX, Channel
from appliance.domain import Value
from appliance.errors import ApplianceTooOld, ReleaseInvalid, UnsafeWeights

CUSTOM = "custom"  # field of the signed targets
MAX_MODELS = 200
_ID = re.compile(r"[a-z0-9]+([-._][a-z0-9]+){0,9}")  # as the journals take them
_MAX_ID_CHARS = 64
_VERSION = re.compile(r"\d{1,6}(\.\d{1,6}){0,3}")


class Canary(Value, frozen=True):
    """The trial of a model: a recording, and what must be recognised in it (or how many people speak)."""

    clip: Sha256  # a WAV file: 16 kHz, mono, 16 bit
    words: str = ""
    tolerance_percent: Annotated[int, Meta(ge=0, le=50)] = 25  # of the words may be wrong; canonical JSON knows no fractions
    speakers: Annotated[int, Meta(ge=1, le=20)] | None = None
    language: str | None = None


class ModelPlan(Value, frozen=True):
    """One model as the signed list describes it."""

    model: str
    catalogue: str  # TOML as in models/; its files and sources do not count here
    files: dict[str, Sha256]  # name below the model's folder -> blob
    canary: Canary
    minimum_version: str = "0"


class ReleasePlan(Value, frozen=True):
    models: tuple[ModelPlan, ...]
    note: Annotated[str, Meta(max_length=2000)] = ""
    made_at: Annotated[datetime, Meta(tz=True)] | None = None  # not when it was signed last


class PlannedModel(Value, frozen=True):
    model: Model  # with exactly the files of the release, pinned
    canary: Canary


class Release(Value, frozen=True):
    """A release that may be installed, once all its blobs are there."""

    channel: Channel
    version: int
    models: tuple[PlannedModel, ...]
    blobs: Mapping[str, int]  # SHA-256 -> bytes; what the models and their trials need
    note: str = ""
    made_at: datetime | None = None

    @property
    def name(self) -> str:
        return f"{self.channel.value}-{self.version}"


def read_release(targets: Targets, channel: Channel) -> Release:
    """Raises ReleaseInvalid, ApplianceTooOld, UnsafeWeights: each says which model, and what is wrong with it."""
    plan = _read_plan(targets.unrecognized_fields.get(CUSTOM))
    sizes = _blob_sizes(targets.targets)
    models = tuple(_planned(model, sizes, channel) for model in plan.models)
    _check_names(models)
    needed = {sha256 for model in plan.models for sha256 in (*model.files.values(), model.canary.clip)}
    blobs = {sha256: sizes[sha256] for sha256 in sorted(needed)}
    return Release(channel, targets.version, models, blobs, plan.note, plan.made_at)


def _read_plan(custom: object) -> ReleasePlan:
    try:
        plan = msgspec.convert(custom, ReleasePlan)
    except msgspec.ValidationError as error:
        raise ReleaseInvalid(f"its description cannot be read ({error})") from error
    if not 0 < len(plan.models) <= MAX_MODELS:
        raise ReleaseInvalid(f"it has {len(plan.models)} models")
    return plan


def _blob_sizes(targets: Mapping[str, TargetFile]) -> dict[str, int]:
    """Every target is named by its own SHA-256, so that equal files are one blob in every release."""
    for name, target in targets.items():
        if target.hashes.get("sha256") != name or target.length < 0:
            raise ReleaseInvalid(f"its file {name[:80]} is not named by its checksum")
    return {name: target.length for name, target in targets.items()}


def _planned(plan: ModelPlan, sizes: Mapping[str, int], channel: Channel) -> PlannedModel:
    for sha256 in (*plan.files.values(), plan.canary.clip):
        if sha256 not in sizes:
            raise ReleaseInvalid(f"'{plan.model}' needs {sha256[:16]}…, which the list does not have")
    _check_version(plan)
    files = tuple(CatalogueFile(name=name, size_bytes=sizes[sha256], sha256=sha256) for name, sha256 in sorted(plan.files.items()))
    model = _read_entry(plan, files)
    _check_files(model)
    _check_namespace(model, channel)
    _check_canary(model, plan.canary)
    return PlannedModel(model, plan.canary)


def _read_entry(plan: ModelPlan, files: Iterable[CatalogueFile]) -> Model:
    try:
        entry: dict[str, Any] = tomllib.loads(plan.catalogue)
        entry |= {"files": [msgspec.to_builtins(file) for file in files], "sources": []}
        model = msgspec.convert(entry, Model)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ReleaseInvalid(f"the entry of '{plan.model}' cannot be read ({error})") from error
    if model.id != plan.model:
        raise ReleaseInvalid(f"the entry of '{plan.model}' is about '{model.id}'")
    if model.kind == "recognition" and not model.languages:
        raise ReleaseInvalid(f"'{model.id}' lists no languages")
    return model


def _check_files(model: Model) -> None:
    if not model.files:
        raise ReleaseInvalid(f"'{model.id}' has no files")
    for file in model.files:
        if not is_safe_name(file.name):
            raise ReleaseInvalid(f"'{model.id}' has a file of a forbidden name, {file.name[:80]!r}")
        if not is_safe_suffix(file.name):
            raise UnsafeWeights(f"{file.name} of '{model.id}' is of a format that is not accepted.")
        if not file.size_bytes:
            raise ReleaseInvalid(f"{file.name} of '{model.id}' is empty")
    names = {file.name for file in model.files}
    if any(str(parent) in names for name in names for parent in PurePosixPath(name).parents):
        raise ReleaseInvalid(f"'{model.id}' has a file where it has a folder as well")


def _check_namespace(model: Model, channel: Channel) -> None:
    """A model of the site can never take the name of one of the vendor's, nor the other way round."""
    prefix = SITE_PREFIX if channel is Channel.SITE else ""
    name = model.id.removeprefix(prefix)
    if not model.id.startswith(prefix) or not _ID.fullmatch(name) or len(model.id) > _MAX_ID_CHARS:
        rule = f"'{SITE_PREFIX}' and " if prefix else ""
        raise ReleaseInvalid(f"the id '{model.id[:80]}' must be {rule}words of small letters and digits, joined by '.', '_' or '-'")
    if mimetypes.guess_type(name)[0]:
        raise ReleaseInvalid(f"the id '{model.id}' looks like the name of a file, which the journals must never hold")
    for alias in model.aliases:
        if alias.startswith(SITE_PREFIX) != bool(prefix):
            verb = "must" if prefix else "must not"
            raise ReleaseInvalid(f"the short name '{alias[:80]}' of '{model.id}' {verb} begin with '{SITE_PREFIX}'")


def _check_canary(model: Model, canary: Canary) -> None:
    if model.kind == "recognition" and not canary.words.split():
        raise ReleaseInvalid(f"the trial of '{model.id}' expects no words")
    if model.kind == "diarization" and canary.speakers is None:
        raise ReleaseInvalid(f"the trial of '{model.id}' does not say how many people speak")


def _check_version(plan: ModelPlan) -> None:
    if not _VERSION.fullmatch(plan.minimum_version):
        raise ReleaseInvalid(f"'{plan.model}' asks for a version that cannot be read, '{plan.minimum_version[:40]}'")
    if _numbers(plan.minimum_version) > _numbers(__version__):
        raise ApplianceTooOld(plan.model, plan.minimum_version, __version__)


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in version.split(".") if part.isdigit()]
    return tuple(numbers + [0] * (4 - len(numbers)))


def _check_names(models: Iterable[PlannedModel]) -> None:
    owners: dict[str, str] = {}
    for planned in models:
        for name in (planned.model.id, *planned.model.aliases):
            if name in owners:
                raise ReleaseInvalid(f"both '{owners[name]}' and '{planned.model.id}' call themselves '{name[:80]}'")
            owners[name] = planned.model.id
