"""Brings a model onto the shelf: keep what is sound, get the rest from the first source that has it, check, convert, activate.

Until the last step the installed model stays as it was.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from appliance.catalogue.activation import activate
from appliance.catalogue.conversion import convert
from appliance.catalogue.formats import check_format
from appliance.catalogue.manifest import InstalledFile, describe_file, look_at, remember_looks, sha256_of, write_manifest
from appliance.catalogue.model import CatalogueFile, HubEntry, Model, RegistryEntry
from appliance.catalogue.parts import link, require_space
from appliance.catalogue.shelf import Shelf
from appliance.catalogue.sources import Fetched, Progress, Source, Workplace
from appliance.catalogue.sources.folder import FolderSource
from appliance.errors import ApplianceError, FetchFailed, ModelDamaged

WORK_FOLDER = ".fetch"  # inside the models folder, so that a rename is enough to activate


def open_sources(
    model: Model, *, folder: Path | None = None, mirror: str | None = None, ca_file: Path | None = None
) -> list[Source]:
    """The sources of a model's entry, in its order; only the folder, and no network, when one is given."""
    if folder is not None:
        return [FolderSource(folder, model)]
    # Here, since only a fetch may load the hub's client, and since network libraries take a second to import.
    from appliance.catalogue.sources.hub import HubSource  # noqa: PLC0415
    from appliance.catalogue.sources.registry import RegistrySource  # noqa: PLC0415
    from appliance.catalogue.sources.trust import trust_context  # noqa: PLC0415

    trust = trust_context(ca_file)
    return [
        HubSource(entry, trust, mirror) if isinstance(entry, HubEntry) else RegistrySource(entry, trust) for entry in model.sources
    ]


def fetch(
    model: Model, shelf: Shelf, *, progress: Progress, sources: Sequence[Source] | None = None, optional: bool = False
) -> bool:
    """Install or repair a model; True when something changed. One of an active release is only checked.

    `optional`: also the files it works without (taken from a folder in any case). Raises NoSpace before anything is
    downloaded, FetchFailed when a needed file cannot be had or is not what the catalogue names, CatalogueError when a file
    is not in a safe format. What was downloaded by then is kept, and taken up by the next attempt.
    """
    if shelf.release_of(model.id):
        shelf.verify(model.id, progress.advance)
        return False
    with _workplace(shelf.models_dir, model.id, progress) as place:
        if sources is None:
            sources = open_sources(model)
        wanted = _wanted(model, shelf, sources, optional=optional)
        if _is_sound(model, shelf, wanted, progress):
            return False
        kept = _take_what_is_sound(model, shelf, place, progress)
        missing = [file for file in wanted if not _is_among(file, kept)]
        got = _get(model, missing, sources, place, progress)
        files = kept + _finish(missing, got, place, progress)
        _install(model, shelf, files, sorted({fetched.origin for fetched in got}) or ["this machine"], place)
        return True


