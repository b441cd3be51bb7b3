"""Where model files come from: each source is a file of its own behind `Source`, and knows nothing of the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from appliance.catalogue.model import CatalogueFile
from appliance.domain import Value


class Progress(Protocol):
    """Told how a fetch goes, for a bar on a terminal or a line in a log."""

    def begin(self, what: str, total_bytes: int | None) -> None: ...

    def advance(self, n_bytes: int) -> None:
        """More of the present step is done; less, when it had to start over."""

    def note(self, text: str) -> None: ...


class Silent:
    """Nobody is watching."""

    def begin(self, what: str, total_bytes: int | None) -> None: ...

    def advance(self, n_bytes: int) -> None: ...

    def note(self, text: str) -> None: ...


class Workplace(Value, frozen=True):
    """Folders of one fetch, all on the disk of the models."""

    parts: Path  # unfinished downloads
    staging: Path  # finished files, under their names


class Fetched(Value, frozen=True):
    name: str
    sha256: str
    origin: str  # for people


class Source(Protocol):
    origin: str  # for people: "the package registry", "the hub (owner/name)"

    def offers(self, file: CatalogueFile) -> bool: ...

    def needed_bytes(self, files: Sequence[CatalogueFile], place: Workplace) -> int:
        """Disk space that fetching these will still take."""

    def fetch(self, files: Sequence[CatalogueFile], place: Workplace, progress: Progress) -> Iterator[Fetched]:
        """Put each file into `place.staging`, and tell as each is there with the checksum of what was written.

        Raises FetchFailed when it cannot be had here, NoSpace when the disk is full.
        """
