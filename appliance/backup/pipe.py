"""Joins something that writes a stream to something that reads one, through a pipe: bounded memory, and nothing on a disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import BinaryIO, TypeVar

T = TypeVar("T")


def join(produce: Callable[[BinaryIO], None], consume: Callable[[BinaryIO], T]) -> T:
    """What `consume` returns. Raises the error of whichever of the two failed first; `consume` may then have seen a cut stream."""
    reading, writing = os.pipe()
    errors: list[BaseException] = []
    thread = threading.Thread(target=_produce, args=(produce, writing, errors), name="backup-producer", daemon=True)
    thread.start()
    try:
        with os.fdopen(reading, "rb") as source:
            result = consume(source)
    except BaseException:
        thread.join()
        _raise_cause(errors)
        raise
    thread.join()
    _raise_cause(errors)
    return result


def _produce(produce: Callable[[BinaryIO], None], writing: int, errors: list[BaseException]) -> None:
    try:
        with os.fdopen(writing, "wb") as sink:
            produce(sink)
    except BaseException as error:  # noqa: BLE001 - the thread ends here; `join` raises it where somebody waits
        errors.append(error)


def _raise_cause(errors: list[BaseException]) -> None:
    """A producer whose reader went away is not the cause."""
    for error in errors:
        if not isinstance(error, BrokenPipeError):
            raise error
