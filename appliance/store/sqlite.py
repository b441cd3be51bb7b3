"""Imports sqlite-utils without pandas, which it takes along wherever it finds it (pyannote brings it): a second of start-up
and 70 MiB of memory in the API process, for nothing the store uses. Imported before everything else of the store."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast


@contextmanager
def hidden(name: str) -> Iterator[None]:
    """While it lasts, importing the module `name` fails as if it were not installed."""
    before = sys.modules.get(name)
    sys.modules[name] = cast("ModuleType", None)  # what the import system takes for "known to be absent"
    try:
        yield
    finally:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before


with hidden("pandas"):
    importlib.import_module("sqlite_utils")
