"""The operator's guide names what there is: commands, settings, files, chapters."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from appliance.cli import COMMANDS, load
from appliance.cli.configuration import OTHER_NAMES
from appliance.settings import Settings

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
