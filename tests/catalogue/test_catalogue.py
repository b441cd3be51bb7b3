"""The catalogue's own entries, and what is refused in others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from appliance.catalogue import Catalogue, Model
from appliance.catalogue.model import HubEntry, RegistryEntry
from appliance.errors import CatalogueError, UnknownModel
from appliance.settings import Settings

FOLDER = Settings.model_fields["catalogue_dir"].default
ENTRY = """
id = "mine"
name = "Mine"
description = "A model of this site."
kind = "recognition"
backend = "whisper"
languages = ["cs"]
memory_bytes = 1
licence = "MIT"

[[files]]
name = "model.bin"

[[sources]]
kind = "hub"
repo = "site/mine"

[sources.files]
"model.bin" = "model.bin"
"""


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load(FOLDER)


def test_the_models_of_the_first_issue_are_there(catalogue: Catalogue) -> None:
    assert set(catalogue.models) == {
        "whisper-base", "whisper-tiny.en", "whisper-tiny", "whisper-small", "whisper-medium", "whisper-large-v3",
        "whisper-large-v3-turbo", "distil-large-v3", "speaker-diarization",
    }  # fmt: skip


def test_the_default_models_come_from_the_registry_first(catalogue: Catalogue) -> None:
    """`make run` works on a machine that reaches a package registry and nothing else."""
    for name in (Settings.model_fields["default_model"].default, Settings.model_fields["diarization_model"].default):
        model = catalogue.get(name)
        assert isinstance(model.sources[0], RegistryEntry)
        assert all(file.name in model.sources[0].files for file in model.files if not file.optional)


def test_every_file_of_the_catalogue_is_pinned(catalogue: Catalogue) -> None:
    files = [file for model in catalogue.models.values() for file in model.files]
    assert all(file.sha256 and file.size_bytes for file in files)


def test_every_hub_revision_is_a_commit(catalogue: Catalogue) -> None:
    entries = [entry for model in catalogue.models.values() for entry in model.sources if isinstance(entry, HubEntry)]
    assert entries
    assert all(re.fullmatch(r"[0-9a-f]{40}", entry.revision) for entry in entries)


def test_a_recognition_model_has_what_the_engine_loads(catalogue: Catalogue) -> None:
    for model in catalogue.models.values():
        if model.kind == "recognition":
            names = {file.name for file in model.files}
            assert {"model.bin", "config.json", "tokenizer.json"} <= names
            assert names & {"vocabulary.txt", "vocabulary.json"}


def test_english_models_do_not_claim_to_translate(catalogue: Catalogue) -> None:
    assert not any(model.translation for model in catalogue.models.values() if len(model.languages) == 1)
    assert not catalogue.get("whisper-large-v3-turbo").translation
    assert catalogue.get("whisper-base").translation


def test_languages_are_those_of_whisper(catalogue: Catalogue) -> None:
    tokenizer = pytest.importorskip("faster_whisper.tokenizer")
    assert set(catalogue.get("whisper-large-v3").languages) == set(tokenizer._LANGUAGE_CODES)
    assert set(catalogue.get("whisper-base").languages) == set(tokenizer._LANGUAGE_CODES) - {"yue"}


def test_no_host_of_a_registry_or_hub_is_written_anywhere() -> None:
    """Addresses are the business of libraries and of the machine's configuration."""
    places = [*FOLDER.glob("*.toml"), *(FOLDER.parent / "appliance/catalogue").rglob("*.py")]
    assert len(places) > 15
    for path in places:
        assert not re.search(r"https?://(?!localhost)|\.org\b|huggingface\.co|hf\.co", path.read_text()), path


def write(folder: Path, text: str, name: str = "mine") -> Catalogue:
    (folder / f"{name}.toml").write_text(text)
    return Catalogue.load(folder)


def test_a_site_can_add_a_model(tmp_path: Path) -> None:
    model = write(tmp_path, ENTRY).get("mine")
    assert model.languages == ("cs",)
    assert isinstance(model, Model)
    assert model.sources[0] == HubEntry(repo="site/mine", revision="main", files={"model.bin": "model.bin"})


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ('id = "mine"', 'id = "other"', "must be the name of the file"),
        ('id = "mine"', 'id = "mine"\nsize = 3', "unknown field `size`"),
        ('licence = "MIT"', "", "missing required field `licence`"),
        ('languages = ["cs"]', "", "must list its languages"),
        ('name = "model.bin"', 'name = "../model.bin"', "not a plain path"),
        ('name = "model.bin"', 'name = "/etc/model.bin"', "not a plain path"),
        ('name = "model.bin"', 'name = ".hidden.json"', "not a plain path"),
        ('name = "model.bin"', 'name = "a/../../model.bin"', "not a plain path"),
        ('name = "model.bin"', 'name = "weights.pt"', "can carry code"),
        ('name = "model.bin"', 'name = "setup.py"', "can carry code"),
        ('name = "model.bin"', 'name = "model.bin"\nsha256 = "abc"', "Expected `str` matching regex"),
        ('name = "model.bin"', 'name = "model.bin"\nconvert = "segmentation"', "checksum must be pinned"),
        ('"model.bin" = "model.bin"', '"other.bin" = "model.bin"', "no source has model.bin"),
        ('"model.bin" = "model.bin"', '"model.bin" = "model.bin"\n"other.bin" = "x"', "does not list"),
        ('kind = "hub"', 'kind = "torrent"', "Invalid value 'torrent'"),
        ("memory_bytes = 1", "memory_bytes = ", "cannot be read"),
    ],
)
def test_a_wrong_entry_is_named_with_its_fault(tmp_path: Path, before: str, after: str, complaint: str) -> None:
    """TRAPS 13 and 14: no format that can carry code, no name that leads out of the folder."""
    assert before in ENTRY
    with pytest.raises(CatalogueError, match=r"mine\.toml") as refused:
        write(tmp_path, ENTRY.replace(before, after, 1))
    assert complaint in refused.value.message


def test_a_registry_file_must_be_pinned(tmp_path: Path) -> None:
    source = '[[sources]]\nkind = "registry"\nwheels = {}\n[sources.files]\n"model.bin" = [{ wheel = "one", path = "x" }]\n'
    with pytest.raises(CatalogueError, match="must be pinned"):
        write(tmp_path, ENTRY + source)


def test_two_models_cannot_share_a_name(tmp_path: Path) -> None:
    write(tmp_path, ENTRY.replace("[[files]]", 'aliases = ["ours"]\n[[files]]', 1))
    with pytest.raises(CatalogueError, match="Both mine and ours call themselves 'ours'"):
        write(tmp_path, ENTRY.replace('"mine"', '"ours"', 1), name="ours")


def test_a_missing_catalogue_says_which_setting_names_it(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError) as missing:
        Catalogue.load(tmp_path / "nowhere")
    assert "APPLIANCE_CATALOGUE_DIR" in missing.value.hint


def test_an_unknown_id_lists_the_known_ones(catalogue: Catalogue) -> None:
    with pytest.raises(UnknownModel, match="whisper-base"):
        catalogue.get("whisper-huge")
