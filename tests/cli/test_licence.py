"""A licence is shown and installed on the real data folder, with the keys that are built in replaced by the tests'."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import appliance.cli.licence
from appliance.cli.licence import app, read_file
from appliance.errors import InvalidField, LicenceNotAccepted
from appliance.licensing import Licensing, look_at_licence
from appliance.store import Store
from licence import Limits
from tests.licence.making import STRANGER, TRUSTED, licence, signed

Call = Callable[..., Result]
NOW = datetime.now(UTC)
MINE = licence(not_before=NOW - timedelta(days=1), expires_at=NOW + timedelta(days=365), limits=Limits(seats=25))


class Trusting(Licensing):
    open = partial(Licensing.open, trusted=TRUSTED, gpus=())


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("APPLIANCE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(appliance.cli.licence, "Licensing", Trusting)
    monkeypatch.setattr(appliance.cli.licence, "look_at_licence", partial(look_at_licence, trusted=TRUSTED, gpus=()))
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def start_once(data_dir: Path) -> None:
    """What the first start of the appliance leaves."""

    async def start() -> None:
        store = await Store.open(data_dir / "appliance.db")
        await Licensing.open(store, data_dir, gpus=())
        await store.close()

    asyncio.run(start())


def test_before_the_first_start_a_look_begins_nothing(call: Call, tmp_path: Path) -> None:
    shown = call("show")
    assert shown.exit_code == 0
    assert "With the first start" in shown.stdout
    assert call("show", "--json").stdout == "null\n"
    assert not (tmp_path / "data").exists()


def test_before_there_is_a_licence_the_vendor_s_facts_are_shown(call: Call, tmp_path: Path) -> None:
    start_once(tmp_path / "data")
    before = {path: path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()}
    shown = call("show")
    assert shown.exit_code == 0
    assert "evaluation: everything works" in shown.stdout
    assert "install id     inst_" in shown.stdout
    assert "appliance licence install FILE" in shown.stderr
    assert json.loads(call("show", "--json").stdout)["install_id"] in shown.stdout  # the same each time
    assert {path: path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()} == before


def test_a_licence_is_installed_from_a_stick(call: Call, tmp_path: Path) -> None:
    stick = tmp_path / "media" / "stick" / "licence.json"
    stick.parent.mkdir(parents=True)
    stick.write_bytes(signed(MINE))
    installed = call("install", stick)
    assert installed.exit_code == 0
    assert "The licence is installed" in installed.stderr
    shown = call("show").stdout
    assert "valid: everything works" in shown
    assert "customer       City Hospital" in shown
    assert "seats          25" in shown


def test_a_wrong_file_is_named_and_the_licence_stays(call: Call, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_bytes(signed(MINE))
    wrong.write_bytes(signed(MINE, STRANGER))
    call("install", right)
    refused = call("install", wrong)
    assert isinstance(refused.exception, LicenceNotAccepted)
    assert json.loads(call("show", "--json").stdout)["standing"]["licence"]["serial"] == 1


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match="cannot be read"):
        read_file(tmp_path / "nothing")
