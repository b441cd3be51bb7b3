"""The audit log keeps what happened, keeps it unchanged, and can hold no text."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3

from appliance.errors import ChainBroken, DiskFull
from appliance.store import Store, verify
from appliance.store.audit import EVENTS, WORDS, append_audit
from appliance.store.chain import ChainName, empty_head
from appliance.store.database import connect
from appliance.store.journal import PAGE_ENTRIES

pytestmark = pytest.mark.anyio

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "audit-log.md"


async def exported(lines: AsyncIterator[bytes]) -> list[bytes]:
    return b"".join([part async for part in lines]).splitlines(keepends=True)


async def test_what_happened_can_be_read_in_order_and_verified(store: Store) -> None:
    assert await store.audit.head() == empty_head("audit")
    await store.audit.record("key.created", "console", "key_0a", admin=False, days=90)
    await store.audit.record("transcript.erased", "person_1b", "17", reason="request")
    first, second = await store.audit.page()
    assert (first.sequence, first.event, first.actor, first.subject) == (1, "key.created", "console", "key_0a")
    assert first.facts == {"admin": False, "days": 90}
    assert second.facts == {"reason": "request"}
    lines = await exported(store.audit.lines())
    assert verify(lines).head == await store.audit.head()
    assert [b'"sequence":2,' in line for line in await exported(store.audit.lines(after=1))] == [True]
    assert len(await exported(store.audit.lines(limit=1))) == 1


@pytest.mark.parametrize(
    "texts",
    [
        {"event": "the patient said"},
        {"event": "interview.mp3"},
        {"event": "transcript.vanished"},
        {"actor": "ann@example.org"},
        {"actor": "Ann Smith"},
        {"actor": ""},
        {"actor": "person_ann"},
        {"subject": "board-meeting.wav"},
        {"subject": "budget"},
        {"subject": "key_0a\n"},
        {"subject": "١٢"},
        {"facts": {"reason": "because she said so"}},
        {"facts": {"reason": "confidential"}},
        {"facts": {"title": "budget"}},
        {"facts": {"model": "interview.mp3"}},
        {"facts": {"model": "ann@example.org"}},
        {"facts": {"model": "what was said in the room"}},
        {"facts": {"version": "x" * 65}},
        {"facts": {"person": "Ann Smith"}},
        {"facts": {"owner": "person_ann"}},
        {"facts": {"count": 2**53}},
        {"facts": {"seconds": 1.5}},
    ],
)
async def test_nothing_that_could_be_text_a_name_or_an_address_is_taken(store: Store, texts: dict[str, Any]) -> None:
    given = {"event": "key.created", "actor": "console", "subject": "key_0a", "facts": {}, **texts}
    with pytest.raises(ValueError, match=r"audit log|an actor|a subject|the fact|not the name"):
        await store.audit.record(given["event"], given["actor"], given["subject"], **given["facts"])
    assert await store.audit.page() == ()


async def test_a_model_and_a_version_may_be_named(store: Store) -> None:
    for model in ("whisper-tiny.en", "site/court-v2"):
        await store.audit.record("models.activated", "system", "release_0f", model=model, version="1.2.0")
        assert (await store.audit.page())[-1].facts == {"model": model, "version": "1.2.0"}


async def test_names_of_events_are_nouns_and_verbs() -> None:
    assert all(event.replace("_", "").replace(".", "", 1).isalpha() and event.islower() for event in EVENTS)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {0} SET actor = 'system' WHERE sequence = 1",
        "DELETE FROM {0} WHERE sequence = 2",
        "DELETE FROM {0}",
        "INSERT OR REPLACE INTO {0} SELECT 1, at, event, 'system', subject, facts, previous, hash FROM {0} WHERE sequence = 2",
        "INSERT INTO {0} SELECT 9, at, event, actor, subject, facts, previous, hash FROM {0} WHERE sequence = 2",
    ],
)
@pytest.mark.parametrize("chain", [*ChainName])
async def test_the_table_refuses_to_change_what_it_has(store: Store, path: Path, chain: ChainName, statement: str) -> None:
    for _ in range(2):
        await store.audit.record("key.created", "console", "key_0a")
    db = connect(path)
    if chain is ChainName.USAGE:
        db.conn.execute("INSERT INTO usage SELECT * FROM audit")
    with pytest.raises(sqlite3.IntegrityError, match=r"append-only|at its end"):
        db.conn.execute(statement.format(chain.value))
    assert [row["actor"] for row in db.query(f"SELECT actor FROM {chain.value}")] == ["console", "console"]
    db.close()


async def test_changes_in_the_file_itself_are_found(store: Store, path: Path) -> None:
    for _ in range(5):
        await store.audit.record("key.created", "console", "key_0a")
    head = await store.audit.head()
    db = connect(path)
    db.conn.execute("DROP TRIGGER audit_keeps_what_it_has")
    db.conn.execute("UPDATE audit SET subject = 'key_0b' WHERE sequence = 3")
    with pytest.raises(ChainBroken, match="entry 3"):
        verify(await exported(store.audit.lines()))
    db.conn.execute("UPDATE audit SET subject = 'key_0a' WHERE sequence = 3")
    assert verify(await exported(store.audit.lines())).head == head
    db.conn.execute("DROP TRIGGER audit_loses_nothing")
    db.conn.execute("DELETE FROM audit WHERE sequence = 5")
    db.close()
    lines = await exported(store.audit.lines())
    assert verify(lines).head.sequence == 4, "a chain alone cannot know of its end"
    with pytest.raises(ChainBroken, match="the end is missing"):
        verify(lines, heads=[head])


async def test_an_entry_and_what_it_tells_of_happen_together_or_not_at_all(store: Store) -> None:
    def work(db: Database) -> None:
        append_audit(db, "key.created", "console", "key_0a")
        raise RuntimeError("a crash before the commit")

    with pytest.raises(RuntimeError):
        await store._writer.run(work)
    assert await store.audit.page() == ()


async def test_many_at_once_are_one_chain_and_cheap(store: Store) -> None:
    """Those that come while one is being written share the next transaction."""
    count = 2 * PAGE_ENTRIES + 5
    began_s = time.process_time()  # of the processor: other tests run beside this one
    await asyncio.gather(*(store.audit.record("session.opened", f"person_{n:x}", method="password") for n in range(count)))
    each_ms = (time.process_time() - began_s) * 1000 / count
    print(f"{each_ms:.3f} ms an entry, {count} at once")
    lines = await exported(store.audit.lines())
    assert verify(lines).head.sequence == len(lines) == count
    assert each_ms < 1


async def test_without_room_the_log_waits_in_memory_and_nobody_is_locked_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def limit_pages(pages: int) -> None:
        await store._writer.run_bare(lambda db: db.conn.execute(f"PRAGMA max_page_count = {pages}").fetchall())

    await limit_pages(1)  # what there is: not a page more
    for n in range(200):
        await store.audit.record("session.opened", f"person_{n:x}", method="password")
    written = (await store.audit.head()).sequence
    assert written < 200
    with monkeypatch.context() as patch:
        patch.setattr("appliance.store.journal.MAX_PENDING", 10)
        with pytest.raises(DiskFull):
            await store.audit.record("session.opened", "person_1", method="password")
    await limit_pages(2**30)
    await store.audit.record("session.opened", "person_ff", method="password")
    lines = await exported(store.audit.lines())
    assert verify(lines).head.sequence == 201, "nothing was forgotten, and in its order"


async def test_every_event_and_every_word_is_documented() -> None:
    document = (await asyncio.to_thread(DOCUMENT.read_text)).split("## Events")[1]
    assert {event for event in EVENTS if f"`{event}`" not in document} == set()
    for fact, words in WORDS.items():
        assert f"| `{fact}` | {', '.join(sorted(words))} |" in document
