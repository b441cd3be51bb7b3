"""A thousand transcripts erased while others read, write and search: not a word is left in any file, and how long it takes.

The real store on a real disk; the words are looked for in the raw bytes of the database, its log and a decrypted backup.
"""

from __future__ import annotations

import asyncio
import io
import random
import string
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyrage
import pytest

from appliance.backup import create_backup, read_identities, read_recipients, restore_backup
from appliance.backup.keys import make_pair
from appliance.store import UNLIMITED, Store, own_reach
from appliance.store.database import connect
from tests.store.samples import new_transcript, raw_bytes, save

pytestmark = [pytest.mark.slow, pytest.mark.anyio]

DELETES = 1000
AT_ONCE = 4
SEGMENTS = 40  # a few minutes of speech
MARK = "zqxjvkwpyd"  # the end of every word that is looked for
MINE, OTHERS = own_reach("person_0a"), own_reach("person_0b")

chance = random.Random(1000)
COMMON = ["".join(chance.choices(string.ascii_lowercase, k=chance.randint(2, 8))) for _ in range(1500)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Load:
    """What the others did meanwhile, and how long each of them waited."""

    stopped: bool = False
    waits_s: dict[str, list[float]] = field(default_factory=dict)

    async def repeat(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        while not self.stopped:
            began = time.perf_counter()
            await work()
            self.waits_s.setdefault(name, []).append(time.perf_counter() - began)


def canary() -> str:
    """Index entries leave out what a word shares with its neighbour; its end always stands there."""
    return "".join(chance.choices(string.ascii_lowercase, k=8)) + MARK


def speech(canaries: list[str]) -> list[str]:
    """Every fifth segment holds a word that stands nowhere else; it is added to `canaries`."""
    texts = []
    for n in range(SEGMENTS):
        words = chance.choices(COMMON, k=10)
        if n % 5 == 0:
            canaries.append(canary())
            words.append(canaries[-1])
        texts.append(" ".join(words))
    return texts


def plain_speech() -> list[str]:
    return [" ".join(chance.choices(COMMON, k=11)) for _ in range(SEGMENTS)]


def words_left(contents: Iterable[bytes]) -> int:
    return sum(content.count(MARK.encode()) for content in contents)


def everything_in(backup: Path, identities: list[pyrage.x25519.Identity]) -> bytes:
    plain = io.BytesIO()
    with backup.open("rb") as file:
        pyrage.decrypt_io(file, plain, identities)
    return plain.getvalue()


async def until_erased(path: Path, store: Store) -> None:
    """For those that were answered with 202."""
    async with asyncio.timeout(30):
        while not await store.erasures.finish():  # noqa: ASYNC110 - a reader in another thread has no event here
            await asyncio.sleep(0.05)


async def test_a_thousand_erasures_under_load_leave_no_word(tmp_path: Path, anyio_backend: str) -> None:
    path, (public, secret) = tmp_path / "data" / "appliance.db", make_pair()
    (tmp_path / "key").write_text(secret)
    store = await Store.open(path)
    canaries: list[str] = []
    doomed = [(await save(store, speech(canaries), new_transcript("person_0a", title=canary()))).id for _ in range(DELETES)]
    kept = [await save(store, plain_speech(), new_transcript("person_0b")) for _ in range(60)]
    before = tmp_path / "before.age"
    await asyncio.to_thread(create_backup, path, before, read_recipients([public]))
    identities = read_identities(tmp_path / "key")
    assert words_left(raw_bytes(path).values()) >= 3 * len(canaries), "the search must be able to find them"

    load = Load()
    others = [asyncio.create_task(load.repeat(name, work)) for name, work in activities(store, kept[0].id).items()]
    times_s, delayed = await erase_all(store, doomed)
    load.stopped = True
    await asyncio.gather(*others)
    await until_erased(path, store)

    left = words_left(raw_bytes(path).values())
    after = tmp_path / "after.age"
    await asyncio.to_thread(create_backup, path, after, read_recipients([public]))
    left_in_backup = words_left([everything_in(after, identities)])
    await store.close()
    await asyncio.to_thread(restore_backup, before, path, identities, force=True)
    left_restored = words_left(raw_bytes(path).values())

    print(f"\n{DELETES} erasures, {AT_ONCE} at once: {spread(times_s)}, {delayed} were delayed by a reader")
    for name, waits_s in load.waits_s.items():
        print(f"meanwhile {len(waits_s)} × {name}: {spread(waits_s)}")
    print(
        f"of {len(canaries)} words: {left} left in the files, {left_in_backup} in a new backup, {left_restored} after the old one"
    )
    assert (left, left_in_backup, left_restored) == (0, 0, 0)
    assert sorted(times_s)[int(len(times_s) * 0.99)] < 5
    await check_the_others(path, [record.id for record in kept])


def activities(store: Store, known_id: int) -> dict[str, Callable[[], Awaitable[object]]]:
    async def search() -> None:
        await store.transcripts.list(OTHERS, limit=20, offset=0, query=chance.choice(COMMON))
        await asyncio.sleep(0.01)

    async def read() -> None:
        await store.transcripts.get(known_id, UNLIMITED)
        await asyncio.sleep(0.01)

    async def write() -> None:
        await save(store, plain_speech(), new_transcript("person_0b"))
        await asyncio.sleep(0.02)

    return {"search": search, "read": read, "write": write}


async def erase_all(store: Store, doomed: list[int]) -> tuple[list[float], int]:
    """Seconds of each, and how many were answered before they were at their end."""
    waiting, times_s, delayed = list(doomed), [], 0

    async def erase_next() -> None:
        nonlocal delayed
        while waiting:
            began = time.perf_counter()
            delayed += not await store.transcripts.erase(waiting.pop(), MINE)
            times_s.append(time.perf_counter() - began)

    await asyncio.gather(*(erase_next() for _ in range(AT_ONCE)))
    return times_s, delayed


def spread(times_s: list[float]) -> str:
    ordered = sorted(times_s)
    p50, p99 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    return f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, at most {ordered[-1] * 1000:.0f} ms"


async def check_the_others(path: Path, kept: list[int]) -> None:
    db = connect(path)
    assert db.conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.conn.execute("INSERT INTO search (search) VALUES ('integrity-check')")
    db.close()
    store = await Store.open(path)
    for transcript_id in kept:
        assert (await store.transcripts.get(transcript_id, UNLIMITED)).transcript
    assert (await store.transcripts.list(MINE, limit=1, offset=0)).count == 0
    await store.close()
