"""What is wished for, as options of the engine: what the model cannot do is refused, never ignored."""

from __future__ import annotations

import pytest

from appliance.catalogue import Catalogue, Model
from appliance.cli.configuration import read_settings
from appliance.cli.local import known_language
from appliance.errors import LanguageUnsupported


@pytest.fixture(scope="module")
def english_only() -> Model:
    return Catalogue.load(read_settings().catalogue_dir).get("whisper-tiny.en")


@pytest.mark.parametrize(("wanted", "code"), [(None, None), ("en", "en"), ("English", "en")])
def test_a_language_goes_by_code_or_name(english_only: Model, wanted: str | None, code: str | None) -> None:
    assert known_language(wanted, english_only) == code


@pytest.mark.parametrize("wanted", ["de", "German", "Klingon"])
def test_a_language_the_model_does_not_know_is_refused(english_only: Model, wanted: str) -> None:
    with pytest.raises(LanguageUnsupported, match=wanted):
        known_language(wanted, english_only)
