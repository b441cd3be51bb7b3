"""`appliance audit`: an export is checked without the database, and a head kept elsewhere shows a cut end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from appliance.cli import audit as command
from appliance.cli import keys
from appliance.errors import ChainBroken, InvalidField

Audit = Callable[..., Result]


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Audit:
    monkeypatch.setenv("APPLIANCE_DATA_DIR", str(tmp_path / "data"))

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(command.app, [str(argument) for argument in arguments])

    return call


def test_keys_made_on_the_command_line_stand_in_the_log_without_their_names(audit: Audit) -> None:
    CliRunner().invoke(keys.app, ["create", "newsroom"])
    CliRunner().invoke(keys.app, ["revoke", "newsroom"])
    lines = audit("export").stdout.splitlines()
    assert [line.split('"event":"')[1].split('"')[0] for line in lines] == ["key.created", "key.revoked", "audit.exported"]
    assert "newsroom" not in "".join(lines)
    assert audit("verify").exit_code == 0


def test_an_export_is_verified_anywhere(audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        CliRunner().invoke(keys.app, ["create", "somebody"])
    head = audit("head").stdout.strip()
    file = tmp_path / "audit.jsonl"
    file.write_text(audit("export").stdout)
    monkeypatch.setenv("APPLIANCE_DATA_DIR", "/nowhere")
    verified = audit("verify", file, "--head", head)
    assert verified.exit_code == 0
    assert verified.stdout.startswith("audit:4:")
    assert "noted earlier" in audit("verify", file).stderr
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2]))
    assert audit("verify", file).exit_code == 0, "a chain alone cannot know of its end"
    assert isinstance(audit("verify", file, "--head", head).exception, ChainBroken)
    file.write_text("".join([*lines[:1], *lines[2:]]))
    assert isinstance(audit("verify", file).exception, ChainBroken)


def test_the_usage_journal_is_exported_in_the_same_way(audit: Audit) -> None:
    CliRunner().invoke(keys.app, ["create", "somebody"])
    assert audit("head", "--chain", "usage").stdout.strip() == f"usage:0:{'0' * 64}"
    assert audit("export", "--chain", "usage").stdout == ""
    assert audit("verify", "--chain", "usage").exit_code == 0
    assert isinstance(audit("verify", "--head", f"usage:0:{'0' * 64}").exception, InvalidField)
