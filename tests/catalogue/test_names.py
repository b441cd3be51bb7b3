"""Which model a name means. The catalogue is the real one; what is installed is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.catalogue import Catalogue
from appliance.catalogue.names import STAND_INS, resolve_name, usable_names
from appliance.errors import ModelNotInstalled, UnknownModel
from appliance.settings import Settings

CATALOGUE = Catalogue.load(Settings.model_fields["catalogue_dir"].default)
BARE = ("speaker-diarization", "whisper-base")
LARGE = (*BARE, "whisper-large-v3", "whisper-large-v3-turbo")


def resolve(
    name: str, *, default: str = "whisper-base", aliases: dict[str, str] | None = None, installed: tuple[str, ...] = BARE
) -> str:
    return resolve_name(name, default, aliases or {}, CATALOGUE, installed).id


@pytest.mark.parametrize("name", ["whisper-base", "base", " base ", "openai/whisper-base"])
def test_a_model_goes_by_its_id_and_short_names(name: str) -> None:
    assert resolve(name) == "whisper-base"


@pytest.mark.parametrize(
    "name",
    [
        "whisper-1",
        "gpt-4o-transcribe",
        "gpt-4o-mini-transcribe",
        "gpt-4o-mini-transcribe-2025-12-15",
        "gpt-4o-transcribe-diarize",
        "gpt-transcribe",
        "large-v3-turbo",
    ],
)
def test_stock_clients_get_the_sites_default(name: str) -> None:
    """The name in the result is that of the model that really worked: never the one that was asked for."""
    assert resolve(name) == "whisper-base"
    assert resolve(name, default="large-v3", installed=("whisper-large-v3",)) == "whisper-large-v3"


def test_an_installed_model_is_never_replaced_by_the_default() -> None:
    assert resolve("large-v3-turbo", installed=LARGE) == "whisper-large-v3-turbo"
    assert resolve("large-v3", installed=LARGE) == "whisper-large-v3"


@pytest.mark.parametrize("name", ["large-v3", "whisper-large-v3-turbo", "turbo", "medium"])
def test_a_real_model_that_is_not_installed_is_refused_with_the_remedy(name: str) -> None:
    """Only the name that a stock client sends unasked has a stand-in; who asks for a model by another name means it."""
    with pytest.raises(UnknownModel) as refused:
        resolve(name)
    assert "whisper-base" in refused.value.message
    assert "appliance models fetch whisper-" in refused.value.hint
    assert refused.value.status == 404


@pytest.mark.parametrize(
    "name", ["", "nova-3", "gpt-5", "whisper", "Base", "../whisper-base", "gpt-4o-transcribe-turbo", "speaker-diarization"]
)
def test_a_name_that_means_nothing_is_refused_with_the_names_that_work(name: str) -> None:
    with pytest.raises(UnknownModel, match="whisper-base") as refused:
        resolve(name)
    assert "models fetch" not in refused.value.hint


def test_the_sites_own_names_win() -> None:
    aliases = {"whisper-1": "large-v3", "ours": "whisper-base", "base": "turbo"}
    assert resolve("whisper-1", aliases=aliases, installed=LARGE) == "whisper-large-v3"
    assert resolve("ours", aliases=aliases, installed=LARGE) == "whisper-base"
    assert resolve("base", aliases=aliases, installed=LARGE) == "whisper-large-v3-turbo"


def test_a_sites_choice_that_is_missing_is_the_administrators_to_mend() -> None:
    with pytest.raises(ModelNotInstalled, match="whisper-large-v3"):
        resolve("ours", aliases={"ours": "large-v3"})
    with pytest.raises(ModelNotInstalled, match="whisper-base"):
        resolve("whisper-1", installed=())
    with pytest.raises(UnknownModel, match="nonsense"):
        resolve("ours", aliases={"ours": "nonsense"})


def test_nothing_installed_says_what_to_run() -> None:
    with pytest.raises(UnknownModel) as refused:
        resolve("nova-3", installed=())
    assert "appliance models fetch" in refused.value.hint


@given(
    st.sampled_from(["whisper-base", "large-v3"]),
    st.sampled_from([(), BARE, LARGE, ("whisper-large-v3",)]),
    st.dictionaries(st.sampled_from(["ours", "whisper-1"]), st.sampled_from(["base", "large-v3"])),
)
def test_every_name_that_is_listed_works(default: str, installed: tuple[str, ...], aliases: dict[str, str]) -> None:
    names = usable_names(default, aliases, CATALOGUE, installed)
    assert len(set(names)) == len(names)
    for name in names:
        assert resolve_name(name, default, aliases, CATALOGUE, installed).id in installed
    if CATALOGUE.find(default).id in installed:  # type: ignore[union-attr]
        assert set(STAND_INS) <= set(names) | set(aliases)
