"""Keys are made, listed and revoked on the real database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from appliance.cli.keys import app, expiry
from appliance.errors import InvalidField, NotFound
from appliance.store import KeyRecord, Store

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

Keys = Callable[..., Result]


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    monkeypatch.setenv("APPLIANCE_DATA_DIR", str(tmp_path))

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    return call


def known(secret: str, data_dir: Path) -> KeyRecord | None:
    async def ask() -> KeyRecord | None:
        store = await Store.open(data_dir / "appliance.db")
        try:
            return await store.keys.authenticate(secret)
        finally:
            await store.close()

    return asyncio.run(ask())


def test_stdout_holds_the_key_and_nothing_else(keys: Keys, tmp_path: Path) -> None:
    made = keys("create", "newsroom")
    secret = made.stdout.strip()
    assert made.exit_code == 0
    assert secret.startswith("stt_")
    assert " " not in secret
    assert "shown only this once" in made.stderr
    record = known(secret, tmp_path)
    assert record is not None
    assert (record.name, sorted(record.scopes)) == ("newsroom", ["read", "transcribe", "write"])


def test_quiet_means_quiet_and_scopes_are_as_asked(keys: Keys, tmp_path: Path) -> None:
    made = keys("create", "reader", "--quiet", "--scope", "read", "--scope", "admin", "--expires", "90d")
    assert made.stderr == ""
    record = known(made.stdout.strip(), tmp_path)
    assert record is not None
    assert sorted(record.scopes) == ["admin", "read"]
    assert record.expires_at is not None


def test_a_revoked_key_opens_nothing(keys: Keys, tmp_path: Path) -> None:
    secret = keys("create", "make run", "--quiet").stdout.strip()
    assert keys("revoke", "make run").exit_code == 0
    assert known(secret, tmp_path) is None
    assert isinstance(keys("revoke", "make run").exception, NotFound)


def test_a_name_of_two_keys_is_not_enough_to_revoke(keys: Keys) -> None:
    for _ in range(2):
        keys("create", "twin")
    refusal = keys("revoke", "twin").exception
    assert isinstance(refusal, InvalidField)
    assert refusal.hint.count("stt_") == 2


def test_the_list_shows_no_secret(keys: Keys) -> None:
    assert "no key yet" in keys("list").stderr
    secret = keys("create", "newsroom", "--quiet").stdout.strip()
    table, data = keys("list").stdout, keys("list", "--json").stdout
    assert "newsroom" in table
    assert json.loads(data)[0]["name"] == "newsroom"
    assert secret not in table + data


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("12h", "2026-11-23T00:00:00"),
        ("90d", "2027-02-20T12:00:00"),
        ("2w", "2026-12-06T12:00:00"),
        ("2027-01-31", "2027-01-31T23:59:59"),
    ],
)
def test_expiry_is_written_as_people_write_it(text: str, ends: str) -> None:
    assert expiry(text, NOW) == datetime.fromisoformat(ends).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["soon", "d", "-3d", "2027-13-01", "9" * 5000 + "d", "999999999w", "٣d", "²d", ""])
def test_an_expiry_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidField):
        expiry(text, NOW)


@pytest.mark.parametrize("text", ["0d", "0h", "2026-11-21", "1999-01-01"])
def test_a_key_that_has_expired_already_is_not_made(text: str) -> None:
    with pytest.raises(InvalidField, match="expired already"):
        expiry(text, NOW)


def test_a_key_for_the_rest_of_today_is_made() -> None:
    assert expiry("2026-11-22", NOW) > NOW
