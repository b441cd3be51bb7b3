"""What a well signed list may describe: pure, without files."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuf.api.metadata import TargetFile, Targets

from appliance.catalogue.releases import Channel
from appliance.errors import ReleaseInvalid, UpdateRefused
from appliance.store.audit import is_name
from appliance.updates.release import Canary, ModelPlan, Release, ReleasePlan, read_release
from tests.updates.making import ENTRY

BLOB = hashlib.sha256(b"x").hexdigest()


def plan(model_id: str = "tiny", entry: str = ENTRY, **changes: Any) -> ModelPlan:
    whole = ModelPlan(model_id, entry.format(id=model_id), {"config.json": BLOB}, Canary(BLOB, "hello"))
    return msgspec.structs.replace(whole, **changes)


def read(*plans: ModelPlan, channel: Channel = Channel.VENDOR, custom: Any = None) -> Release:
    described = msgspec.to_builtins(ReleasePlan(plans)) if custom is None else custom
    targets = Targets(5, targets={BLOB: TargetFile(1, {"sha256": BLOB}, BLOB)}, unrecognized_fields={"custom": described})
    return read_release(targets, channel)


def test_a_release_is_what_its_list_says() -> None:
    release = read(plan())
    assert (release.name, dict(release.blobs)) == ("vendor-5", {BLOB: 1})
    (planned,) = release.models
    assert [(file.name, file.size_bytes, file.sha256) for file in planned.model.files] == [("config.json", 1, BLOB)]


@given(
    st.one_of(st.from_regex(r"(site/)?[a-z0-9._-]{1,70}", fullmatch=True), st.sampled_from(["own.wav", "a.bin", "x/y", "site/"]))
)
def test_every_id_that_is_taken_can_stand_in_the_journals(model_id: str) -> None:
    """Else each recording with such a model would end in an error when it is counted."""
    channel = Channel.SITE if model_id.startswith("site/") else Channel.VENDOR
    try:
        read(plan(model_id), channel=channel)
    except ReleaseInvalid:
        return
    assert is_name(model_id)


@pytest.mark.parametrize("model_id", ["site/own", "site/whisper-court.v2", "site/a1"])
def test_models_of_the_site_are_apart(model_id: str) -> None:
    assert read(plan(model_id), channel=Channel.SITE).name == "site-5"
    with pytest.raises(ReleaseInvalid):
        read(plan(model_id), channel=Channel.VENDOR)
    with pytest.raises(ReleaseInvalid):
        read(plan(model_id.removeprefix("site/")), channel=Channel.SITE)


def test_short_names_are_apart_as_well() -> None:
    own = ENTRY + 'aliases = ["{alias}"]\n'
    assert read(plan("site/own", own.replace("{alias}", "site/court")), channel=Channel.SITE).models[0].model.aliases == (
        "site/court",
    )
    for alias in ("whisper-base", "large-v3"):
        with pytest.raises(ReleaseInvalid, match="must begin with 'site/'"):
            read(plan("site/own", own.replace("{alias}", alias)), channel=Channel.SITE)
    with pytest.raises(ReleaseInvalid, match="must not begin"):
        read(plan("tiny", own.replace("{alias}", "site/court")))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"catalogue": "id ="}, "cannot be read"),
        ({"catalogue": ENTRY.format(id="other")}, "is about 'other'"),
        ({"catalogue": ENTRY.format(id="tiny").replace('["en"]', "[]")}, "no languages"),
        ({"catalogue": ENTRY.format(id="tiny").replace('"whisper"', '"shell"')}, "cannot be read"),
        ({"catalogue": ENTRY.format(id="tiny") + 'run = "boom"\n'}, "cannot be read"),
        ({"files": {}}, "no files"),
        ({"files": {"config.json": "0" * 64}}, "does not have"),
        ({"files": {"a.json": BLOB, "a.json/b.json": BLOB}}, "a folder as well"),
        ({"canary": Canary(BLOB, " ")}, "expects no words"),
        ({"canary": Canary("0" * 64, "hello")}, "does not have"),
        ({"minimum_version": "soon"}, "cannot be read"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ReleaseInvalid, match=complaint):
        read(plan(**changes))


def test_two_models_cannot_have_one_name() -> None:
    with pytest.raises(ReleaseInvalid, match="both"):
        read(plan(), plan())


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_other_description_is_refused(custom: Any) -> None:
    with pytest.raises(UpdateRefused):
        read(custom=custom if custom is not None else "")
