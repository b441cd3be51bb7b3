"""`appliance models import|releases|activate|rollback|root`, and the maker's `publish`, as they are typed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import wave
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

import appliance.cli.licence
from appliance.catalogue import Catalogue, Shelf
from appliance.catalogue.fetch import fetch
from appliance.catalogue.sources import Silent
from appliance.cli.configuration import read_settings
from appliance.cli.licence import app as licence_app
from appliance.cli.models import app
from appliance.errors import BundleUnreadable, InvalidRequest, NothingToRollBack, SiteRootRefused, WrongRoot
from appliance.licensing import look_at_licence
from appliance.updates.operations import import_release
from appliance.updates.publish import app as publish
from appliance.updates.roots import is_development, vendor_root
from tests.cli.test_licence import start_once
from tests.licence.making import TRUSTED, licence, signed
from tests.recordings import telephone_call
from tests.served import serve
from tests.updates.making import ENTRY, Maker, clip_of, model_files

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of a site where every trial passes: the engine is not the subject here."""

    async def passes(*_: Any) -> None: ...

    defaults = import_release.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "hearing", passes)
    return {"APPLIANCE_MODELS_DIR": str(tmp_path / "models"), "APPLIANCE_DATA_DIR": str(tmp_path / "data")}


def run(site: dict[str, str], *arguments: str, program: typer.Typer = app, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(program, arguments, env=site, catch_exceptions=False, input=stdin)


def test_a_release_is_imported_listed_rolled_back_and_activated(site: dict[str, str], tmp_path: Path) -> None:
    maker = Maker(tmp_path / "maker")
    assert "No release" in run(site, "releases").stderr
    for seed in (1, 2):
        maker.release(seed)
        imported = run(site, "import", str(maker.tar()))
        assert imported.stdout == f"vendor-{seed} is in use: tiny\n"
        assert "development build" in imported.stderr
    listed = run(site, "releases").stdout.splitlines()
    assert [line.split()[:2] for line in listed] == [["vendor-2", "in"], ["vendor-1", "previous"]]
    assert run(site, "rollback").stdout == "vendor-1 is in use: tiny\n"
    with pytest.raises(NothingToRollBack):
        run(site, "rollback")
    assert run(site, "activate", "vendor-2").stdout == "vendor-2 is in use: tiny\n"
    assert json.loads(run(site, "releases", "--json").stdout)[0]["active"]
    assert '"tiny"' in run(site, "list", "--json").stdout


def test_a_bundle_can_come_through_stdin(site: dict[str, str], tmp_path: Path) -> None:
    maker = Maker(tmp_path / "maker")
    maker.release(1)
    content = maker.tar().read_bytes()
    assert run(site, "import", "-", "--no-activate", stdin=content).stdout.startswith("vendor-1 is here")
    assert "in use" not in run(site, "releases").stdout


def test_a_bundle_is_found_by_its_name_where_sticks_are_mounted(site: dict[str, str], tmp_path: Path) -> None:
    maker = Maker(tmp_path / "maker")
    maker.release(1)
    maker.tar("update")
    mounted = site | {"APPLIANCE_BUNDLE_DIR": str(tmp_path / "maker")}
    assert run(mounted, "import", "update.tar").stdout == "vendor-1 is in use: tiny\n"
    with pytest.raises(BundleUnreadable):
        run(mounted, "import", "another.tar")
    with pytest.raises(BundleUnreadable):
        run(site, "import", "update.tar")


def test_of_a_release_made_after_the_end_of_support_the_commands_say_so(
    site: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    ended = licence(not_before=now - timedelta(days=9), expires_at=now + timedelta(days=365), support_until=now - timedelta(days=1))
    start_once(tmp_path / "data")
    (tmp_path / "data/licence.json").write_bytes(signed(ended))
    monkeypatch.setattr(appliance.cli.licence, "look_at_licence", partial(look_at_licence, trusted=TRUSTED, gpus=()))
    maker = Maker(tmp_path / "maker")
    maker.release(1)
    said = "the release 'vendor-1' was made later"
    imported = run(site, "import", str(maker.tar()))
    assert imported.stdout == "vendor-1 is in use: tiny\n"
    assert said in imported.stderr
    assert said in run(site, "releases").stderr
    shown = run(site, "show", program=licence_app)
    assert "valid: everything works" in shown.stdout
    assert said in shown.stderr
    assert said in json.loads(run(site, "show", "--json", program=licence_app).stdout)["models"][0]["sentence"]


def test_fetching_a_model_of_a_release_only_checks_it(site: dict[str, str], tmp_path: Path) -> None:
    maker = Maker(tmp_path / "maker")
    maker.release(1)
    run(site, "import", str(maker.tar()))
    shelf = Shelf(Catalogue({}), tmp_path / "models")
    assert not fetch(shelf.catalogue.get("tiny"), shelf, progress=Silent())
    assert run(site, "fetch", "tiny").stdout == "tiny: already installed, and sound\n"


def test_a_site_makes_a_root_and_imports_its_own_model(site: dict[str, str], tmp_path: Path) -> None:
    keys, repository = tmp_path / "stick", tmp_path / "stick/repository"
    with pytest.raises(SiteRootRefused, match="no trust root"):
        run(site, "import", "--site", str(tmp_path))
    created = run(site, "root", "create", str(keys), "--passphrase", PASSPHRASE)
    assert "fingerprint" in created.stdout
    assert (keys / "site.pem").stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in (keys / "site.pem").read_bytes()
    assert add(site, tmp_path, repository, keys, "site/tiny").exit_code == 0
    assert run(site, "bundle", str(repository), str(tmp_path / "own.tar"), program=publish).exit_code == 0
    with pytest.raises(WrongRoot):
        run(site, "import", str(tmp_path / "own.tar"))
    assert run(site, "import", "--site", str(tmp_path / "own.tar")).stdout == "site-1 is in use: site/tiny\n"
    shelf = Shelf(Catalogue.load(read_settings().catalogue_dir), tmp_path / "models")
    assert shelf.resolve("site/tiny", "whisper-base", {}).id == "site/tiny"
    assert shelf.path("site/tiny").name == "tiny"


def add(site: dict[str, str], tmp_path: Path, repository: Path, keys: Path, model_id: str) -> Result:
    source = tmp_path / "files"
    source.mkdir(exist_ok=True)
    for name, content in model_files(1).items():
        (source / name).write_bytes(content)
    (tmp_path / "entry.toml").write_text(ENTRY.format(id=model_id))
    (tmp_path / "clip.wav").write_bytes(clip_of())
    arguments = ["--entry", str(tmp_path / "entry.toml"), "--from", str(source), "--canary", str(tmp_path / "clip.wav")]
    arguments += ["--words", "hello", "--keys", str(keys), "--passphrase", PASSPHRASE]
    return run(site, "add", str(repository), *arguments, program=publish)


def test_a_key_does_not_lie_beside_what_it_protects(site: dict[str, str], tmp_path: Path) -> None:
    for folder in (tmp_path / "data/keys", tmp_path / "models", Path(__file__).parent / "keys"):
        with pytest.raises(SiteRootRefused, match="lies in"):
            run(site, "root", "create", str(folder), "--passphrase", PASSPHRASE)
        assert not (folder / "site.pem").exists()


def test_another_root_takes_the_place_only_when_told_so(site: dict[str, str], tmp_path: Path) -> None:
    run(site, "root", "create", str(tmp_path / "one"), "--passphrase", PASSPHRASE)
    other = Maker(tmp_path / "other")
    root = other.repository.metadata / "1.root.json"
    with pytest.raises(SiteRootRefused, match="already"):
        run(site, "root", "add", str(root))
    assert run(site, "root", "add", str(root), "--replace").exit_code == 0
    (tmp_path / "nonsense.json").write_text("{}")
    for path in (tmp_path / "nonsense.json", tmp_path / "missing.json", other.repository.metadata):
        with pytest.raises(SiteRootRefused):
            run(site, "root", "add", str(path), "--replace")


def test_the_vendor_s_keys_are_six_and_two_root_keys_are_enough(site: dict[str, str], tmp_path: Path) -> None:
    keys, repository = tmp_path / "keys", tmp_path / "repository"
    run(site, "init", str(repository), "--keys", str(keys), "--passphrase", PASSPHRASE, program=publish)
    names = sorted(path.name for path in keys.iterdir())
    assert names == ["root-1.pem", "root-2.pem", "root-3.pem", "snapshot.pem", "targets.pem", "timestamp.pem"]
    (keys / "root-2.pem").unlink()
    assert add(site, tmp_path, repository, keys, "tiny").stdout == "release 1: tiny\n"
    renewed = run(site, "renew", str(repository), "--keys", str(keys), "--passphrase", PASSPHRASE, program=publish)
    assert renewed.stdout == "root 2, release 2\n"
    with pytest.raises(SiteRootRefused, match="passphrase"):
        run(site, "renew", str(repository), "--keys", str(keys), "--passphrase", "wrong", program=publish)
    with pytest.raises(InvalidRequest):
        run(site, "bundle", str(repository), str(tmp_path / "x.tar"), "--since", "9", program=publish)


def test_this_build_trusts_the_development_root_and_says_so() -> None:
    assert is_development(vendor_root())


@pytest.mark.engine
@pytest.mark.slow
def test_a_running_appliance_uses_the_site_s_model_without_a_restart(tmp_path: Path) -> None:
    """Everything real: the programs as typed, the trial in a worker, a recording through the API before and after."""
    installed = read_settings().models_dir / "whisper-tiny.en"
    models = tmp_path / "models"
    shutil.copytree(installed, models / "whisper-tiny.en")
    env = {"APPLIANCE_MODELS_DIR": str(models), "APPLIANCE_DEFAULT_MODEL": "whisper-tiny.en"}
    clip = tmp_path / "clip.wav"
    with wave.open(str(telephone_call())) as whole, wave.open(str(clip), "wb") as part:
        part.setparams(whole.getparams())
        # Half as loud: a release keeps its reference recording on the disk, where none may be found as it is sent elsewhere.
        part.writeframes((np.frombuffer(whole.readframes(10 * whole.getframerate()), np.int16) // 2).tobytes())
    entry = (read_settings().catalogue_dir / "whisper-tiny.en.toml").read_text()
    lines = [line for line in entry.splitlines() if not line.startswith("aliases")]
    (tmp_path / "own.toml").write_text("\n".join(lines).replace('id = "whisper-tiny.en"', 'id = "site/own"'))
    with serve(tmp_path / "served", env=env) as served, served.client() as client:
        site = {**os.environ, **env, "APPLIANCE_DATA_DIR": str(served.data_dir)}

        def type_in(*command: str) -> subprocess.CompletedProcess[str]:
            done = subprocess.run([sys.executable, "-m", *command], env=site, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return done

        def hear(model: str) -> Any:
            return client.post("/v1/transcribe", files={"file": clip.read_bytes()}, data={"model": model})

        assert hear("site/own").status_code == 404
        keys, repository = str(tmp_path / "stick"), str(tmp_path / "stick/repository")
        type_in("appliance.cli", "models", "root", "create", keys, "--passphrase", PASSPHRASE)
        words = "hello hello oh hello i didn't know you were there"
        arguments = ["--entry", str(tmp_path / "own.toml"), "--from", str(installed), "--canary", str(clip), "--words", words]
        arguments += ["--keys", keys, "--passphrase", PASSPHRASE]
        type_in("appliance.updates.publish", "add", repository, *arguments)
        type_in("appliance.updates.publish", "bundle", repository, str(tmp_path / "own.tar"))
        imported = type_in("appliance.cli", "models", "import", "--site", str(tmp_path / "own.tar"))
        assert imported.stdout == "site-1 is in use: site/own\n"
        answer = hear("site/own")
        assert answer.status_code == 200, answer.text
        assert "hello" in answer.json()["text"].lower()
        assert answer.json()["model"] == "site/own"
        type_in("appliance.cli", "models", "rollback", "--site")
        assert hear("site/own").status_code == 404
        assert hear("whisper-tiny.en").status_code == 200
