"""`appliance models`, as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from appliance.cli.models import app
from appliance.errors import ApplianceError
from tests.catalogue.stand_ins import FILES, StandIn, serve, sha256

ENTRY = """
id = "tiny"
name = "Tiny"
description = "For tests."
kind = "recognition"
backend = "whisper"
languages = ["en"]
memory_bytes = 1
licence = "MIT"
aliases = ["small-one"]
"""


@pytest.fixture
def site(tmp_path: Path) -> dict[str, str]:
    """The environment of a site with one model in its catalogue, and that model's files on a stick."""
    text, mapping = ENTRY, ""
    for folder in ("catalogue", "stick"):
        (tmp_path / folder).mkdir()
    for name, content in FILES.items():
        (tmp_path / "stick" / name).write_bytes(content)
        text += f'[[files]]\nname = "{name}"\nsize_bytes = {len(content)}\nsha256 = "{sha256(content)}"\n'
        mapping += f'"{name}" = "{name}"\n'
    text += f'[[sources]]\nkind = "hub"\nrepo = "site/tiny"\nrevision = "main"\n[sources.files]\n{mapping}'
    (tmp_path / "catalogue/tiny.toml").write_text(text)
    return {
        "APPLIANCE_MODELS_DIR": str(tmp_path / "models"),
        "APPLIANCE_CATALOGUE_DIR": str(tmp_path / "catalogue"),
        "APPLIANCE_DEFAULT_MODEL": "small-one",
        "APPLIANCE_DIARIZATION_MODEL": "tiny",
        "APPLIANCE_HUB_ENDPOINT": "http://127.0.0.1:9",  # nobody is there; HF_ENDPOINT may be read too early
        "COLUMNS": "80",
    }


def run(site: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env=site, catch_exceptions=False)


def run_program(site: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "appliance.cli", "models", *arguments]
    return subprocess.run(command, env={**os.environ, **site}, capture_output=True, text=True, check=False)


def test_a_model_is_fetched_listed_verified_and_removed(site: dict[str, str], tmp_path: Path) -> None:
    assert "available" in run(site, "list").stdout
    fetched = run(site, "fetch", "small-one", "--from", str(tmp_path / "stick"))
    assert (fetched.exit_code, fetched.stdout) == (0, "tiny: installed\n")
    assert "copying model.bin (3 MB)" in fetched.stderr
    assert "copying config.json (20 bytes)" in fetched.stderr
    assert run(site, "fetch", "tiny", "--from", str(tmp_path / "stick")).stdout == "tiny: already installed, and sound\n"
    assert run(site, "verify").stdout == "tiny: sound\n"
    (row,) = json.loads(run(site, "list", "--json").stdout)
    assert (row["id"], row["state"], row["languages"], row["licence"], row["default"]) == ("tiny", "installed", ["en"], "MIT", True)
    assert run(site, "remove", "tiny", "--yes").stdout.startswith("tiny: removed, 3 MB free again")
    assert not (tmp_path / "models/tiny").exists()


def test_the_list_fits_a_terminal_of_80_columns(site: dict[str, str]) -> None:
    """The real catalogue, with its longest names."""
    del site["APPLIANCE_CATALOGUE_DIR"]
    lines = run(site, "list").stdout.splitlines()
    assert any("whisper-large-v3-turbo" in line and "1.6 GB" in line and "100" in line and "MIT" in line for line in lines)
    assert max(len(line) for line in lines if "installed below" not in line) <= 80


def test_a_damaged_model_ends_verify_with_its_name_and_the_remedy(site: dict[str, str], tmp_path: Path) -> None:
    run(site, "fetch", "--from", str(tmp_path / "stick"))
    (tmp_path / "models/tiny/vocabulary.txt").write_text("tampered")
    verified = run(site, "verify")
    assert verified.exit_code == 1
    assert "vocabulary.txt does not match its checksum" in verified.stdout
    assert "appliance models fetch tiny" in verified.stdout


def test_without_a_name_the_default_models_come_from_the_mirror(site: dict[str, str], tmp_path: Path) -> None:
    with serve(StandIn()) as server:
        server.put_on_hub("site/tiny", FILES, revision="main")
        server.put_on_hub("site/tiny", FILES)
        fetched = run(site, "fetch", "--mirror", server.url)
    assert (fetched.exit_code, fetched.stderr.count("downloading model.bin")) == (0, 1)
    assert (tmp_path / "models/tiny/model.bin").read_bytes() == FILES["model.bin"]


@pytest.mark.parametrize(
    ("arguments", "sentence", "remedy"),
    [
        (("fetch", "nova"), "There is no model 'nova' here", "appliance models list"),
        (("fetch",), "could not be had from the hub", "--mirror URL"),
        (("fetch", "--from", "/nowhere"), "There is no folder /nowhere", "--from"),
        (("remove", "tiny", "--yes"), "is not installed", "appliance models fetch tiny"),
        (("verify", "tiny"), "is not installed", "appliance models fetch tiny"),
    ],
    ids=["unknown model", "no network", "wrong folder", "not there", "nothing to verify"],
)
def test_an_error_is_a_sentence_with_a_remedy(site: dict[str, str], arguments: tuple[str, ...], sentence: str, remedy: str) -> None:
    with pytest.raises(ApplianceError) as failed:
        run(site, *arguments)
    assert sentence in failed.value.message
    assert remedy in failed.value.hint


def test_a_person_sees_the_sentence_and_no_traceback(site: dict[str, str]) -> None:
    failed = run_program(site, "fetch", "--from", "/nowhere")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[0] == "Error: There is no folder /nowhere."
    assert "Traceback" not in failed.stderr
