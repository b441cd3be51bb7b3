"""Leaves out of an image archive (`docker save`, stdin to stdout) the layers that an older image has already.

usage: delta_archive.py LAYER…, each a diff id as `docker image inspect` lists them. `docker load` never opens the layers an
engine has, so what remains is what changed. Streams; standard library only. Exit status 3: a layer was not in the archive.
"""

from __future__ import annotations

import sys
import tarfile
from typing import BinaryIO


def layer_name(diff_id: str) -> str:
    """Docker names a layer in its archives by the digest of its uncompressed content."""
    return f"blobs/sha256/{diff_id.removeprefix('sha256:')}"


def leave_out(source: BinaryIO, sink: BinaryIO, diff_ids: list[str]) -> set[str]:
    """Copy the archive without those layers; returns the ones that were not in it."""
    unseen = {layer_name(diff_id): diff_id for diff_id in diff_ids}
    with tarfile.open(fileobj=source, mode="r|") as whole, tarfile.open(fileobj=sink, mode="w|") as delta:
        for member in whole:
            if unseen.pop(member.name, None) is None:
                delta.addfile(member, whole.extractfile(member) if member.isfile() else None)
    return set(unseen.values())


def main() -> int:
    missing = leave_out(sys.stdin.buffer, sys.stdout.buffer, sys.argv[1:])
    for diff_id in sorted(missing):
        print(f"The archive has no layer {diff_id} that could be left out.", file=sys.stderr)
    return 3 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
