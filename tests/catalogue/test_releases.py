"""How the shelf sees imported releases: in place of fetched models, and never worse than without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.catalogue import Catalogue, Shelf, State
from appliance.catalogue.fetch import fetch, open_sources
from appliance.catalogue.releases import Channel, channel_folder, read_switch
from appliance.catalogue.sources import Silent
from appliance.errors import ModelDamaged
from tests.catalogue.stand_ins import a_model
from tests.updates.making import Maker, Site


@pytest.fixture
def both(tmp_path: Path, folder: Path) -> tuple[Shelf, Site]:
    """A model that was fetched, and a release of the same id."""
    maker = Maker(tmp_path / "maker")
    maker.release(1)
    site = Site(tmp_path / "site", maker.anchor)
    shelf = Shelf(Catalogue({"tiny": a_model()}), site.models_dir)
    fetch(shelf.catalogue.get("tiny"), shelf, progress=Silent(), sources=open_sources(a_model(), folder=folder))
    site.take(maker.tar())
    return shelf, site


def test_a_release_goes_before_a_fetched_model_and_gives_it_back(both: tuple[Shelf, Site]) -> None:
    shelf, site = both
    assert shelf.path("tiny") != shelf.models_dir / "tiny"
    assert len(shelf.catalogue.get("tiny").files) == 3
    assert shelf.catalogue.get("tiny").sources == ()
    site.releases.roll_back(Channel.VENDOR)
    assert shelf.path("tiny") == shelf.models_dir / "tiny"
    assert shelf.catalogue.get("tiny").sources


def test_nothing_is_read_while_nothing_changes(both: tuple[Shelf, Site], monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, _ = both
    known = shelf.catalogue
    monkeypatch.setattr("appliance.catalogue.releases.read_record", lambda *_: pytest.fail("it was read"))
    assert shelf.catalogue is known
    assert shelf.state("tiny") is State.INSTALLED


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"active": "x"}', b'{"active": 99}', b"\xff"])
def test_a_switch_that_cannot_be_read_leaves_the_fetched_models(both: tuple[Shelf, Site], content: bytes) -> None:
    shelf, site = both
    path = channel_folder(site.models_dir, Channel.VENDOR) / "active.json"
    path.unlink()
    path.write_bytes(content)
    assert shelf.path("tiny") == shelf.models_dir / "tiny"
    assert read_switch(site.models_dir, Channel.SITE).active == 0


def test_a_damaged_model_of_a_release_names_the_way_out(both: tuple[Shelf, Site]) -> None:
    shelf, _ = both
    (shelf.folder("tiny") / "config.json").write_text("tampered")
    with pytest.raises(ModelDamaged, match=r"config\.json") as refused:
        shelf.path("tiny")
    assert "import the bundle of 'vendor-1' again" in refused.value.hint
    assert "rollback" in refused.value.hint


def test_a_release_on_disk_cannot_take_a_name_of_the_other_channel(both: tuple[Shelf, Site]) -> None:
    """Even if its record says so: the prefix decides, where it is read as well."""
    shelf, site = both
    source = channel_folder(site.models_dir, Channel.VENDOR)
    target = channel_folder(site.models_dir, Channel.SITE)
    target.rename(target.with_name("away"))
    source.rename(target)
    assert shelf.release_of("tiny") is None
    assert shelf.path("tiny") == shelf.models_dir / "tiny"
