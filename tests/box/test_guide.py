"""The operator's guide names what there is: commands, settings, files, chapters."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from appliance.cli import COMMANDS, load
from appliance.cli.configuration import OTHER_NAMES
from appliance.settings import Settings
from tests.box.conftest import Bundle

ROOT = Path(__file__).resolve().parent.parent.parent
GUIDE = (ROOT / "docs/operator-guide.md").read_text()
OF_COMPOSE = set(re.findall(r"\$\{(APPLIANCE_[A-Z_]+)", (ROOT / "docker/compose.yml").read_text()))


@pytest.mark.parametrize(
    "words", sorted(set(re.findall(r"(?:\./appliance|appliance appliance) ([a-z-]+(?: [a-z][a-z-]*)?)", GUIDE)))
)
def test_each_command_exists(words: str) -> None:
    name, _, rest = words.partition(" ")
    assert name in COMMANDS
    command = load(name)
    if isinstance(command, typer.core.TyperGroup):
        assert rest in command.commands


def test_each_setting_exists() -> None:
    settings = {f"APPLIANCE_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"APPLIANCE_[A-Z_]+", GUIDE)) - {"APPLIANCE_"} <= settings | OF_COMPOSE | set(OTHER_NAMES)


def test_each_option_of_the_installer_exists() -> None:
    script = (ROOT / "scripts/install.sh").read_text()
    for line in re.findall(r"\./install\.sh.*", GUIDE):
        for option in re.findall(r"--[a-z-]+", line):
            assert f"{option})" in script, option


def test_each_file_and_each_chapter_that_is_linked_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", GUIDE):
        assert (ROOT / "docs" / target).is_file(), target
    chapters = {re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^## (.+)$", GUIDE, re.M)}
    assert set(re.findall(r"\]\(#([^)]+)\)", GUIDE)) <= chapters


def test_what_support_gets_is_shown_by_the_test_it_names() -> None:
    for path in re.findall(r"`(tests/[a-z_/]+\.py)`", GUIDE):
        assert (ROOT / path).is_file()


def test_no_line_of_settings_ends_with_a_comment() -> None:
    """Some who read such files take it for part of the value."""
    papers = [*(ROOT / "docs").glob("*.md"), ROOT / "docker/settings.env", ROOT / "docker/.env"]
    lines = [line for paper in papers for line in paper.read_text().splitlines() if re.match(r"(# )?APPLIANCE_[A-Z_]+=", line)]
    assert "APPLIANCE_TLS=files" in lines
    assert [line for line in lines if " #" in line] == []


def check_by_hand(folder: Path) -> subprocess.CompletedProcess[str]:
    block = re.findall(r"```sh\n(wc .+?)```", GUIDE, re.S)[0]
    return subprocess.run(["sh", "-ec", block], cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_a_bundle_can_be_checked_by_hand_as_it_is_written(bundle: Bundle) -> None:
    checked = check_by_hand(bundle.folder)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.splitlines()[0] == "1"
    assert bundle.fingerprint in checked.stdout
    part = bundle.file("image.tar.zst")
    part.write_bytes(part.read_bytes()[:-1])
    assert f"{part.name}: FAILED" in check_by_hand(bundle.folder).stdout
    shutil.copy(bundle.folder / "BUNDLE", bundle.folder / "SHA256SUMS")
    assert "Could not verify signature" in check_by_hand(bundle.folder).stdout


def test_a_key_is_used_before_it_is_put_away() -> None:
    block = re.findall(r"```sh\n(\./appliance backup keygen.+?)```", GUIDE, re.S)[0]
    assert block.index("backup verify") < block.index("mv backups/secret.key")
    restore = GUIDE.partition("\n## Restore")[2]
    assert restore.index("chown 10001:10001 backups/FILE backups/secret.key") < restore.index("backup restore")
