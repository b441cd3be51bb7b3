"""What is looked at before the appliance starts, and what is made of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.checks import check_device
from appliance.cli.findings import Finding, Verdict
from appliance.cli.preflight import STARTING, preflight
from appliance.errors import StartRefused
from appliance.settings import Settings

FINE = Finding(point="a", verdict=Verdict.FINE, says="It is well.")
WARNING = Finding(point="swap", verdict=Verdict.WARNING, says="It swaps.", remedy="Stop it.")
BLOCKS = Finding(point="device", verdict=Verdict.BLOCKS, says="There is no GPU.", remedy="Plug one in.")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    values: dict[str, Any] = {"data_dir": tmp_path / "data", "models_dir": tmp_path / "models", "device": "cpu"}
    return Settings(**values)


def test_what_is_well_is_not_mentioned_and_what_is_not_is_a_warning(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """TRAPS 7, among others."""
    caplog.set_level(logging.INFO)
    preflight(settings, (lambda _: iter([FINE, WARNING]),))
    assert caplog.messages == ["It swaps. Stop it."]


def test_what_blocks_refuses_the_start_with_its_remedy(settings: Settings) -> None:
    with pytest.raises(StartRefused, match="There is no GPU") as refusal:
        preflight(settings, (lambda _: iter([WARNING, BLOCKS]),))
    assert refusal.value.hint == "Plug one in."


def test_a_gpu_that_was_asked_for_is_never_replaced_by_the_cpu(settings: Settings) -> None:
    asked = settings.model_copy(update={"device": "cuda:77"})
    with pytest.raises(StartRefused, match="GPU 77"):
        preflight(asked, (check_device,))


def test_this_machine_may_start_on_its_cpu(settings: Settings) -> None:
    preflight(settings, STARTING)


def test_a_data_folder_that_cannot_be_written_to_refuses_the_start(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.cli.checks.os.access", lambda *_: False)  # root may write anywhere
    with pytest.raises(StartRefused, match="data cannot be written to"):
        preflight(settings)
