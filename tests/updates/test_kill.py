"""kill -9 at every step of an import: the old release serves meanwhile and afterwards, and the next attempt succeeds.

A child of a process of its own (`python -m tests.updates.test_kill`) really dies; it is forked, so that a death costs
milliseconds and not a start of Python.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.errors import ApplianceError
from appliance.updates import failpoints
from tests.updates.making import Maker, Site

RUNS = 20


class Countdown:
    """Dies at the n-th time that an import reaches a point."""

    def __init__(self, name: str, times: int) -> None:
        self.name, self.left = name, times

    def __call__(self, name: str) -> None:
        if name == self.name:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def import_in_a_child(folder: Path, anchor: Path, bundle: Path, point: str, times: int) -> int:
    """The signal that ended the child; 0 when the import came to its end."""
    child = os.fork()
    if child == 0:
        failpoints.listen(Countdown(point, times))
        try:
            Site(folder, anchor.read_bytes()).take(bundle)
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


def serve_orders() -> None:
    """One import for each line: folder, anchor, bundle, point, times."""
    for line in sys.stdin:
        folder, anchor, bundle, point, times = line.rstrip("\n").split("\t")
        print(import_in_a_child(Path(folder), Path(anchor), Path(bundle), point, int(times)), flush=True)


class Killer:
    """The process that imports and dies, as the tests see it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, site: Site, anchor: Path, bundle: Path, point: str, times: int = 1) -> int:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\t".join(map(str, (site.models_dir.parent, anchor, bundle, point, times))) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    command = [sys.executable, "-m", "tests.updates.test_kill"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Killer(process)
        assert process.stdin
        process.stdin.close()


@contextmanager
def served_throughout(site: Site, releases: set[int]) -> Iterator[None]:
    """Somebody asks for the model all the time, and always gets one that is whole."""
    faults: list[str] = []
    over = threading.Event()
    answers = 0

    def ask() -> None:
        nonlocal answers
        other = Site(site.models_dir.parent, site.anchor)
        while not over.is_set():
            try:
                folder = other.shelf.path("tiny")
                seed = int((folder / "vocabulary.txt").read_text().split()[1])
            except (ApplianceError, OSError, LookupError, ValueError) as error:
                faults.append(repr(error))
                return
            answers += 1
            if seed not in releases:
                faults.append(f"release {seed}")

    asking = threading.Thread(target=ask)
    asking.start()
    yield
    over.set()
    asking.join()
    assert faults == []
    assert answers


def points_of_an_import(site: Site, bundle: Path) -> list[str]:
    reached: list[str] = []
    failpoints.listen(reached.append)
    try:
        site.take(bundle)
    finally:
        failpoints.ignore(reached.append)
    return list(dict.fromkeys(reached))


ALL_POINTS = (
    "work begun",
    "lists read",
    "lists verified",
    "chunk written",
    "blob written",
    "blob named",
    "contents here",
    "put together",
    "model tried",
    "tried out",
    "release in place",
    "trust in place",
    "switch written",
    "switched",
    "in use",
    "release collected",
    "blob collected",
    "collected",
)


REPEATED = ("chunk written", "blob written", "blob named", "blob collected")  # twice in each import here


def test_every_point_of_an_import_is_known(site: Site, maker: Maker) -> None:
    for seed in (2, 3):
        maker.release(seed)
        reached = points_of_an_import(site, maker.tar())
    assert sorted(reached) == sorted(ALL_POINTS)


@pytest.mark.slow
@pytest.mark.parametrize("point", ALL_POINTS)
def test_kill_9_at_every_step(site: Site, maker: Maker, killer: Killer, point: str) -> None:
    chance = random.Random(point)
    anchor = maker.folder / "anchor.json"
    anchor.write_bytes(maker.anchor)
    maker.release(2)
    site.take(maker.tar("second"))  # so that there is something to collect
    serving, deaths = 2, 0
    for run in range(RUNS):
        maker.release(3 + run)
        bundle = maker.tar("next")
        with served_throughout(site, {serving, 3 + run}):
            ended = killer.run(site, anchor, bundle, point, times=chance.choice((1, 2)) if point in REPEATED else 1)
            deaths += ended == signal.SIGKILL
            assert ended == signal.SIGKILL, ended
            assert Site(site.models_dir.parent, site.anchor).serves() in (serving, 3 + run)
            site.take(bundle)
        assert site.serves() == 3 + run
        assert site.leftovers() == []
        serving = 3 + run
    print(f"{point}: {deaths} deaths in {RUNS} imports")
    assert deaths == RUNS


@pytest.mark.slow
def test_kill_9_once_at_each_step(site: Site, maker: Maker, killer: Killer) -> None:
    """The quick one of the above."""
    anchor = maker.folder / "anchor.json"
    anchor.write_bytes(maker.anchor)
    maker.release(2)
    site.take(maker.tar("second"))
    for seed, point in enumerate(ALL_POINTS, 3):
        maker.release(seed)
        bundle = maker.tar("next")
        assert killer.run(site, anchor, bundle, point) == signal.SIGKILL, point
        assert Site(site.models_dir.parent, site.anchor).serves() in (seed - 1, seed)
        site.take(bundle)
        assert site.serves() == seed


@pytest.mark.slow
def test_what_arrived_whole_before_the_death_is_not_copied_again(site: Site, maker: Maker, killer: Killer) -> None:
    anchor = maker.folder / "anchor.json"
    anchor.write_bytes(maker.anchor)
    maker.release(2)
    bundle = maker.tar()
    assert killer.run(site, anchor, bundle, "blob named") == signal.SIGKILL
    (kept,) = {path.name for path in site.releases.blobs.folder.iterdir()} - set(site.releases.find("vendor-1").blobs)
    inode = site.releases.blobs.path(kept).stat().st_ino
    site.take(bundle)
    assert site.releases.blobs.path(kept).stat().st_ino == inode


if __name__ == "__main__":
    serve_orders()
