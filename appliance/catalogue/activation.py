"""Puts a finished folder in the place of an installed model, whole or not at all, whatever happens in between."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path

from appliance.errors import FetchFailed

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


def activate(staging: Path, target: Path) -> None:
    """`put_in_place`, with a sentence for what can go wrong. Raises FetchFailed."""
    try:
        put_in_place(staging, target)
    except OSError as error:
        raise FetchFailed(f"{target} cannot be put in place: {error.strerror}.", "Check the folder's permissions.") from error


def put_in_place(staging: Path, target: Path) -> None:
    """Make `staging` the folder `target`; what stood there is deleted afterwards. Both on one file system.

    Everything is on the disk before the one rename that counts.
    """
    sync_tree(staging)
    if target.exists():
        _exchange(staging, target)
    else:
        staging.rename(target)
    sync_folder(target.parent)
    shutil.rmtree(staging, ignore_errors=True)  # now what stood there, if anything did


def _exchange(one: Path, other: Path) -> None:
    """Swap two folders in one step (Linux); in two steps on the rare file system that cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(code, os.strerror(code))
    aside = one.with_name(one.name + ".old")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)


def sync_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            continue
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
