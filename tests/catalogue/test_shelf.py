"""What stands on the shelf, and whether it is still what was put there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from appliance.catalogue import Shelf, State
from appliance.catalogue.fetch import fetch, open_sources
from appliance.catalogue.sources import Silent
from appliance.errors import ModelDamaged, ModelNotInstalled
from tests.catalogue.stand_ins import FILES, a_model


@pytest.fixture
def full(shelf: Shelf, folder: Path) -> Shelf:
    model = a_model()
    fetch(model, shelf, progress=Silent(), sources=open_sources(model, folder=folder))
    return shelf


def test_an_empty_shelf_says_so(shelf: Shelf) -> None:
    assert shelf.installed() == ()
    assert shelf.state("tiny") is State.ABSENT
    for use in (shelf.path, shelf.verify, shelf.remove):
        with pytest.raises(ModelNotInstalled, match="tiny"):
            use("tiny")


def test_an_installed_model_is_found(full: Shelf) -> None:
    assert [model.id for model in full.installed()] == ["tiny"]
    assert full.state("tiny") is State.INSTALLED
    assert full.path("tiny") == full.models_dir / "tiny"
    assert full.resolve("tiny", "tiny", {}).id == "tiny"
    assert "whisper-1" in full.usable_names("tiny", {})


def test_an_untouched_model_is_not_read_again(full: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.catalogue.shelf.sha256_of", lambda *_: pytest.fail("it was read"))
    assert full.path("tiny")


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_changed_file_is_named_and_the_model_refused(full: Shelf, name: str) -> None:
    path = full.folder("tiny") / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelDamaged, match=name) as refused:
        full.path("tiny")
    assert "appliance models fetch tiny" in refused.value.hint
    with pytest.raises(ModelDamaged, match=name):
        full.verify("tiny")


def test_a_change_that_hides_its_time_is_found_by_a_full_check(full: Shelf) -> None:
    path = full.folder("tiny") / "model.bin"
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ModelDamaged, match=r"model\.bin"):
        full.verify("tiny")


def test_a_missing_file_is_named(full: Shelf) -> None:
    (full.folder("tiny") / "config.json").unlink()
    assert full.state("tiny") is State.DAMAGED
    with pytest.raises(ModelDamaged, match=r"config\.json is missing"):
        full.path("tiny")


def test_a_truncated_file_shows_without_reading(full: Shelf) -> None:
    os.truncate(full.folder("tiny") / "model.bin", 100)
    assert full.state("tiny") is State.DAMAGED


def test_a_link_is_not_taken_for_a_file(full: Shelf, tmp_path: Path) -> None:
    path = full.folder("tiny") / "model.bin"
    path.rename(tmp_path / "elsewhere.bin")
    path.symlink_to(tmp_path / "elsewhere.bin")
    with pytest.raises(ModelDamaged, match=r"model\.bin"):
        full.path("tiny")


def test_a_file_that_was_not_installed_is_not_loaded(full: Shelf) -> None:
    """An engine that finds vocabulary.json beside vocabulary.txt would prefer it."""
    (full.folder("tiny") / "vocabulary.json").write_text("[]")
    with pytest.raises(ModelDamaged, match=r"vocabulary\.json does not belong"):
        full.verify("tiny")


def test_a_copied_model_is_read_in_full_once(full: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = full.models_dir / "copy"
    shutil.copytree(full.folder("tiny"), copy)
    shutil.rmtree(full.folder("tiny"))
    copy.rename(full.folder("tiny"))
    assert full.state("tiny") is State.UNPROVEN
    assert full.path("tiny")
    assert full.state("tiny") is State.INSTALLED
    monkeypatch.setattr("appliance.catalogue.shelf.sha256_of", lambda *_: pytest.fail("it was read again"))
    assert full.path("tiny")


def test_a_model_on_a_read_only_volume_is_read_once_per_process(full: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    (full.folder("tiny") / "verified.json").unlink()
    monkeypatch.setattr("appliance.catalogue.shelf.remember_looks", lambda *_: False)  # root may write anywhere
    assert full.path("tiny")
    monkeypatch.setattr("appliance.catalogue.shelf.sha256_of", lambda *_: pytest.fail("it was read again"))
    assert full.path("tiny")


def test_a_folder_without_a_record_is_not_a_model(full: Shelf) -> None:
    (full.folder("tiny") / "installed.json").write_text("{ half")
    assert full.state("tiny") is State.ABSENT
    with pytest.raises(ModelNotInstalled):
        full.path("tiny")


def test_a_removed_model_is_gone(full: Shelf) -> None:
    assert full.remove("tiny") > len(FILES["model.bin"])
    assert not full.folder("tiny").exists()
    assert full.installed() == ()
