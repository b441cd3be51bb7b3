"""Named points of an import where a test may let the process die. Nothing listens anywhere else, and nothing outside can."""

from __future__ import annotations

from collections.abc import Callable

_listeners: list[Callable[[str], None]] = []


def reach(name: str) -> None:
    """The import has come to this point."""
    for listener in _listeners:
        listener(name)


def listen(listener: Callable[[str], None]) -> None:
    _listeners.append(listener)


def ignore(listener: Callable[[str], None]) -> None:
    _listeners.remove(listener)
