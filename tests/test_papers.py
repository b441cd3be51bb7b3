"""README and docs name what there is: links, commands, files, tests, and the layers as the import contract has them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import typer

from appliance.cli import COMMANDS, load

ROOT = Path(__file__).resolve().parent.parent
PAPERS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "models/README.md", *(ROOT / "docs").glob("*.md")])
README = (ROOT / "README.md").read_text()


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAPERS, ids=lambda page: page.name)
def test_no_link_is_dead(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith("https://"):
            continue
        name, _, chapter = link.partition("#")
        target = page.parent / name if name else page
        assert target.is_file(), link
        assert not chapter or chapter in anchors(target), link


@pytest.mark.parametrize("page", PAPERS, ids=lambda page: page.name)
def test_files_and_tests_that_are_named_exist(page: Path) -> None:
    named = r"`((?:appliance|docker|docs|licence|models|scripts|tests)/[\w./-]+)(?:::(\w+))?`"
    for name, test in re.findall(named, page.read_text()):
        assert (ROOT / name).exists(), name
        assert not test or f"def {test}(" in (ROOT / name).read_text(), test


def test_the_readme_leads_to_every_paper() -> None:
    assert {page.name for page in (ROOT / "docs").glob("*.md")} <= set(re.findall(r"\(docs/([\w-]+\.md)\)", README))


def test_the_readme_names_every_command_and_every_part_of_one_exists() -> None:
    table = dict(re.findall(r"^\| `appliance ([a-z-]+) ?([^`]*)`", README, re.M))
    assert set(table) >= set(COMMANDS)
    for name, parts in re.findall(r"^\| `appliance ([a-z-]+) ([a-z\\|-]+)", README, re.M):
        command = load(name)
        assert isinstance(command, typer.core.TyperGroup)
        assert set(parts.split("\\|")) <= set(command.commands), name


def test_the_tree_of_the_readme_is_the_repository_s() -> None:
    tree = set(re.findall(r"^(\w+)/   *\w", README, re.M))
    assert tree == {"appliance", "models", "licence", "docker", "scripts", "docs", "tests"}
    assert all((ROOT / name).is_dir() for name in tree)


def test_the_layers_are_those_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [set(layer.replace("appliance.", "").split(" | ")) for layer in contracts[0]["layers"]]
    page = (ROOT / "docs/architecture.md").read_text().partition("## Which package may use which")[2]
    assert [set(re.findall(r"`(\w+)`", row)) for row in re.findall(r"^\| (`[^|]+) \|", page, re.M)] == layers
    modules = {path.stem for path in (ROOT / "appliance").iterdir() if not path.name.startswith("_")}
    assert modules <= set().union(*layers)


def test_gpu_check_runs_every_test_for_a_gpu() -> None:
    """By name: collecting the whole tree would need what other tests need."""
    marked = {
        str(file.relative_to(ROOT)) for file in (ROOT / "tests").rglob("test_*.py") if "pytest.mark." + "gpu" in file.read_text()
    }
    rule = re.search(r"^gpu-check:\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    assert rule
    assert marked == set(re.findall(r"tests/\S+", rule[1]))
    assert "--diarize" in rule[1]