@contextmanager
def _workplace(models_dir: Path, model_id: str, progress: Progress) -> Iterator[Workplace]:
    """Folders to work in. One fetch at a time: a second one waits, and then finds what the first has brought."""
    work = models_dir / WORK_FOLDER
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = os.open(work / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise FetchFailed(
            f"{work} cannot be written: {error.strerror}.", "Set APPLIANCE_MODELS_DIR to a folder of yours."
        ) from error
    try:
        _wait_for(lock, progress)
        place = Workplace(parts=work / "parts", staging=work / model_id)
        place.parts.mkdir(exist_ok=True)
        shutil.rmtree(place.staging, ignore_errors=True)  # of an attempt that was killed
        place.staging.mkdir()
        try:
            yield place
        finally:
            shutil.rmtree(place.staging, ignore_errors=True)
    finally:
        os.close(lock)


def _wait_for(lock: int, progress: Progress) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        progress.note("Another fetch is running; waiting for it to end.")
        fcntl.flock(lock, fcntl.LOCK_EX)


def _wanted(model: Model, shelf: Shelf, sources: Sequence[Source], *, optional: bool) -> list[CatalogueFile]:
    """What the model needs, and of the rest what is asked for, installed already, or in the folder anyway."""
    manifest = shelf.manifest(model.id)
    have = {file.name for file in manifest.files} if manifest else set()
    local = [source for source in sources if isinstance(source, FolderSource)]
    return [
        file
        for file in model.files
        if not file.optional or optional or file.name in have or any(source.offers(file) for source in local)
    ]


def _is_sound(model: Model, shelf: Shelf, wanted: Sequence[CatalogueFile], progress: Progress) -> bool:
    """Whether just what is wanted is installed, and every byte of it is right."""
    manifest = shelf.manifest(model.id)
    if manifest is None or not all(_is_among(file, manifest.files) for file in wanted):
        return False
    if not all(_is_current(file, model) for file in manifest.files):
        return False
    progress.begin(f"checking {model.id}", sum(file.size_bytes for file in manifest.files))
    try:
        shelf.verify(model.id, progress.advance)
    except ModelDamaged as damage:
        progress.note(damage.message)
        return False
    return True


def _is_current(file: InstalledFile, model: Model) -> bool:
    """Whether the catalogue still wants an installed file to be as it is."""
    if file.made_from:
        return any(wanted.convert and wanted.sha256 == file.made_from for wanted in model.files)
    return any(wanted.name == file.name and wanted.sha256 in (None, file.sha256) for wanted in model.files)


def _take_what_is_sound(model: Model, shelf: Shelf, place: Workplace, progress: Progress) -> list[InstalledFile]:
    """Link what is right of the installed model into the new folder; so a repair downloads only what is not."""
    manifest, folder = shelf.manifest(model.id), shelf.folder(model.id)
    known = manifest.files if manifest else _without_record(model)
    kept = []
    for file in known:
        path = folder / file.name
        if _is_current(file, model) and path.is_file() and not path.is_symlink():
            progress.begin(f"checking {file.name}", file.size_bytes)
            if sha256_of(path, progress.advance) == file.sha256:
                link(path, place.staging / file.name)
                kept.append(file)
    return kept


def _without_record(model: Model) -> list[InstalledFile]:
    """What to expect in a folder that was filled by hand: the files that can be known by a pinned checksum."""
    return [
        InstalledFile(name=file.name, size_bytes=file.size_bytes, sha256=file.sha256)
        for file in model.files
        if file.sha256 and file.size_bytes and not file.convert
    ]


def _is_among(file: CatalogueFile, have: Sequence[InstalledFile]) -> bool:
    if file.convert:
        return any(installed.made_from == file.sha256 for installed in have)
    return any(installed.name == file.name for installed in have)


def _get(
    model: Model, missing: Sequence[CatalogueFile], sources: Sequence[Source], place: Workplace, progress: Progress
) -> list[Fetched]:
    """Every missing file from the first source that delivers it. A file that may be missing is only spoken of."""
    got: dict[str, Fetched] = {}
    failures: list[FetchFailed] = []
    for source in sources:
        ask = [file for file in missing if file.name not in got and source.offers(file)]
        if not ask:
            continue
        if failures:
            progress.note(f"{failures[-1].message} Trying {source.origin}.")
        require_space(place.parts, source.needed_bytes(ask, place))
        try:
            for fetched in source.fetch(ask, place, progress):
                _compare(fetched, next(file for file in ask if file.name == fetched.name), place)
                got[fetched.name] = fetched
        except FetchFailed as failure:
            failures.append(failure)
    _judge(model, [file for file in missing if file.name not in got], failures, progress)
    return list(got.values())


def _compare(fetched: Fetched, file: CatalogueFile, place: Workplace) -> None:
    if file.sha256 not in (None, fetched.sha256):
        (place.staging / file.name).unlink()
        raise FetchFailed(
            f"{file.name} from {fetched.origin} is not the file the catalogue names: its checksum differs.", "It was not installed."
        )


def _judge(model: Model, lacking: Sequence[CatalogueFile], failures: Sequence[FetchFailed], progress: Progress) -> None:
    """Raise FetchFailed when a needed file could not be had; only speak of the others."""
    names = ", ".join(file.name for file in lacking)
    if any(not file.optional for file in lacking):
        if failures:
            raise FetchFailed(f"{model.id}: " + " ".join(failure.message for failure in failures), failures[-1].hint)
        raise FetchFailed(
            f"{model.id}: no source has {names}.", "A folder must hold the files under these names, or the packages they come in."
        )
    if lacking:
        progress.note(f"{model.id}: left out, as it works without: {names}. " + " ".join(f"{f.message} {f.hint}" for f in failures))


def _finish(missing: Sequence[CatalogueFile], got: Sequence[Fetched], place: Workplace, progress: Progress) -> list[InstalledFile]:
    """Convert raw files, check the formats, and describe what is now in the new folder."""
    done = []
    arrived = {fetched.name: fetched for fetched in got}
    for file in missing:
        if file.name not in arrived:
            continue
        if file.convert:
            done += _converted(file, place, progress)
        else:
            path = place.staging / file.name
            check_format(path)
            size_bytes = path.stat().st_size
            done.append(InstalledFile(name=file.name, size_bytes=size_bytes, sha256=arrived[file.name].sha256))
    return done


def _converted(file: CatalogueFile, place: Workplace, progress: Progress) -> list[InstalledFile]:
    raw, out = place.staging / file.name, place.staging.with_name(f"{place.staging.name}.converted")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    progress.begin(f"converting {file.name}", None)
    convert(str(file.convert), raw, out)
    raw.unlink()
    if raw.parent != place.staging and not any(raw.parent.iterdir()):
        raw.parent.rmdir()
    described = []
    for path in sorted(out.iterdir()):
        check_format(path)
        described.append(describe_file(path, path.name, made_from=file.sha256))
        path.replace(place.staging / path.name)
    out.rmdir()
    return described


def _install(model: Model, shelf: Shelf, files: Sequence[InstalledFile], origins: Sequence[str], place: Workplace) -> None:
    unique = {file.name: file for file in files}
    manifest = write_manifest(place.staging, model.id, tuple(origins), tuple(unique.values()))
    looks = look_at(place.staging, manifest)
    if looks is None:
        raise ApplianceError(f"The new folder of {model.id} changed while it was made.")
    remember_looks(place.staging, looks)
    activate(place.staging, shelf.folder(model.id))
    _discard_parts(model, place)


def _discard_parts(model: Model, place: Workplace) -> None:
    """Downloads that became this model: its wheels, and hub files, which are linked into it by now."""
    wheels = {wheel.sha256 for source in model.sources if isinstance(source, RegistryEntry) for wheel in source.wheels.values()}
    for part in place.parts.glob("*.part"):
        if part.stem in wheels or part.stat().st_nlink > 1:
            part.unlink()
