"""Erased means erased: no word is left in any file (TRAPS 24)."""

from __future__ import annotations

import asyncio
import random
import string
import time
from pathlib import Path

import pytest

from appliance.errors import NotFound, Unauthorized
from appliance.store import UNLIMITED, SegmentEdit, Store, TranscriptEdit, own_reach
from appliance.store.database import connect
from appliance.store.threads import Writer
from tests.store.samples import new_transcript, raw_bytes, save, transcript_of

pytestmark = pytest.mark.anyio

random_words = random.Random(24)
COMMON = ["".join(random_words.choices(string.ascii_lowercase, k=random_words.randint(2, 8))) for _ in range(2000)]


def canary() -> str:
    return "".join(random_words.choices(string.ascii_lowercase, k=14))


def speech(segments: int, canaries: list[str]) -> list[str]:
    """Segments of 13 words, one of them a word that stands nowhere else; it is added to `canaries`."""
    texts = []
    for _ in range(segments):
        canaries.append(canary())
        texts.append(" ".join((*random_words.choices(COMMON, k=12), canaries[-1])))
    return texts


def copies_left(path: Path, canaries: list[str]) -> int:
    """Search indexes store words without the letters they share with their neighbour: whole words and their ends count."""
    raw = b"\n".join(raw_bytes(path).values())
    return sum(raw.count(word[-8:].encode()) for word in canaries)


async def fill(store: Store, transcripts: int = 4) -> None:
    for _ in range(transcripts):
        await save(store, speech(80, []))


async def test_no_word_of_an_erased_transcript_is_left_in_any_file(store: Store, path: Path) -> None:
    """Text, words, title, prompt, revisions, search index, idempotency key, webhook, recording: TRAPS 24."""
    await fill(store)
    canaries: list[str] = []
    title, callback = canary(), f"https://hooks.example/{canary()}"
    new = new_transcript(title=title, callback_url=callback)
    claimed = await store.idempotency.claim("key_a", idempotency_key := canary(), "f", new, 3600)
    record = claimed.record
    await store.transcripts.complete(record.id, transcript_of(speech(150, canaries)), (transcript_of(speech(5, canaries), "tiny"),))
    await store.transcripts.edit_segment(record.id, UNLIMITED, 0, 3, SegmentEdit(text=f"edited {(edited := canary())}"))
    await store.transcripts.edit(
        record.id, UNLIMITED, 1, TranscriptEdit(title=(retitled := canary()), speaker_names={"SPEAKER_00": (name := canary())})
    )
    canaries += [title, callback[-14:], idempotency_key, edited, retitled, name]
    await fill(store, 2)
    copies = copies_left(path, canaries)
    assert copies >= 3 * len(canaries), "the search must be able to find them"
    assert await store.transcripts.erase(record.slug, own_reach("key_a")) is True
    left = copies_left(path, canaries)
    print(f"copies of {len(canaries)} words: {copies} before, {left} after")
    assert left == 0
    with pytest.raises(NotFound):
        await store.transcripts.get(record.id, UNLIMITED)
    assert (await store.transcripts.list(UNLIMITED, limit=9, offset=0, query=canaries[0])).count == 0


@pytest.mark.slow
async def test_a_reader_in_the_way_delays_the_end_which_then_comes_by_itself(store: Store, path: Path) -> None:
    """TRAPS 24: busy=0 or it is not gone."""
    canaries: list[str] = []
    record = await save(store, speech(40, canaries))
    reader = connect(path, read_only=True)
    reader.conn.execute("BEGIN")
    reader.conn.execute("SELECT count(*) FROM transcripts").fetchone()
    assert await store.transcripts.erase(record.id, UNLIMITED) is False
    with pytest.raises(NotFound):
        await store.transcripts.get(record.id, UNLIMITED)
    assert copies_left(path, canaries) > 0
    assert (await store.transcripts.create(new_transcript())).id, "others can write meanwhile"
    reader.conn.execute("COMMIT")
    reader.close()
    await until_gone(path, canaries)


async def until_gone(path: Path, canaries: list[str]) -> None:
    async with asyncio.timeout(20):
        while copies_left(path, canaries):  # noqa: ASYNC110 - what another thread writes to the disk has no event
            await asyncio.sleep(0.05)


async def test_what_a_crash_left_of_an_erasure_is_finished_at_the_next_start(
    path: Path, anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await Store.open(path)
    canaries: list[str] = []
    record = await save(store, speech(40, canaries))
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "schedule_chore", lambda self, delay_s: None)
        erasing = asyncio.create_task(store.transcripts.erase(record.id, UNLIMITED))
        async with asyncio.timeout(20):
            while await is_visible(store, record.id):  # noqa: ASYNC110
                await asyncio.sleep(0)
        erasing.cancel()
    await asyncio.gather(erasing, return_exceptions=True)
    await store.close()
    store = await Store.open(path)
    await until_gone(path, canaries)
    await store.close()


