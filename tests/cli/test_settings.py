"""Every setting is documented, and a wrong one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.cli.configuration import read_settings
from appliance.cli.settings import DEPENDS, SECRET, markdown_reference, present_values
from appliance.errors import StartRefused
from appliance.settings import Settings

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


def test_every_setting_is_documented() -> None:
    """When this fails: `appliance settings --markdown > docs/settings.md`."""
    undescribed = [name for name, field in Settings.model_fields.items() if not field.description]
    assert undescribed == []
    assert DOCUMENT.read_text() == markdown_reference()


def test_the_document_says_nothing_of_the_machine_it_was_made_on() -> None:
    assert str(Path.home()) not in markdown_reference()
    assert {*DEPENDS, *SECRET} <= set(Settings.model_fields)


def test_present_values_are_shown_but_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPLIANCE_WEBHOOK_SECRET", "whsec_geheim")
    monkeypatch.setenv("APPLIANCE_PORT", "9000")
    shown = present_values()
    assert "port = 9000  (set)" in shown
    assert "geheim" not in shown


def test_options_win_and_none_means_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPLIANCE_PORT", "9000")
    monkeypatch.setenv("APPLIANCE_HOST", "10.0.0.1")
    settings = read_settings(port=7000, host=None)
    assert (settings.port, settings.host) == (7000, "10.0.0.1")


def test_an_unknown_line_of_the_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "appliance.toml"
    file.write_text("prot = 9000\n")
    monkeypatch.setenv("APPLIANCE_CONFIG", str(file))
    with pytest.raises(StartRefused, match="There is no setting 'prot'"):
        read_settings()


def test_an_unknown_name_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPLIANCE_KEY", "stt_hush")  # read by a command, not a setting
    read_settings()
    monkeypatch.setenv("APPLIANCE_PROT", "9000")
    with pytest.raises(StartRefused, match="There is no setting 'APPLIANCE_PROT'"):
        read_settings()


def test_a_settings_file_that_is_named_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPLIANCE_CONFIG", str(tmp_path / "aplianse.toml"))
    with pytest.raises(StartRefused, match=r"There is no settings file .*aplianse\.toml"):
        read_settings()
