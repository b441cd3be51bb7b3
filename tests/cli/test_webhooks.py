"""Targets that answered 410 are listed and switched on again, on the real database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from appliance.cli.webhooks import app
from appliance.errors import InvalidField
from appliance.store import Store

URL = "https://hooks.example/x?token=1"
Webhooks = Callable[..., Result]


@pytest.fixture
def webhooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Webhooks:
    monkeypatch.setenv("APPLIANCE_DATA_DIR", str(tmp_path))

    async def switch_off() -> None:
        store = await Store.open(tmp_path / "appliance.db")
        await store.webhooks.switch_off(URL)
        await store.close()

    asyncio.run(switch_off())

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    return call


def test_those_that_are_switched_off_are_listed(webhooks: Webhooks) -> None:
    assert webhooks("list").stdout.splitlines()[1].split() == [URL, f"{datetime.now(UTC):%Y-%m-%d}"]
    (target,) = json.loads(webhooks("list", "--json").stdout)
    assert target["url"] == URL


def test_one_is_switched_on_again(webhooks: Webhooks) -> None:
    assert webhooks("allow", URL).exit_code == 0
    listed = webhooks("list")
    assert (listed.stdout, "No webhook" in listed.stderr) == ("", True)
    again = webhooks("allow", URL)
    assert isinstance(again.exception, InvalidField)
    assert "appliance webhooks list" in again.exception.hint