async def is_visible(store: Store, transcript_id: int) -> bool:
    return any(record.id == transcript_id for record in (await store.transcripts.list(UNLIMITED, limit=9, offset=0)).results)


@pytest.mark.slow
async def test_an_erasure_that_nobody_waits_for_is_finished_by_the_writer(store: Store, path: Path) -> None:
    canaries: list[str] = []
    record = await save(store, speech(600, canaries))
    erasing = asyncio.create_task(store.transcripts.erase(record.id, UNLIMITED))
    async with asyncio.timeout(20):
        while await is_visible(store, record.id):  # noqa: ASYNC110
            await asyncio.sleep(0)
    erasing.cancel()
    await asyncio.gather(erasing, return_exceptions=True)
    await until_gone(path, canaries)


async def test_erasing_leaves_everybody_else_alone(store: Store, path: Path) -> None:
    first, second, third = [await save(store, speech(30, [])) for _ in range(3)]
    assert await store.transcripts.erase(second.id, UNLIMITED)
    for kept in (first, third):
        assert await store.transcripts.get(kept.id, UNLIMITED) == kept
        assert kept.transcript
        word = kept.transcript.segments[7].words[-1].text
        assert [found.id for found in (await store.transcripts.list(UNLIMITED, limit=9, offset=0, query=word)).results] == [kept.id]
    db = connect(path)
    db.conn.execute("INSERT INTO search (search) VALUES ('integrity-check')")
    assert db.conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


@pytest.mark.slow
async def test_what_erasing_an_hour_of_speech_costs(store: Store, path: Path) -> None:
    """720 segments, 9,360 words, in a database of 60 hours; and how long another write waits meanwhile."""
    canaries: list[str] = []
    records = [await save(store, speech(720, canaries if n % 2 else [])) for n in range(60)]
    canaries = random_words.sample(canaries, 40)
    times_s, waits_s = [], []
    for record in records[1::2]:
        began = time.perf_counter()
        erasing = asyncio.create_task(store.transcripts.erase(record.id, UNLIMITED))
        while not erasing.done():
            asked = time.perf_counter()
            await store.transcripts.create(new_transcript())
            waits_s.append(time.perf_counter() - asked)
        assert await erasing
        times_s.append(time.perf_counter() - began)
    times_s.sort()
    waits_s.sort()
    print(f"erasing an hour: p50 {times_s[len(times_s) // 2] * 1000:.0f} ms, p99 {times_s[-1] * 1000:.0f} ms; ", end="")
    print(f"another write waits p50 {waits_s[len(waits_s) // 2] * 1000:.0f} ms, at most {waits_s[-1] * 1000:.0f} ms; ", end="")
    print(f"{copies_left(path, canaries)} of {len(canaries)} words left")
    assert copies_left(path, canaries) == 0
    assert times_s[-1] < 5
    assert waits_s[-1] < 2


async def test_every_table_that_belongs_to_a_transcript_goes_with_it(store: Store, path: Path) -> None:
    """A new table that refers to transcripts, or to what belongs to them, must not outlive them."""
    db = connect(path)
    for table in db.table_names():
        for key in db.query(f"PRAGMA foreign_key_list({table})"):
            assert key["on_delete"] == "CASCADE", f"{table} does not go when its {key['table']} goes"
        columns = {column.name for column in db.table(table).columns}
        if "transcript_id" in columns:
            assert any(key["table"] in ("transcripts", "results") for key in db.query(f"PRAGMA foreign_key_list({table})")), table
    db.close()


async def test_everything_of_an_owner_goes_at_once_and_nothing_of_anybody_else(store: Store, path: Path) -> None:
    canaries: list[str] = []
    for _ in range(3):
        await save(store, speech(30, canaries), new_transcript("person_0a"))
    other = await save(store, speech(30, []), new_transcript("person_0b"))
    told: list[tuple[int, ...]] = []
    store.erasures.listen(asyncio.get_running_loop(), told.append)
    assert await store.erasures.erase_owner("person_0a", "person_0a", "account")
    assert copies_left(path, canaries) == 0
    assert (await store.transcripts.list(own_reach("person_0a"), limit=9, offset=0)).count == 0
    assert await store.transcripts.get(other.id, UNLIMITED) == other
    [entry] = [entry for entry in await store.audit.page() if entry.event == "owner.erased"]
    assert (entry.subject, entry.facts) == ("person_0a", {"reason": "account", "transcripts": 3})
    await asyncio.sleep(0)
    assert [len(ids) for ids in told] == [3]


async def test_an_owner_who_is_gone_gets_nothing_new(store: Store) -> None:
    """A recording that was on its way when its account was erased must not leave a text that nobody can erase."""
    await store.erasures.erase_owner("person_0a", "person_0a", "account")
    with pytest.raises(Unauthorized, match="gone"):
        await store.transcripts.create(new_transcript("person_0a"))
    await store.erasures.erase_owner("person_0b", "person_0b", "request")
    assert await store.transcripts.create(new_transcript("person_0b")), "who erased their texts may go on"
