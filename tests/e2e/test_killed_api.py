"""kill -9 while the appliance writes, over and over: the database stays whole, and what was acknowledged is there.

Fifty times the whole appliance, `appliance serve`, killed while people edit and erase over HTTP; and a hundred and fifty times the
store alone in a process of its own, killed while it saves finished transcripts and erases them, which the appliance does in the
same way once an engine has heard something (no engine here: it would take minutes for each start).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from appliance.domain import JobState
from appliance.store import UNLIMITED, Store, verify
from appliance.store.database import connect
from tests.served import create_key, environment, free_port
from tests.store.samples import new_transcript, raw_bytes, save, transcript_of
from tests.store.test_audit import exported
from tests.store.test_kill import TEXTS, run_until_killed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

API_KILLS = 50
STORE_KILLS = 150
DOOMED = "zqxjvkwpyd"  # in every transcript that is erased

chance = random.Random(9)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# --- the whole appliance ----------------------------------------------------------------------------------------------


@dataclass
class Ledger:
    """What the appliance acknowledged. The last thing that each thread asked for may have happened or not."""

    titles: dict[int, str] = field(default_factory=dict)
    asked_titles: dict[int, str] = field(default_factory=dict)
    revisions: dict[int, int] = field(default_factory=dict)
    erased: set[int] = field(default_factory=set)
    count: int = 0


@contextmanager
def started(env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Answering; whatever is left of it afterwards is killed."""
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "appliance.cli", "serve"], env=env, stdout=sink, stderr=sink, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 120
        while not is_up(env["APPLIANCE_PORT"]):
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.02)
        yield process
    finally:
        kill(process)


def is_up(port: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def edit_for_ever(client: httpx.Client, ledger: Ledger, mine: list[int]) -> None:
    """Until the appliance is gone."""
    for number, transcript_id in enumerate(itertools.cycle(mine)):
        title = f"title {number} of {transcript_id}"
        ledger.asked_titles[transcript_id] = title
        try:
            answer = client.patch(
                f"/api/v1/transcripts/{transcript_id}", json={"revision": ledger.revisions[transcript_id], "title": title}
            )
        except httpx.TransportError:
            return
        assert answer.status_code == 200, answer.text
        ledger.revisions[transcript_id] = answer.json()["revision"]
        ledger.titles[transcript_id] = title
        ledger.count += 1


def erase_for_ever(client: httpx.Client, ledger: Ledger, doomed: list[int]) -> None:
    while doomed:
        transcript_id = doomed.pop()
        try:
            status = client.delete(f"/api/v1/transcripts/{transcript_id}").status_code
        except httpx.TransportError:
            return
        assert status in (202, 204, 404), status
        if status == 204:
            ledger.erased.add(transcript_id)
            ledger.count += 1


def compare(client: httpx.Client, ledger: Ledger) -> None:
    """After a restart. An edit that was under way when it was killed may have been saved, and is then taken over."""
    for transcript_id, title in ledger.titles.items():
        found = client.get(f"/api/v1/transcripts/{transcript_id}").raise_for_status().json()
        assert found["title"] in (title, ledger.asked_titles[transcript_id]), f"an edit of {transcript_id} is lost"
        assert found["revision"] >= ledger.revisions[transcript_id]
        ledger.titles[transcript_id], ledger.revisions[transcript_id] = found["title"], found["revision"]
    for transcript_id in ledger.erased:
        assert client.get(f"/api/v1/transcripts/{transcript_id}").status_code == 404, f"{transcript_id} came back"


def live_until_killed(env: dict[str, str], secret: str, ledger: Ledger, doomed: list[int], log: Path) -> None:
    url = f"http://127.0.0.1:{env['APPLIANCE_PORT']}"
    with started(env, log) as process, httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}) as client:
        compare(client, ledger)
        halves = sorted(ledger.titles)[::2], sorted(ledger.titles)[1::2]
        threads = [threading.Thread(target=edit_for_ever, args=(client, ledger, half)) for half in halves]
        threads.append(threading.Thread(target=erase_for_ever, args=(client, ledger, doomed)))
        for thread in threads:
            thread.start()
        acknowledged, wanted = ledger.count, chance.randint(1, 25)
        deadline = time.monotonic() + 30
        while ledger.count < acknowledged + wanted and time.monotonic() < deadline:
            time.sleep(0.001)
        kill(process)
        for thread in threads:
            thread.join(30)
        assert ledger.count > acknowledged


