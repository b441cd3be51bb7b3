"""Model files from a folder: a memory stick, a share, a folder of wheels. Never touches the network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from appliance.catalogue.manifest import sha256_of
from appliance.catalogue.model import CatalogueFile, HubEntry, Member, Model, RegistryEntry
from appliance.catalogue.parts import disk_error
from appliance.catalogue.sources import Fetched, Progress, Workplace
from appliance.catalogue.sources.wheel import join_members
from appliance.errors import FetchFailed

BLOCK_BYTES = 2**20


class FolderSource:
    """Finds a file as `FOLDER/<model>/<file>` or `FOLDER/<file>`, as in a copy of its hub repository, or in a wheel there."""

    def __init__(self, folder: Path, model: Model) -> None:
        if not folder.is_dir():
            raise FetchFailed(f"There is no folder {folder}.", "--from must name the folder with the model's files or packages.")
        self._folder = folder
        self._model = model
        self.origin = f"the folder {folder}"

    def offers(self, file: CatalogueFile) -> bool:
        return self._plain(file) is not None or bool(self._wheels(file))

    def needed_bytes(self, files: Sequence[CatalogueFile], place: Workplace) -> int:
        return sum(file.size_bytes or self._size(file) for file in files)

    def fetch(self, files: Sequence[CatalogueFile], place: Workplace, progress: Progress) -> Iterator[Fetched]:
        for file in files:
            progress.begin(f"copying {file.name}", file.size_bytes or self._size(file))
            plain = self._plain(file)
            if plain:
                sha256 = _copy(plain, place.staging / file.name, progress)
            else:
                sha256 = join_members(self._checked_wheels(file), file, place.staging, progress)
            yield Fetched(name=file.name, sha256=sha256, origin=self.origin)

    def _plain(self, file: CatalogueFile) -> Path | None:
        there = [
            entry.files[file.name] for entry in self._model.sources if isinstance(entry, HubEntry) and file.name in entry.files
        ]
        names = (f"{self._model.id}/{file.name}", file.name, *there, file.name.rpartition("/")[2])
        return next((path for name in names if (path := self._folder / name).is_file()), None)

    def _size(self, file: CatalogueFile) -> int:
        plain = self._plain(file)
        return plain.stat().st_size if plain else 0

    def _wheels(self, file: CatalogueFile) -> list[tuple[Path, Member, str]]:
        """The parts of a file, with their wheels' checksums; empty unless all of its wheels are here."""
        for source in self._model.sources:
            if isinstance(source, RegistryEntry) and file.name in source.files:
                members = source.files[file.name]
                wheels = [source.wheels[member.wheel] for member in members]
                if all((self._folder / wheel.filename).is_file() for wheel in wheels):
                    return [(self._folder / w.filename, m, w.sha256) for w, m in zip(wheels, members, strict=True)]
        return []

    def _checked_wheels(self, file: CatalogueFile) -> list[tuple[Path, Member]]:
        for path, _member, sha256 in self._wheels(file):
            if sha256_of(path) != sha256:
                raise FetchFailed(f"{path} is damaged, or is not the package the catalogue names.", "Copy it again.")
        return [(path, member) for path, member, _sha256 in self._wheels(file)]


def _copy(source: Path, target: Path, progress: Progress) -> str:
    """Copy a file and return its SHA-256, hashed on the way."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    try:
        with source.open("rb") as read, target.open("wb") as write:
            while block := read.read(BLOCK_BYTES):
                write.write(block)
                digest.update(block)
                progress.advance(len(block))
    except OSError as error:
        raise disk_error(error, target, source.stat().st_size) from error
    return digest.hexdigest()
