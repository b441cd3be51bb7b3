"""The life of a transcript, and finding it again."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from appliance.domain import Caution, Failure, JobState, Recording, Transcript
from appliance.errors import NotFound, RoleTooLow
from appliance.store import UNLIMITED, Reach, Right, SegmentEdit, Store, TranscriptEdit, own_reach
from appliance.store.database import connect
from tests.store.samples import RECORDING, new_transcript, save, transcript_of

pytestmark = pytest.mark.anyio

FAILURE = Failure("not_media", "No recording.", "Send another.", 415)


async def test_a_transcript_comes_back_exactly_as_it_was_saved(store: Store) -> None:
    transcript = transcript_of(["Good morning", "everyone 会議"])
    transcript = Transcript(
        **{name: getattr(transcript, name) for name in transcript.__struct_fields__} | {"warnings": (Caution("silence", "x", 1.5),)}
    )
    other = transcript_of(["Good mourning"], model="tiny")
    record = await store.transcripts.create(new_transcript())
    assert (record.state, record.revision, record.transcript) == (JobState.QUEUED, 0, None)
    await store.transcripts.start(record.id)
    described = Recording("interview.mp3", 123, "ab" * 32, 10.0, "mp3", "mp3", 44100, 2, 1)
    await store.transcripts.describe(record.id, described)
    await store.transcripts.complete(record.id, transcript, (other,))
    for key in (record.id, str(record.id), record.slug):
        found = await store.transcripts.get(key, own_reach("key_a"))
        assert (found.state, found.recording) == (JobState.COMPLETED, described)
        assert (found.transcript, found.alternatives) == (transcript, (other,))
        assert found.started_at
        assert found.finished_at
        assert found.created_at <= found.started_at <= found.finished_at <= datetime.now(UTC)


async def test_a_reach_is_in_every_query(store: Store) -> None:
    mine = await save(store, ["secret"], new_transcript(owner="key_a"))
    await save(store, ["secret"], new_transcript(owner="key_b"))
    stranger = own_reach("key_b")
    for key in (mine.id, str(mine.id), mine.slug):
        with pytest.raises(NotFound):
            await store.transcripts.get(key, stranger)
        with pytest.raises(NotFound):
            await store.transcripts.erase(key, stranger)
        with pytest.raises(NotFound):
            await store.transcripts.edit(key, stranger, 0, TranscriptEdit(title="mine now"))
        with pytest.raises(NotFound):
            await store.transcripts.edit_segment(key, stranger, 0, 0, SegmentEdit(text="mine now"))
        with pytest.raises(NotFound):
            await store.transcripts.revisions(key, stranger)
        assert await store.transcripts.get(key, own_reach("key_a")) == mine
    both = Reach("key_c", reads=frozenset(("key_a", "key_b")))
    for reach, count in ((own_reach("key_a"), 1), (stranger, 1), (own_reach("key_c"), 0), (both, 2), (UNLIMITED, 2)):
        for query in ("", "secret"):
            page = await store.transcripts.list(reach, limit=10, offset=0, query=query)
            assert (page.count, len(page.results)) == (count, count)


async def test_who_may_only_read_is_told_so_and_who_may_only_erase_reads_nothing(store: Store) -> None:
    mine = await save(store, ["secret"], new_transcript(owner="key_a"))
    reader = Reach("key_b", reads=frozenset(("key_a",)))
    assert (await store.transcripts.get(mine.id, reader)).id == mine.id
    with pytest.raises(RoleTooLow):
        await store.transcripts.edit(mine.id, reader, 0, TranscriptEdit(title="x"))
    with pytest.raises(RoleTooLow):
        await store.transcripts.erase(mine.id, reader)
    administrator = Reach("key_c", erases=None)
    with pytest.raises(NotFound):
        await store.transcripts.get(mine.id, administrator)
    with pytest.raises(NotFound):
        await store.transcripts.edit(mine.id, administrator, 0, TranscriptEdit(title="x"))
    assert (await store.transcripts.list(administrator, limit=10, offset=0)).count == 0
    assert (await store.transcripts.locate(mine.id, administrator, Right.ERASE)).transcript is None
    assert await store.transcripts.erase(mine.id, administrator)


@pytest.mark.parametrize("key", [0, -1, 2**70, "2" * 40, "", "x", "１", "'; --", "\ud800"])
async def test_strange_addresses_are_not_found(store: Store, key: int | str) -> None:
    await save(store, ["x"])
    with pytest.raises(NotFound):
        await store.transcripts.get(key, UNLIMITED)


async def test_pages_are_newest_first_and_know_how_many_there_are(store: Store) -> None:
    records = [await store.transcripts.create(new_transcript(title=f"{n}")) for n in range(7)]
    await store.transcripts.fail(records[0].id, JobState.FAILED, FAILURE)
    page = await store.transcripts.list(own_reach("key_a"), limit=3, offset=2)
    assert ([record.title for record in page.results], page.count) == (["4", "3", "2"], 7)
    failed = await store.transcripts.list(UNLIMITED, limit=3, offset=0, states=(JobState.FAILED, JobState.CANCELLED))
    assert ([record.failure for record in failed.results], failed.count) == ([FAILURE], 1)


async def test_ids_are_never_used_twice_and_slugs_cannot_be_guessed(store: Store) -> None:
    first = await save(store, ["x"])
    assert await store.transcripts.erase(first.id, UNLIMITED)
    second = await save(store, ["x"])
    assert second.id > first.id
    assert len({first.slug, second.slug}) == 2
    assert len(first.slug) >= 22  # 128 bits, six to a character
    assert first.slug.replace("-", "").replace("_", "").isalnum()


async def test_what_has_ended_stays_ended(store: Store) -> None:
    record = await store.transcripts.create(new_transcript())
    await store.transcripts.fail(record.id, JobState.CANCELLED, FAILURE)
    with pytest.raises(NotFound):
        await store.transcripts.complete(record.id, transcript_of(["late"]))
    erased = await store.transcripts.create(new_transcript())
    await store.transcripts.erase(erased.id, UNLIMITED)
    with pytest.raises(NotFound):
        await store.transcripts.complete(erased.id, transcript_of(["late"]))
    assert (await store.transcripts.get(record.id, UNLIMITED)).state is JobState.CANCELLED
    assert (await store.transcripts.list(UNLIMITED, limit=9, offset=0, query="late")).count == 0


async def test_what_a_stop_cut_off_is_interrupted_at_the_next_start(path: Path, anyio_backend: str) -> None:
    store = await Store.open(path)
    waiting, working = [await store.transcripts.create(new_transcript()) for _ in range(2)]
    await store.transcripts.start(working.id)
    done = await save(store, ["done"])
    await store.close()
    store = await Store.open(path)
    assert await store.transcripts.interrupt_unfinished() == 2
    assert await store.transcripts.interrupt_unfinished() == 0
    for record in (waiting, working):
        found = await store.transcripts.get(record.id, UNLIMITED)
        assert found.failure
        assert (found.state, found.failure.code) == (JobState.INTERRUPTED, "interrupted")
    assert (await store.transcripts.get(done.id, UNLIMITED)).state is JobState.COMPLETED
    await store.close()


async def test_a_page_and_its_count_are_of_one_moment(store: Store) -> None:
    """While transcripts come and go, a page that holds everything always has as many results as it counts."""

    async def write() -> None:
        for _ in range(30):
            record = await store.transcripts.create(new_transcript())
            await store.transcripts.erase(record.id, UNLIMITED)

    writing = asyncio.create_task(write())
    pages = 0
    while not writing.done():
        page = await store.transcripts.list(UNLIMITED, limit=100, offset=0)
        assert len(page.results) == page.count
        pages += 1
    await writing
    assert pages > 10


async def test_a_long_save_does_not_stop_the_event_loop_or_readers(store: Store) -> None:
    """SQL runs on its own threads: while an hour is saved, reads are answered."""
    small = await save(store, ["small"])
    big = await store.transcripts.create(new_transcript())
    saving = asyncio.create_task(
        store.transcripts.complete(big.id, transcript_of(["ten words of text that somebody said once to another"] * 3000))
    )
    await asyncio.sleep(0)
    assert (await store.transcripts.get(small.id, UNLIMITED)).id == small.id
    assert not saving.done()
    await saving
    assert {thread.name for thread in threading.enumerate() if "store" in thread.name} >= {"store-writer"}


async def test_another_program_may_write_at_the_same_time(store: Store, path: Path) -> None:
    """`appliance keys create` beside a running appliance."""
    other = await Store.open(path)
    key, secret = await other.keys.create("cli", ())
    await other.close()
    found = await store.keys.authenticate(secret)
    assert found
    assert found.id == key.id


async def test_the_recording_itself_is_described_but_not_kept(store: Store, path: Path) -> None:
    """The schema has no place for audio: every BLOB column belongs to text, hashes, or something sealed."""
    db = connect(path)
    blobs = {
        (table.name, column.name)
        for table in db.tables
        if not table.name.startswith("search")
        for column in table.columns
        if column.type == "BLOB"
    }
    db.close()
    of_text = {("segments", "words"), ("segments", "evidence"), ("revisions", "segment"), ("private_transcripts", "envelope")}
    sealed = {("people", "second_factor"), ("licence_mark", "sealed")}
    others = {(table, column) for table, column in blobs if column not in ("sha256", "hash", "previous")}
    assert others == of_text | sealed, "a new column: can it hold audio?"
    assert RECORDING.sha256


@pytest.mark.slow
async def test_4500_segments_are_saved_within_a_second_and_load_quickly(store: Store) -> None:
    """PAINS 20: the size at which other editors freeze. 54,000 words."""
    transcript = transcript_of(["the quick brown fox jumps over the lazy dog and runs off"] * 4500)
    record = await store.transcripts.create(new_transcript())
    times_s = [time.perf_counter()]
    await store.transcripts.complete(record.id, transcript)
    times_s.append(time.perf_counter())
    loaded = await store.transcripts.get(record.id, UNLIMITED)
    times_s.append(time.perf_counter())
    await store.transcripts.edit_segment(record.id, UNLIMITED, 0, 2000, SegmentEdit(text="the quick brown fax"))
    times_s.append(time.perf_counter())
    assert (await store.transcripts.list(UNLIMITED, limit=9, offset=0, query="fax")).count == 1
    times_s.append(time.perf_counter())
    saving, loading, editing, searching = (after - before for before, after in pairwise(times_s))
    print(f"4,500 segments: save {saving:.2f} s, load {loading:.2f} s, edit {editing:.2f} s, search {searching * 1000:.0f} ms")
    assert loaded.transcript == transcript
    assert saving < 1
    assert loading < 1
    assert editing < 1