async def furnish(path: Path, owner: str, ledger: Ledger) -> list[int]:
    """Ten transcripts to edit, whose ids go into the ledger, and those to erase."""
    store = await Store.open(path)
    for record in [await save(store, TEXTS[:20], new_transcript(owner)) for _ in range(10)]:
        ledger.titles[record.id], ledger.revisions[record.id] = record.title, 0
        ledger.asked_titles[record.id] = record.title
    doomed = [(await save(store, [f"{DOOMED} {text}" for text in TEXTS], new_transcript(owner))).id for _ in range(8 * API_KILLS)]
    await store.close()
    return doomed


async def owner_of(path: Path, secret: str) -> str:
    store = await Store.open(path)
    key = await store.keys.authenticate(secret)
    await store.close()
    assert key
    return key.id


@pytest.mark.anyio
async def test_the_appliance_killed_fifty_times_loses_nothing_it_acknowledged(tmp_path: Path, anyio_backend: str) -> None:
    env = environment(tmp_path / "data", free_port(), {"APPLIANCE_MODELS_DIR": str(tmp_path / "models")})
    path, ledger, log = tmp_path / "data" / "appliance.db", Ledger(), tmp_path / "log"
    secret = create_key(env)
    doomed = await furnish(path, await owner_of(path, secret), ledger)
    for _ in range(API_KILLS):
        await asyncio.to_thread(live_until_killed, env, secret, ledger, doomed, log)
    await check_whole(path)
    print(
        f"\n{API_KILLS} kills of the appliance: {ledger.count} edits and erasures acknowledged, 0 lost; {len(ledger.erased)} erased"
    )
    store = await Store.open(path)
    assert await store.erasures.erase_owner(await owner_of(path, secret), "console")
    await store.close()
    assert not any(DOOMED.encode() in content for content in raw_bytes(path).values())


async def check_whole(path: Path) -> None:
    """And what a kill left of erasures is finished at the next start, with nobody asking."""
    db = connect(path)
    assert db.conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert db.conn.execute("PRAGMA foreign_key_check").fetchall() == []
    db.conn.execute("INSERT INTO search (search) VALUES ('integrity-check')")
    db.close()
    store = await Store.open(path)
    assert verify(await exported(store.audit.lines())).head == await store.audit.head(), "the audit log is one chain"
    assert await store.erasures.finish()
    await store.close()
    db = connect(path)
    assert db.execute("SELECT count(*) FROM transcripts WHERE erased_at IS NOT NULL").fetchone() == (0,)
    db.close()


# --- the store alone --------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_store_killed_a_hundred_and_fifty_times_loses_nothing_it_acknowledged(tmp_path: Path, anyio_backend: str) -> None:
    path = tmp_path / "data" / "appliance.db"
    saved: set[int] = set()
    erased: set[int] = set()
    for _ in range(STORE_KILLS):
        for line in await asyncio.to_thread(run_until_killed, path, chance.randint(1, 4)):
            word, number = line.split()
            (saved if word == "saved" else erased).add(int(number))
    await check_whole(path)
    store = await Store.open(path)
    completed = await store.transcripts.list(UNLIMITED, limit=10_000, offset=0, states=(JobState.COMPLETED,))
    present = {record.id for record in completed.results}
    lost = {transcript_id for transcript_id in saved - erased - present if transcript_id % 3}  # every third was being erased
    print(f"\n{STORE_KILLS} kills of the store: {len(saved)} acknowledged, {len(lost)} lost, {len(erased & present)} came back")
    assert not lost
    assert not erased & present
    for transcript_id in present:
        assert (await store.transcripts.get(transcript_id, UNLIMITED)).transcript == transcript_of(TEXTS)
    await store.close()
