"""Which imported releases are in use: read anew whenever that changes, so that nobody has to restart for a new model.

Reads only; `appliance.updates` decides what may come in, and writes. Two channels: the vendor's releases, and the site's own
models, whose ids begin with `site/` and so can never stand for one of the vendor's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import msgspec

from appliance.catalogue.model import Model
from appliance.domain import Value

FOLDER = ".releases"  # below the models' folder, so that files can be linked and renamed
RECORD = "release.json"
SWITCH = "active.json"
SITE_PREFIX = "site/"


class Channel(StrEnum):
    VENDOR = "vendor"
    SITE = "site"


class Switch(Value, frozen=True):
    """Which release of a channel is in use. Version 0 is none: only models that were fetched."""

    active: int = 0
    previous: int | None = None  # to roll back to
    failed: tuple[int, ...] = ()  # releases that were rolled back by themselves


class ReleasedModel(Value, frozen=True):
    model: Model
    folder: str  # below the release


class ReleaseRecord(Value, frozen=True):
    """A release on this machine, whole and checked."""

    channel: Channel
    version: int
    imported_at: datetime
    models: tuple[ReleasedModel, ...]
    blobs: tuple[str, ...]  # SHA-256 of all that it needs, its trials included
    note: str = ""  # the maker's words
    made_at: datetime | None = None  # None: it does not say

    @property
    def name(self) -> str:
        return f"{self.channel.value}-{self.version}"


class InUse(Value, frozen=True):
    """A model of an active release, and where it lies."""

    model: Model
    folder: Path
    release: str


def channel_folder(models_dir: Path, channel: Channel) -> Path:
    return models_dir / FOLDER / channel.value


def release_folder(models_dir: Path, channel: Channel, version: int) -> Path:
    return channel_folder(models_dir, channel) / "releases" / str(version)


def read_switch(models_dir: Path, channel: Channel) -> Switch:
    """A switch that is missing means that no release was ever activated; one that cannot be read counts the same."""
    try:
        return msgspec.json.decode((channel_folder(models_dir, channel) / SWITCH).read_bytes(), type=Switch)
    except (OSError, msgspec.DecodeError):
        return Switch()


def read_record(folder: Path) -> ReleaseRecord | None:
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=ReleaseRecord)
    except (OSError, msgspec.DecodeError):
        return None


class ActiveReleases:
    """The models of the active releases by id. Asking costs two file look-ups while nothing changes. Thread-safe."""

    def __init__(self, models_dir: Path) -> None:
        self._models_dir = models_dir
        self._known: tuple[object, Mapping[str, InUse]] = (None, {})

    def models(self) -> Mapping[str, InUse]:
        look = tuple(self._look(channel) for channel in Channel)
        known_look, known = self._known
        if look != known_look:
            known = {model_id: used for channel in Channel for model_id, used in self._read(channel).items()}
            self._known = (look, known)
        return known

    def _look(self, channel: Channel) -> tuple[int, int] | None:
        try:
            status = (channel_folder(self._models_dir, channel) / SWITCH).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino

    def _read(self, channel: Channel) -> Mapping[str, InUse]:
        folder = release_folder(self._models_dir, channel, read_switch(self._models_dir, channel).active)
        record = read_record(folder)
        if record is None:
            return {}
        return {
            released.model.id: InUse(released.model, folder / released.folder, record.name)
            for released in record.models
            if released.model.id.startswith(SITE_PREFIX) == (channel is Channel.SITE)
        }
