"""The front door of the command line: quick, and no traceback for what a person can put right."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from appliance import __version__
from appliance.cli import COMMANDS, load

HELP_LIMIT_CPU_S = 0.5  # processor time: the machine of the tests is shared
HEAVY = ("torch", "ctranslate2", "litestar", "httpx", "pydantic", "numpy", "uvicorn", "rich")


def run(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "appliance.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **(env or {})})


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = f"""
import sys
sys.argv = ["appliance", "--help"]
from appliance.cli import main
try:
    main()
except SystemExit:
    pass
import resource
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime, [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    seconds, imported = done.stderr.strip().split(" ", 1)
    assert imported == "[]"
    assert float(seconds) < HELP_LIMIT_CPU_S
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    command = load(name)
    assert command.name == name
    assert command.help


def test_the_version() -> None:
    assert run("--version").stdout == f"appliance {__version__}\n"


def test_an_error_is_a_sentence_and_a_hint_on_stderr() -> None:
    done = run("settings", env={"APPLIANCE_PORT": "many"})
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: The setting 'port' cannot be 'many'")
    assert "APPLIANCE_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_where_an_error_came_from() -> None:
    done = run("--debug", "settings", env={"APPLIANCE_PORT": "many"})
    assert "Traceback" in done.stderr


def test_asking_wrongly_ends_with_2() -> None:
    assert run("transcribe", "/nowhere.mp3").returncode == 2
    assert run("serv").returncode == 2
