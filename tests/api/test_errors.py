"""The headers of an error."""

from __future__ import annotations

import pytest

from appliance.api.errors import _headers
from appliance.errors import ApplianceError, DeviceUnavailable, Interrupted, ModelDamaged, ModelNotInstalled, WorkerCrashed


@pytest.mark.parametrize(
    "error", [ModelDamaged("base", "model.bin"), ModelNotInstalled("base"), DeviceUnavailable("No driver.", ""), Interrupted()]
)
def test_what_passes_says_when_to_come_back(error: ApplianceError) -> None:
    assert error.status == 503
    assert _headers(error)["Retry-After"] == "60"


@pytest.mark.parametrize("error", [ModelDamaged("base", "model.bin"), ModelNotInstalled("base"), WorkerCrashed(2)])
def test_the_recording_is_not_sent_again_by_itself_where_a_person_must_act(error: ApplianceError) -> None:
    assert _headers(error)["x-should-retry"] == "false"


def test_an_interrupted_one_may_be_sent_again() -> None:
    assert "x-should-retry" not in _headers(Interrupted())
