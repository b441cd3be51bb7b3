"""`appliance backup` on a real data folder."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from appliance.cli import backup as command
from appliance.errors import ApplianceError, BackupRefused, BackupWouldReplace, InvalidField
from appliance.store import Store, own_reach
from tests.store.samples import save

Backup = Callable[..., Result]


@pytest.fixture
def backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backup:
    monkeypatch.setenv("APPLIANCE_DATA_DIR", str(tmp_path / "data"))

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(command.app, [str(argument) for argument in arguments])

    return call


def store_and_erase(path: Path, *, erase: bool) -> None:
    async def work() -> None:
        store = await Store.open(path)
        record = await save(store, ["one sentence"])
        if erase:
            await store.transcripts.erase(record.id, own_reach("key_a"))
        await store.close()

    asyncio.run(work())


def test_from_keys_to_a_restored_appliance(backup: Backup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_and_erase(tmp_path / "data" / "appliance.db", erase=False)
    made = backup("keygen", tmp_path / "secret.key")
    public = made.stdout.strip()
    assert public.startswith("age1")
    assert "AGE-SECRET-KEY" not in made.output
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    monkeypatch.setenv("APPLIANCE_BACKUP_RECIPIENTS", f'["{public}"]')
    file = Path(backup("create", tmp_path).stdout.strip())
    assert file.name.startswith("appliance-")
    verified = backup("verify", file, "--identity", tmp_path / "secret.key")
    assert "is whole" in verified.stderr
    store_and_erase(tmp_path / "data" / "appliance.db", erase=True)
    assert isinstance(backup("restore", file, "-i", tmp_path / "secret.key").exception, BackupWouldReplace)
    restored = backup("restore", file, "-i", tmp_path / "secret.key", "--force")
    assert restored.exit_code == 0, restored.output
    assert "1 transcripts are there; 0 had been erased since" in restored.stderr
    listed = backup("tombstones").stdout
    assert listed.count("transcript:") == 1
    kept = Path(backup("tombstones", tmp_path).stdout.strip())
    assert kept.read_text() == listed
    again = backup("restore", file, "-i", tmp_path / "secret.key", "--force", "--tombstones", kept)
    assert "1 transcripts are there" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (["create", "b.age"], BackupRefused, "no database"),
        (["verify", "nothing.age", "-i", "nothing.key"], BackupRefused, "cannot be read"),
        (["keygen", "/proc/nowhere/key"], InvalidField, "cannot be"),
    ],
)
def test_mistakes_are_named(backup: Backup, arguments: list[str], error: type[ApplianceError], says: str) -> None:
    found = backup(*arguments).exception
    assert isinstance(found, error)
    assert says in str(found)


def test_no_backup_is_made_that_nobody_was_named_for(backup: Backup, tmp_path: Path) -> None:
    store_and_erase(tmp_path / "data" / "appliance.db", erase=False)
    found = backup("create", tmp_path).exception
    assert isinstance(found, BackupRefused)
    assert "keygen" in found.hint
    assert isinstance(backup("create", tmp_path, "--recipient", "age1wrong").exception, BackupRefused)
