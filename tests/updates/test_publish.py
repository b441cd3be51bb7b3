"""The maker's commands, as they are typed; what they wrote is imported by a site."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import appliance.updates.publish
from appliance.errors import InvalidRequest
from appliance.updates.publish import app
from appliance.updates.repository import Repository
from tests.updates.making import ENTRY, Site, clip_of, model_files


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"APPLIANCE_SIGNING_PASSPHRASE": "a passphrase"})


def add(folder: Path, repository: Path, seed: int, *keys: object) -> Result:
    (folder / "files").mkdir(exist_ok=True)
    for name, content in model_files(seed).items():
        (folder / "files" / name).write_bytes(content)
    (folder / "entry.toml").write_text(ENTRY.format(id="tiny"))
    (folder / "clip.wav").write_bytes(clip_of())
    options = (
        "--from",
        folder / "files",
        "--entry",
        folder / "entry.toml",
        "--canary",
        folder / "clip.wav",
        "--words",
        "hello world",
    )
    return call("add", repository, *options, *keys)


@pytest.mark.parametrize("development", [True, False], ids=["development", "keys of one's own"])
def test_from_new_keys_to_a_site_that_serves_the_second_release(tmp_path: Path, development: bool) -> None:
    repository = tmp_path / "repository"
    keys = ("--development",) if development else ("--keys", tmp_path / "keys")
    assert call("init", repository, *keys).exit_code == 0
    site = Site(tmp_path, (repository / "metadata/1.root.json").read_bytes())
    assert add(tmp_path, repository, 1, *keys).stdout == "release 1: tiny\n"
    assert call("bundle", repository, tmp_path / "first.tar").exit_code == 0
    assert site.take(tmp_path / "first.tar").name == "vendor-1"
    assert add(tmp_path, repository, 2, *keys).exit_code == 0
    made_at = Repository(repository).plan().made_at
    assert made_at
    assert call("renew", repository, *keys).stdout == "root 2, release 3\n"
    assert call("bundle", repository, tmp_path / "difference.tar", "--since", 1).exit_code == 0
    assert (tmp_path / "difference.tar").stat().st_size < (tmp_path / "first.tar").stat().st_size + 20_000
    renewed = site.take(tmp_path / "difference.tar")
    assert (renewed.name, renewed.made_at) == ("vendor-3", made_at), "what is only signed again is no newer"
    assert site.serves() == 2


def test_new_keys_want_one_folder(tmp_path: Path) -> None:
    assert isinstance(call("init", tmp_path / "repository").exception, InvalidRequest)


def test_a_release_is_not_built_with_the_root_that_everybody_can_sign_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = call("check-release").exception
    assert isinstance(refused, InvalidRequest)
    assert "anybody could sign models" in refused.message
    call("init", tmp_path / "repository", "--keys", tmp_path / "keys")
    root = (tmp_path / "repository/metadata/1.root.json").read_bytes()
    monkeypatch.setattr(appliance.updates.publish, "vendor_root", lambda: root)
    assert call("check-release").stdout.startswith("Built in: ")
