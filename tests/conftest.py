"""What holds for every test."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("busy machine", deadline=None, max_examples=50)  # a busy machine is no defect
settings.load_profile("busy machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a shell; what tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

MARKS_OF_A_MODULE = re.compile(r"^pytestmark = .*", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A module whose tests are all not asked for is not imported: torch alone takes each process seconds."""
    terms = config.option.markexpr.split(" and ")
    unwanted = [term.removeprefix("not ") for term in terms if re.fullmatch(r"not \w+", term)]
    if not unwanted or " or " in config.option.markexpr or collection_path.suffix != ".py":
        return None
    line = MARKS_OF_A_MODULE.search(collection_path.read_text(encoding="utf-8"))
    return True if line and any(re.search(rf"\bpytest\.mark\.{mark}\b", line[0]) for mark in unwanted) else None
