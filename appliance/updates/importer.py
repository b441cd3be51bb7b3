"""Brings a release in: believe its lists, bring its contents, put it together, try it out, and only then switch.

Everything before the switch happens beside what serves; whatever stops it, the release in use stays in use, and the next
attempt goes on with the contents that arrived whole. What was believed is remembered only when everything succeeded.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from appliance.catalogue.activation import put_in_place
from appliance.catalogue.formats import check_format
from appliance.catalogue.manifest import InstalledFile, look_at, remember_looks, write_manifest
from appliance.catalogue.model import Model
from appliance.catalogue.parts import MARGIN_BYTES, link, require_space
from appliance.catalogue.releases import (
    RECORD,
    SITE_PREFIX,
    Channel,
    ReleasedModel,
    ReleaseRecord,
    channel_folder,
    release_folder,
)
from appliance.catalogue.sources import Progress, Silent
from appliance.domain import Value
from appliance.errors import BlobMissing, CatalogueError, NoSpace, StrangeMember, UnsafeWeights, UpdateNotWritten
from appliance.updates.bundle import Bundle, Member, read_lists
from appliance.updates.failpoints import reach
from appliance.updates.release import Canary, PlannedModel, Release, read_release
from appliance.updates.releases import TRUST, Releases
from appliance.updates.trust import verify

WORK = "work"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Trial(Value, frozen=True):
    """A model that must prove itself before it is used."""

    model: Model
    folder: Path
    clip: Path
    canary: Canary


TryOut = Callable[[Trial], None]  # raises CanaryFailed


def import_bundle(
    bundle: Bundle,
    releases: Releases,
    channel: Channel,
    anchor: bytes,
    *,
    try_out: TryOut,
    progress: Progress | None = None,
    activate: bool = True,
) -> ReleaseRecord:
    """The release that is now on this machine, and in use unless `activate` is False.

    `anchor`: the root the channel is trusted from. Raises UpdateRefused (one class per reason), UpdateRunning, NoSpace.
    """
    progress = progress or Silent()
    with releases.importing(), _disk_errors(releases.folder), _workplace(releases, channel) as work:
        lists, contents = read_lists(bundle.members())
        reach("lists read")
        release = _believe(lists, releases, channel, anchor, work)
        reach("lists verified")
        _bring_contents(release, contents, releases, progress)
        reach("contents here")
        record = _put_together(release, releases, work / "release")
        reach("put together")
        for trial in _trials(release, record, work / "release", releases):
            progress.begin(f"trying {trial.model.id}", None)
            try_out(trial)
            reach("model tried")
        reach("tried out")
        _take_over(record, releases, work, activate=activate)
        return record


def _believe(lists: Mapping[str, bytes], releases: Releases, channel: Channel, anchor: bytes, work: Path) -> Release:
    """Decided on a copy of what is remembered."""
    remembered = channel_folder(releases.models_dir, channel) / TRUST
    if remembered.exists():
        shutil.copytree(remembered, work / TRUST, symlinks=True)
    else:
        (work / TRUST).mkdir()
    return read_release(verify(lists, work / TRUST, anchor), channel)


def _bring_contents(release: Release, contents: Iterator[Member], releases: Releases, progress: Progress) -> None:
    """Raises NoSpace before anything is written, BlobMissing at the end."""
    blobs, names = releases.blobs, _names(release)
    missing = {sha256: size for sha256, size in release.blobs.items() if not blobs.is_sound(sha256, size, names[sha256], progress)}
    require_space(blobs.folder, sum(missing.values()))
    for member in contents:
        if member.sha256 not in release.blobs:
            raise StrangeMember(member.name)
        if member.sha256 in missing:
            blobs.take(member, missing.pop(member.sha256), names[member.sha256], progress)
    if missing:
        raise BlobMissing(next(name for sha256, name in names.items() if sha256 in missing))


def _names(release: Release) -> dict[str, str]:
    """What each content is, for people; files of models first."""
    files = {str(file.sha256): f"{file.name} of '{planned.model.id}'" for planned in release.models for file in planned.model.files}
    return files | {sha256: "a reference recording" for sha256 in release.blobs if sha256 not in files}


def _put_together(release: Release, releases: Releases, folder: Path) -> ReleaseRecord:
    """The release's folder, with a name for every content. Raises UnsafeWeights."""
    models = tuple(_put_model(planned, release, releases, folder) for planned in release.models)
    came, blobs = datetime.now(UTC), tuple(release.blobs)
    record = ReleaseRecord(release.channel, release.version, came, models, blobs, release.note, release.made_at)
    (folder / RECORD).write_bytes(msgspec.json.encode(record))
    return record


def _put_model(planned: PlannedModel, release: Release, releases: Releases, folder: Path) -> ReleasedModel:
    model, name = planned.model, f"models/{planned.model.id.removeprefix(SITE_PREFIX)}"
    for file in model.files:
        path = folder / name / file.name
        link(releases.blobs.path(str(file.sha256)), path)
        try:
            check_format(path)
        except CatalogueError as error:
            raise UnsafeWeights(error.message) from error
    installed = tuple(InstalledFile(file.name, file.size_bytes or 0, str(file.sha256)) for file in model.files)
    manifest = write_manifest(folder / name, model.id, (release.name,), installed)
    looks = look_at(folder / name, manifest)
    if looks is not None:
        remember_looks(folder / name, looks)
    return ReleasedModel(model, name)


def _trials(release: Release, record: ReleaseRecord, folder: Path, releases: Releases) -> Iterator[Trial]:
    """Of the models that are new or changed against the release in use."""
    active = releases.active(release.channel)
    serving = {released.model.id: released.model.files for released in active.models} if active else {}
    for planned, released in zip(release.models, record.models, strict=True):
        if serving.get(planned.model.id) != planned.model.files:
            clip = releases.blobs.path(planned.canary.clip)
            yield Trial(planned.model, folder / released.folder, clip, planned.canary)


def _take_over(record: ReleaseRecord, releases: Releases, work: Path, *, activate: bool) -> None:
    with releases.switching():
        put_in_place(work / "release", release_folder(releases.models_dir, record.channel, record.version))
        reach("release in place")
        put_in_place(work / TRUST, channel_folder(releases.models_dir, record.channel) / TRUST)
        reach("trust in place")
        if activate:
            releases.switch_to(record)
        reach("in use")
        releases.collect()
        reach("collected")


@contextmanager
def _workplace(releases: Releases, channel: Channel) -> Iterator[Path]:
    """A fresh folder beside the releases; what an attempt that was killed left there goes first."""
    work = channel_folder(releases.models_dir, channel) / WORK
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        reach("work begun")
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise NoSpace(MARGIN_BYTES, shutil.disk_usage(folder).free, str(folder)) from error
        raise UpdateNotWritten(str(error.filename or folder), error.strerror or str(error)) from error
