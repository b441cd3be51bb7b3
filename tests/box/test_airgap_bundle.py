"""airgap_bundle.sh: what it carries, in parts that fit a stick, and what a dry run says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.box.conftest import IMAGE, OLD_IMAGE, Bundle, Engine, make_bundle
from tests.updates.making import Maker


def test_everything_a_site_needs_is_in_it(original: Bundle) -> None:
    there = {file.name for file in original.folder.iterdir()}
    assert {
        "install.sh",
        "compose.yml",
        "compose.outward.yml",
        "settings.env",
        "docs",
        "licence-request.txt",
        "vendor.pub",
    } <= there
    assert (original.folder / "docs/operator-guide.md").is_file()


def test_every_file_but_the_signature_is_signed_for(original: Bundle) -> None:
    names = {
        str(file.relative_to(original.folder)) for file in original.folder.rglob("*") if file.is_file() and "/." not in str(file)
    }
    signed = {line.split("  ", 1)[1] for line in (original.folder / "SHA256SUMS").read_text().splitlines()}
    assert names - signed == {"SHA256SUMS", "SHA256SUMS.sig", "vendor.pub"}
    assert not signed - names


def test_no_part_is_larger_than_a_stick_takes(original: Bundle) -> None:
    parts = sorted(original.folder.glob("models.tar.part-*"))
    assert len(parts) > 1
    assert max(part.stat().st_size for part in parts) == 19999


def test_a_dry_run_writes_nothing_and_tells_the_sizes(engine: Engine, tmp_path: Path) -> None:
    run = make_bundle(engine, tmp_path / "to", "--dry-run", "--delta-from", OLD_IMAGE)
    assert run.returncode == 0, run.stderr
    assert "image.tar.zst (delta, before zstd)" in run.stdout
    assert "models.tar" in run.stdout
    assert not (tmp_path / "to").exists()
    assert not (engine.home / "key").exists()


def test_a_second_run_after_an_interruption_makes_only_what_is_missing(engine: Engine, tmp_path: Path) -> None:
    engine.fail_once("save")
    assert make_bundle(engine, tmp_path / "to").returncode != 0
    assert not (tmp_path / "to/image.tar.zst").exists()
    assert make_bundle(engine, tmp_path / "to").returncode == 0
    (tmp_path / "to/SHA256SUMS").unlink()
    third = make_bundle(engine, tmp_path / "to")
    assert "image.tar.zst is there already." in third.stderr
    assert "models.tar is there already." in third.stderr
    assert (tmp_path / "to/SHA256SUMS").is_file()


def test_what_is_no_signed_bundle_of_models_is_refused_before_anything_is_made(engine: Engine, tmp_path: Path) -> None:
    """At the site it would be refused too, but there nobody can make another."""
    (tmp_path / "models.tar").write_bytes(b"not a tar")
    run = make_bundle(engine, tmp_path / "to", "--models", str(tmp_path / "models.tar"))
    assert "models.tar is no signed model bundle" in run.stderr
    maker = Maker(tmp_path / "maker")
    maker.release(1)
    run = make_bundle(engine, tmp_path / "to", "--models", str(maker.repository.folder))
    assert "Give its .tar" in run.stderr
    assert not (tmp_path / "to").exists()


def test_a_wrong_option_is_explained(engine: Engine) -> None:
    run = engine.run("scripts/airgap_bundle.sh", "--splitt", "4G")
    assert run.returncode == 1
    assert "there is no option '--splitt'" in run.stderr


@pytest.mark.parametrize("option", ["appliance:0.0.8", IMAGE])
def test_an_image_that_cannot_be_compared_with_is_refused_before_anything_is_made(
    engine: Engine, tmp_path: Path, option: str
) -> None:
    """Not a whole archive in place of a small one."""
    run = make_bundle(engine, tmp_path / "to", "--delta-from", option)
    assert run.returncode == 1
    assert option in run.stderr
    (engine.folder / f"{OLD_IMAGE}.layers").write_text("sha256:" + "f" * 64 + "\n")
    run = make_bundle(engine, tmp_path / "to", "--delta-from", OLD_IMAGE)
    assert f"{IMAGE} shares no layer with {OLD_IMAGE}" in run.stderr
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("options", [[], ["--delta-from", OLD_IMAGE]])
def test_the_bundle_says_how_large_its_own_archive_is(engine: Engine, tmp_path: Path, options: list[str]) -> None:
    """By that the disk is judged: for a delta not by the whole image."""
    assert make_bundle(engine, tmp_path / "to", *options).returncode == 0
    unpacked = engine.run("zstd", "-dqo", tmp_path / "tar", tmp_path / "to/image.tar.zst")
    assert unpacked.returncode == 0, unpacked.stderr
    assert f"\narchive_bytes={(tmp_path / 'tar').stat().st_size}\n" in (tmp_path / "to/BUNDLE").read_text()
