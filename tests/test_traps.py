"""The traps that were measured before any code was written: a test names each rule, and what only pins avoid is pinned."""

from __future__ import annotations

import re
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

TESTS = Path(__file__).parent
COUNT = 32
NAMED = re.compile(r"TRAPS((?:[ ,]|and|\d)+)")


def named(text: str) -> set[int]:
    """`TRAPS 9`, `TRAPS 9, 10` and `TRAPS 9 and 10`."""
    return {int(number) for match in NAMED.finditer(text) for number in re.findall(r"\d+", match[1])}


def test_every_trap_has_a_test_that_names_it() -> None:
    found = set().union(*(named(path.read_text()) for path in TESTS.rglob("*.py") if path != Path(__file__)))
    here = {6, 15, 17, 30}
    assert set(range(1, COUNT + 1)) - found - here == set()
    assert named(Path(__file__).read_text()) >= here


def needed() -> dict[str, Requirement]:
    return {wanted.name: wanted for wanted in map(Requirement, requires("appliance") or ())}


@pytest.mark.parametrize(
    ("library", "broken"),
    [
        ("ctranslate2", "4.8.0"),  # TRAPS 15: writes past its memory when it loads a model
        ("torch", "2.9.1"),  # TRAPS 15
        ("torch", "2.13.0"),  # TRAPS 30: pyannote.audio cannot be imported with it
        ("av", "19.0.0"),  # TRAPS 17: an argument that faster-whisper passes is gone
    ],
)
def test_a_version_that_breaks_a_promise_is_never_installed(library: str, broken: str) -> None:
    allowed = needed()[library].specifier
    assert broken not in allowed
    assert version(library).partition("+")[0] in allowed


def test_what_spools_to_temporary_files_fetches_models_only() -> None:
    """TRAPS 6: python-tuf writes what it downloads to a temporary file. `make check` sees to it; here, that it does."""
    contracts = (TESTS.parent / "pyproject.toml").read_text().split("[[tool.importlinter.contracts]]")
    (contract,) = [text for text in contracts if 'forbidden_modules = ["tuf", "securesystemslib"]' in text]
    for package in ("api", "audio", "jobs", "engine", "joining", "store"):
        assert f'"appliance.{package}"' in contract
