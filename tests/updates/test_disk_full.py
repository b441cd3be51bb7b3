"""No room on the disk, at every step and at every write: said so, nothing switched, and the same bundle comes in afterwards."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from appliance.errors import NoSpace, UpdateNotWritten
from appliance.updates import failpoints
from tests.updates.making import Maker, Site, model_files
from tests.updates.test_kill import ALL_POINTS

NO_ROOM = 3  # exit status of the child
WRITING = (
    "write",
    "mkdir",
    "link,linkat",
    "symlink,symlinkat",
    "rename,renameat,renameat2",
    "fsync",
    "sendfile,copy_file_range",
)


@contextmanager
def at(point: str, happen: object) -> Iterator[None]:
    """Calls `happen` the first time that the point is reached."""
    done: list[str] = []

    def listener(name: str) -> None:
        if name == point and not done:
            done.append(name)
            assert callable(happen)
            happen()

    failpoints.listen(listener)
    try:
        yield
    finally:
        failpoints.ignore(listener)
    assert done, f"'{point}' was not reached"


@pytest.mark.parametrize("point", ALL_POINTS)
def test_a_write_that_fails_at_any_step_changes_nothing(site: Site, maker: Maker, point: str) -> None:
    maker.release(2)
    site.take(maker.tar("second"))
    maker.release(3)
    before = site.remembered()

    def no_room() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with at(point, no_room), pytest.raises(NoSpace):
        site.take(maker.tar())
    switched = ALL_POINTS.index(point) >= ALL_POINTS.index("switched")
    assert site.serves() == (3 if switched else 2)
    if ALL_POINTS.index(point) < ALL_POINTS.index("trust in place"):
        assert site.remembered() == before
    assert site.leftovers() == []
    site.take(maker.tar())
    assert site.serves() == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 40 MiB: a release must leave 32 of it free."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root; the tests beside this cover the same errors")
    mount, umount = shutil.which("mount"), shutil.which("umount")
    assert mount
    assert umount
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run([mount, "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine does not let us mount")
    yield folder
    subprocess.run([umount, "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(2**16))
    with (disk / "filler").open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"0")


BEFORE_THE_SWITCH = ALL_POINTS[: ALL_POINTS.index("in use")]


@pytest.mark.parametrize("point", BEFORE_THE_SWITCH)
def test_a_disk_that_really_fills_up(small_disk: Path, maker: Maker, point: str) -> None:
    site = Site(small_disk, maker.anchor)
    site.take(maker.tar("first"))
    maker.release(2)
    with at(point, lambda: fill(small_disk)), suppress(NoSpace, UpdateNotWritten):
        site.take(maker.tar())
    assert site.serves() in (1, 2)
    (small_disk / "filler").unlink()
    site.take(maker.tar())
    assert site.serves() == 2


def test_room_is_asked_for_before_anything_is_written(small_disk: Path, maker: Maker) -> None:
    site = Site(small_disk, maker.anchor)
    site.take(maker.tar("first"))
    (small_disk / "filler").write_bytes(bytes(7 * 2**20))
    maker.release(2, files=model_files(2, 3 * 2**20))
    with pytest.raises(NoSpace, match="are needed"):
        site.take(maker.tar())
    assert site.serves() == 1
    assert set(site.releases.find("vendor-1").blobs) == {path.name for path in site.releases.blobs.folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("calls", WRITING)
def test_no_room_at_every_single_write(site: Site, maker: Maker, calls: str) -> None:
    """The kernel says so: strace lets the n-th of these system calls fail, whoever makes it, python-tuf included."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    maker.release(2)
    anchor, bundle = maker.folder / "anchor.json", maker.tar()
    anchor.write_bytes(maker.anchor)
    refused = 0
    for number in range(1, 200):
        inject = f"inject={calls}:error=ENOSPC:when={number}"
        command = [strace, "-f", "-qq", "-o", str(maker.folder / "trace"), "-e", f"trace={calls}", "-e", inject]
        command += [sys.executable, "-m", "tests.updates.test_disk_full", str(site.models_dir.parent), str(anchor), str(bundle)]
        ended = subprocess.run(command, check=False, capture_output=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        happened = b"(INJECTED)" in (maker.folder / "trace").read_bytes()
        assert ended.returncode in (0, NO_ROOM), ended.stderr.decode()[-2000:]
        fresh = Site(site.models_dir.parent, site.anchor)
        assert fresh.serves() in (1, 2)
        if fresh.serves() == 2:  # it failed after the switch, or was only a check: start over from release 1
            shutil.rmtree(site.models_dir)
            site.take(maker.folder / "first.tar")
        refused += ended.returncode == NO_ROOM
        if not happened:
            break
    print(f"{calls}: {refused} of {number - 1} failures ended the import, none harmed what served")
    assert number < 199
    assert refused or calls.startswith("sendfile")


def main(folder: str, anchor: str, bundle: str) -> int:
    try:
        Site(Path(folder), Path(anchor).read_bytes()).take(Path(bundle))
    except (NoSpace, UpdateNotWritten):
        return NO_ROOM
    return 0


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:]))
