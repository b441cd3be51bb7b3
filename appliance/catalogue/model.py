"""One model of the catalogue, as its TOML file describes it: what it can do, which files it is made of, where they come from.

Values only; `catalogue.py` reads and checks them, `fetch.py` acts on them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from appliance.domain import Value

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Meta(gt=0)]


class CatalogueFile(Value, frozen=True, forbid_unknown_fields=True):
    """A file the model needs.

    With `convert` it is only raw material: the conversion of that name turns it into safe files, and it is not kept.
    Without `sha256` it is not pinned: the checksum that the hub states for it is verified and recorded instead.
    """

    name: str  # path below the model's folder
    size_bytes: Count | None = None
    sha256: Sha256 | None = None
    convert: Literal["segmentation", "embedding"] | None = None
    optional: bool = False  # the model works without it


class Wheel(Value, frozen=True, forbid_unknown_fields=True):
    """A file of the package registry, fetched by its name; nothing of it is installed or run."""

    filename: str
    size_bytes: Count
    sha256: Sha256

    @property
    def project(self) -> str:
        return self.filename.partition("-")[0].replace("_", "-")


class Member(Value, frozen=True, forbid_unknown_fields=True):
    """One file inside a wheel."""

    wheel: str  # key in RegistrySource.wheels
    path: str


class RegistryEntry(Value, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="registry"):
    wheels: dict[str, Wheel]
    files: dict[str, tuple[Member, ...]]  # CatalogueFile.name -> its parts, joined in this order


class HubEntry(Value, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="hub"):
    repo: str  # "owner/name"
    files: dict[str, str]  # CatalogueFile.name -> path in the repository
    revision: str = "main"  # a commit, where one is known


class Model(Value, frozen=True, forbid_unknown_fields=True):
    id: str
    name: str
    description: str
    kind: Literal["recognition", "diarization"]
    backend: Literal["whisper", "pyannote"]
    licence: str  # of the weights, not of the package they came in
    memory_bytes: Count  # of the device, about
    files: tuple[CatalogueFile, ...]
    sources: tuple[RegistryEntry | HubEntry, ...]  # tried in this order
    languages: tuple[str, ...] = ()  # ISO 639-1 where there is one, as Whisper writes them; empty: does not matter
    translation: bool = False  # into English
    word_timestamps: bool = True
    aliases: tuple[str, ...] = ()
    attribution: str = ""

    @property
    def download_bytes(self) -> int:
        """Size of the model's files, without the optional ones; a package they travel in may be larger or smaller."""
        return sum(file.size_bytes or 0 for file in self.files if not file.optional)
