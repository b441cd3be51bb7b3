"""kill -9 at any moment: the database is whole, and what was acknowledged is there."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.domain import JobState
from appliance.store import UNLIMITED, Store
from appliance.store.database import connect
from tests.store.samples import save, transcript_of

KILLS = 20
TEXTS = [f"sentence number {n} of a recording that must not be lost" for n in range(120)]


async def write_for_ever(path: Path) -> None:
    """Run in a process of its own: saves, edits nothing, erases every third; says what is done."""
    store = await Store.open(path)
    while True:
        record = await save(store, TEXTS)
        print(f"saved {record.id}", flush=True)
        if record.id % 3 == 0:
            await store.transcripts.erase(record.id, UNLIMITED)
            print(f"erased {record.id}", flush=True)


def run_until_killed(path: Path, acknowledged: int) -> list[str]:
    """Kills the writer right after it has acknowledged that much, in the middle of the next thing it does."""
    child = subprocess.Popen([sys.executable, "-m", "tests.store.test_kill", str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    with child.stdout:
        lines = [child.stdout.readline() for _ in range(acknowledged)]
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
    assert child.wait() == -signal.SIGKILL
    return [line for line in lines if line.endswith("\n")]


@pytest.mark.slow
@pytest.mark.anyio
async def test_kill_9_loses_nothing_that_was_acknowledged(path: Path, anyio_backend: str) -> None:
    chance = random.Random(9)
    saved: set[int] = set()
    erased: set[int] = set()
    for _ in range(KILLS):
        for line in await asyncio.to_thread(run_until_killed, path, chance.randint(1, 8)):
            word, number = line.split()
            (saved if word == "saved" else erased).add(int(number))
    db = connect(path)
    assert db.conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.conn.execute("INSERT INTO search (search) VALUES ('integrity-check')")
    assert db.conn.execute("PRAGMA foreign_key_check").fetchall() == []
    db.close()
    store = await Store.open(path)
    present = {
        record.id
        for record in (await store.transcripts.list(UNLIMITED, limit=10_000, offset=0, states=(JobState.COMPLETED,))).results
    }
    print(f"{KILLS} kills: {len(saved)} acknowledged, {len(saved - erased - present)} lost, {len(erased & present)} came back")
    assert not erased & present
    lost = {transcript_id for transcript_id in saved - erased - present if transcript_id % 3}  # a third was being erased
    assert lost == set()
    for transcript_id in sorted(present)[-5:]:
        assert (await store.transcripts.get(transcript_id, UNLIMITED)).transcript == transcript_of(TEXTS)
    await store.close()


if __name__ == "__main__":
    asyncio.run(write_for_ever(Path(sys.argv[1])))
