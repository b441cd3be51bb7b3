"""What an import brings, keeps and removes, when nobody means harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.catalogue import State
from appliance.catalogue.releases import Channel
from appliance.errors import (
    ApplianceTooOld,
    BlobMissing,
    CanaryFailed,
    ModelReleased,
    NoSuchRelease,
    NothingToRollBack,
    UpdateRunning,
)
from appliance.updates.importer import Trial
from tests.updates.making import Maker, Site, model_files


def test_a_new_release_serves_at_once_and_without_a_restart(site: Site, maker: Maker) -> None:
    maker.release(2)
    record = site.take(maker.tar())
    assert (record.name, site.serves()) == ("vendor-2", 2)
    assert site.shelf.state("tiny") is State.INSTALLED, "its files were read; the first use need not read them again"
    assert site.shelf.release_of("tiny") == "vendor-2"
    assert site.leftovers() == []


def test_a_folder_is_as_good_as_a_tar(site: Site, maker: Maker) -> None:
    maker.release(2)
    site.take(maker.bundle())
    assert site.serves() == 2


def test_the_previous_release_is_kept_and_the_one_before_it_is_not(site: Site, maker: Maker) -> None:
    for seed in (2, 3):
        maker.release(seed)
        site.take(maker.tar())
    assert [(kept.record.version, kept.active, kept.previous) for kept in site.releases.kept()] == [
        (3, True, False),
        (2, False, True),
    ]
    have = {path.name for path in site.releases.blobs.folder.iterdir()}
    assert have == {sha256 for kept in site.releases.kept() for sha256 in kept.record.blobs}
    assert site.releases.roll_back(Channel.VENDOR)
    assert site.serves() == 2


def test_rolling_back_needs_a_previous_release(site: Site, maker: Maker) -> None:
    assert site.releases.roll_back(Channel.VENDOR) is None, "before the first release there were only fetched models"
    assert site.shelf.release_of("tiny") is None
    with pytest.raises(NothingToRollBack):
        site.releases.roll_back(Channel.VENDOR)
    site.releases.activate(site.releases.find("vendor-1"))
    assert site.serves() == 1


def test_an_unknown_release_names_those_that_are_kept(site: Site) -> None:
    with pytest.raises(NoSuchRelease) as refused:
        site.releases.find("vendor-9")
    assert "vendor-1" in refused.value.hint


def test_a_release_can_be_brought_in_without_using_it(site: Site, maker: Maker) -> None:
    maker.release(2)
    record = site.take(maker.tar(), activate=False)
    assert site.serves() == 1
    site.releases.activate(record)
    assert site.serves() == 2


def test_the_same_bundle_again_changes_nothing_and_repairs_what_was_damaged(site: Site, maker: Maker) -> None:
    before = site.remembered()
    (site.shelf.folder("tiny") / "vocabulary.txt").write_bytes(b"damaged...")
    site.take(maker.tar())
    assert site.serves() == 1
    assert site.remembered() == before


def test_a_difference_carries_only_what_is_new(site: Site, maker: Maker) -> None:
    """Changing one small file ships no more than its size and 1 MiB."""
    files = model_files(1, 8 * 2**20)
    maker.release(1, files=files)
    site.take(maker.tar())
    small = {**files, "vocabulary.txt": b"release 1 and a new word\n"}
    version = maker.release(2, files=small)
    whole, difference = maker.tar("whole"), maker.tar("difference", since=version - 1)
    print(f"whole bundle {whole.stat().st_size} bytes, difference {difference.stat().st_size} bytes")
    assert whole.stat().st_size > 8 * 2**20
    assert difference.stat().st_size <= len(small["vocabulary.txt"]) + 2**20
    site.take(difference)
    assert (site.shelf.path("tiny") / "vocabulary.txt").read_bytes() == small["vocabulary.txt"]
    assert (site.shelf.path("tiny") / "model.bin").read_bytes() == files["model.bin"]


def test_a_difference_to_something_else_says_what_is_missing(tmp_path: Path, maker: Maker) -> None:
    maker.release(2)
    fresh = Site(tmp_path / "fresh", maker.anchor)
    with pytest.raises(BlobMissing, match=r"config\.json of 'tiny'"):
        fresh.take(maker.tar(since=1))
    assert fresh.shelf.installed() == ()


def test_only_models_that_changed_are_tried(site: Site, maker: Maker) -> None:
    maker.release(7, model_id="other")
    tried: list[str] = []

    def note(trial: Trial) -> None:
        tried.append(trial.model.id)
        assert (trial.folder / "model.bin").is_file()
        assert trial.clip.read_bytes().startswith(b"RIFF")

    site.take(maker.tar(), try_out=note)
    assert tried == ["other"]
    assert site.serves("other") == 7
    assert site.serves("tiny") == 1


def test_a_model_that_fails_its_trial_is_not_used(site: Site, maker: Maker) -> None:
    maker.release(2)
    before = site.remembered()

    def fails(trial: Trial) -> None:
        raise CanaryFailed(trial.model.id, "it heard nothing")

    with pytest.raises(CanaryFailed, match="heard nothing"):
        site.take(maker.tar(), try_out=fails)
    assert site.serves() == 1
    assert (site.remembered(), site.leftovers()) == (before, [])
    site.take(maker.tar())
    assert site.serves() == 2


def test_a_release_for_a_newer_appliance_is_refused(site: Site, maker: Maker) -> None:
    maker.release(2, minimum_version="99.1")
    with pytest.raises(ApplianceTooOld, match=r"99\.1"):
        site.take(maker.tar())
    assert site.serves() == 1


def test_one_import_at_a_time(site: Site, maker: Maker) -> None:
    maker.release(2)

    def meanwhile(_trial: Trial) -> None:
        with pytest.raises(UpdateRunning):
            site.take(maker.tar())

    site.take(maker.tar(), try_out=meanwhile)
    assert site.serves() == 2


def test_a_release_that_does_not_work_is_given_up_once(site: Site, maker: Maker) -> None:
    maker.release(2)
    record = site.take(maker.tar())
    assert site.releases.give_up(record)
    assert site.serves() == 1
    assert not site.releases.give_up(record), "somebody has switched since"
    assert [(kept.record.version, kept.failed) for kept in site.releases.kept()] == [(2, True), (1, False)]


def test_a_model_of_a_release_cannot_be_removed_alone(site: Site) -> None:
    with pytest.raises(ModelReleased, match="vendor-1"):
        site.shelf.remove("tiny")
    assert site.serves() == 1


def test_another_process_sees_the_switch(site: Site, maker: Maker) -> None:
    other = Site(site.models_dir.parent, maker.anchor)
    assert other.serves() == 1
    maker.release(2)
    site.take(maker.tar())
    assert other.serves() == 2
    site.releases.roll_back(Channel.VENDOR)
    assert other.serves() == 1
