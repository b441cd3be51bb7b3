"""Edits: locked optimistically, kept as history, searchable at once."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from appliance.domain import Speaker
from appliance.errors import InvalidField, NotFound, NotReady, StaleRevision
from appliance.store import UNLIMITED, Reach, SegmentEdit, Store, TranscriptEdit, own_reach
from tests.store.samples import new_transcript, save

pytestmark = pytest.mark.anyio


async def count(store: Store, query: str) -> int:
    return (await store.transcripts.list(UNLIMITED, limit=1, offset=0, query=query)).count


async def test_a_new_text_of_a_segment_reaches_text_words_and_search(store: Store) -> None:
    record = await save(store, ["the quick brown fax", "jumps over"])
    edited = await store.transcripts.edit_segment(record.id, own_reach("key_a"), 0, 0, SegmentEdit(text="the  quick\nbrown fox"))
    assert edited.revision == 1
    assert edited.transcript
    assert edited.transcript.text == "the quick brown fox jumps over"
    words = edited.transcript.segments[0].words
    assert [word.text for word in words] == ["the", "quick", "brown", "fox"]
    assert record.transcript
    assert words[:3] == record.transcript.segments[0].words[:3]
    assert (words[3].start, words[3].end, words[3].probability) == (1.5, 1.9, 1.0)
    assert edited.transcript.segments[0].tokens == record.transcript.segments[0].tokens
    assert edited.transcript.segments[1:] == record.transcript.segments[1:]
    assert (await count(store, "fox"), await count(store, "fax")) == (1, 0)
    assert await store.transcripts.get(record.id, UNLIMITED) == edited


async def test_every_edit_keeps_what_stood_before(store: Store) -> None:
    record = await save(store, ["one", "two"])
    edits = store.transcripts
    await edits.edit(record.slug, own_reach("key_a"), 0, TranscriptEdit(title="Better", speaker_names={"SPEAKER_00": "Ann"}))
    await edits.edit_segment(record.slug, own_reach("key_a"), 1, 1, SegmentEdit(text="zwei"))
    colleague = Reach("key_b", changes=frozenset(("key_a",)))
    await edits.edit_segment(record.slug, colleague, 2, 1, SegmentEdit(speaker="Guest"))
    revisions = await edits.revisions(record.slug, own_reach("key_a"))
    assert [revision.revision for revision in revisions] == [1, 2, 3]
    assert [revision.edited_by for revision in revisions] == ["key_a", "key_a", "key_b"]
    assert (revisions[0].title, revisions[0].speakers, revisions[0].segment) == ("Interview", (Speaker("SPEAKER_00"),), None)
    assert record.transcript
    assert (revisions[1].title, revisions[1].speakers, revisions[1].segment) == (None, None, record.transcript.segments[1])
    assert revisions[2].segment
    assert (revisions[2].segment.text, revisions[2].segment.speaker) == ("zwei", "SPEAKER_00")
    assert revisions[2].speakers == (Speaker("SPEAKER_00", "Ann"),)
    now = await edits.get(record.id, UNLIMITED)
    assert now.transcript
    assert (now.title, now.revision, now.transcript.segments[1].speaker) == ("Better", 3, "Guest")
    assert now.transcript.speakers == (Speaker("SPEAKER_00", "Ann"), Speaker("Guest"))
    assert {word.speaker for word in now.transcript.segments[1].words} == {"Guest"}


async def test_undo_is_an_edit_back_to_what_the_history_holds(store: Store) -> None:
    record = await save(store, ["you and me"])
    await store.transcripts.edit_segment(record.id, UNLIMITED, 0, 0, SegmentEdit(text="nonsense"))
    [revision] = await store.transcripts.revisions(record.id, UNLIMITED)
    assert revision.segment
    back = await store.transcripts.edit_segment(record.id, UNLIMITED, 1, 0, SegmentEdit(text=revision.segment.text))
    assert back.transcript
    assert back.transcript.text == "you and me"
    assert len(await store.transcripts.revisions(record.id, UNLIMITED)) == 2


async def test_a_stale_edit_changes_nothing(store: Store) -> None:
    record = await save(store, ["one"])
    await store.transcripts.edit(record.id, UNLIMITED, 0, TranscriptEdit(title="A"))
    for revision in (0, 2):
        with pytest.raises(StaleRevision):
            await store.transcripts.edit(record.id, UNLIMITED, revision, TranscriptEdit(title="B"))
        with pytest.raises(StaleRevision):
            await store.transcripts.edit_segment(record.id, UNLIMITED, revision, 0, SegmentEdit(text="B"))
    found = await store.transcripts.get(record.id, UNLIMITED)
    assert found.transcript
    assert (found.title, found.revision, found.transcript.text) == ("A", 1, "one")


async def test_of_many_edits_at_once_on_one_revision_exactly_one_counts(store: Store) -> None:
    record = await save(store, ["one"])
    edits = (store.transcripts.edit_segment(record.id, UNLIMITED, 0, 0, SegmentEdit(text=f"edit {n}")) for n in range(8))
    results = await asyncio.gather(*edits, return_exceptions=True)
    assert sum(isinstance(result, StaleRevision) for result in results) == 7
    assert (await store.transcripts.get(record.id, UNLIMITED)).revision == 1


async def test_a_title_is_searchable_and_speakers_lose_their_names(store: Store) -> None:
    record = await save(store, ["one"], new_transcript(title="Kickoff"))
    await store.transcripts.edit(
        record.id, UNLIMITED, 0, TranscriptEdit(title="Retrospective", speaker_names={"SPEAKER_00": "Ann"})
    )
    assert (await count(store, "retrospective"), await count(store, "kickoff")) == (1, 0)
    edited = await store.transcripts.edit(record.id, UNLIMITED, 1, TranscriptEdit(speaker_names={"SPEAKER_00": None}))
    assert edited.transcript
    assert edited.transcript.speakers == (Speaker("SPEAKER_00"),)


async def test_an_edit_that_asks_for_nothing_is_no_revision(store: Store) -> None:
    record = await save(store, ["one"])
    assert (await store.transcripts.edit(record.id, UNLIMITED, 0, TranscriptEdit())).revision == 0
    assert (await store.transcripts.edit_segment(record.id, UNLIMITED, 0, 0, SegmentEdit())).revision == 0


@pytest.mark.parametrize(
    "edit",
    [
        SegmentEdit(text="x" * 20_001),
        SegmentEdit(text="\ud800"),
        SegmentEdit(text="a\0b"),
        SegmentEdit(speaker=""),
        SegmentEdit(speaker="x" * 201),
    ],
)
async def test_impossible_edits_of_a_segment_are_refused(store: Store, edit: SegmentEdit) -> None:
    record = await save(store, ["one"])
    with pytest.raises(InvalidField):
        await store.transcripts.edit_segment(record.id, UNLIMITED, 0, 0, edit)
    assert await store.transcripts.get(record.id, UNLIMITED) == record


async def test_edits_need_a_finished_transcript_and_a_segment_that_exists(store: Store) -> None:
    waiting = await store.transcripts.create(new_transcript())
    assert (await store.transcripts.edit(waiting.id, UNLIMITED, 0, TranscriptEdit(title="Soon"))).title == "Soon"
    with pytest.raises(NotReady):
        await store.transcripts.edit_segment(waiting.id, UNLIMITED, 1, 0, SegmentEdit(text="x"))
    record = await save(store, ["one"])
    for n in (-1, 1, 2**40, 2**70):
        with pytest.raises(NotFound):
            await store.transcripts.edit_segment(record.id, UNLIMITED, 0, n, SegmentEdit(text="x"))
    with pytest.raises(InvalidField, match="SPEAKER_07"):
        await store.transcripts.edit(record.id, UNLIMITED, 0, TranscriptEdit(speaker_names={"SPEAKER_07": "Bo"}))


async def test_a_segment_can_be_emptied_and_belong_to_nobody(store: Store) -> None:
    record = await save(store, ["one", "two"])
    edited = await store.transcripts.edit_segment(record.id, UNLIMITED, 0, 0, SegmentEdit(text="", speaker=None))
    assert edited.transcript
    assert edited.transcript.text == "two"
    assert record.transcript
    emptied = msgspec.structs.replace(record.transcript.segments[0], text="", words=(), speaker=None)
    assert edited.transcript.segments[0] == emptied
    again = await store.transcripts.edit_segment(record.id, UNLIMITED, 1, 0, SegmentEdit(text="one more"))
    assert again.transcript
    assert [word.text for word in again.transcript.segments[0].words] == ["one", "more"]
