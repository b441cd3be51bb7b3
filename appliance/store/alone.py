"""One appliance to a data folder: a second one would take the first one's running jobs for interrupted."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import StartRefused
from appliance.store.database import prepare_file


@contextmanager
def held_alone(database: Path) -> Iterator[None]:
    """Holds `<database>.lock`; the kernel lets go of it however the process ends. Commands that only look in do not ask.

    Raises `StartRefused` when another process holds it, or the folder cannot be written.
    """
    prepare_file(database)
    fd = os.open(f"{database}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(fd, database)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, database: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StartRefused(
            f"Another appliance uses this data folder: {database.parent}.",
            "Stop that one first, or give this one a folder of its own with APPLIANCE_DATA_DIR.",
        ) from error
