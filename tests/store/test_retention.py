"""Transcripts are kept as long as the rule of their owner says, and go by themselves."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from appliance.domain import Failure, JobState, TranscriptRecord
from appliance.store import UNLIMITED, Store, erase_after
from appliance.store.rows import now
from tests.store.samples import new_transcript, raw_bytes, save, transcript_of

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)


async def present(store: Store) -> set[int]:
    return {record.id for record in (await store.transcripts.list(UNLIMITED, limit=200, offset=0)).results}


async def kept(store: Store, owner: str) -> TranscriptRecord:
    return await save(store, ["xylophonequartz"], new_transcript(owner))


async def test_the_rule_of_an_owner_goes_before_the_rule_of_the_site(store: Store) -> None:
    """By the day: 10 days here, for ever there, and the site's 5 for everybody else."""
    short, never, other = [await kept(store, f"workspace_{n}") for n in "abc"]
    await store.retention.change("workspace_a", 10, "person_1")
    await store.retention.change("workspace_b", 0, "person_1")
    due_on = {record.id: erase_after(record, await store.retention.rules(), 5) for record in (short, never, other)}
    assert due_on[never.id] is None
    for days, erased, left in (
        (4, 0, {short.id, never.id, other.id}),
        (6, 1, {short.id, never.id}),
        (11, 1, {never.id}),
        (9999, 0, {never.id}),
    ):
        assert await store.retention.erase_due(5, now() + days * DAY) == erased
        assert await present(store) == left
    for record, days in ((short, 10), (other, 5)):
        assert record.finished_at
        assert due_on[record.id] == record.finished_at + days * DAY


async def test_without_any_rule_nothing_goes(store: Store) -> None:
    await kept(store, "person_1")
    assert await store.retention.erase_due(0, now() + 36_500 * DAY) == 0
    assert store.retention.erased == 0


async def test_what_went_by_a_rule_is_really_gone_counted_and_on_record(store: Store, path: Path) -> None:
    for _ in range(70):  # more than are marked at a time
        await kept(store, "person_1")
    assert await store.retention.erase_due(1, now() + 2 * DAY) == 70
    assert store.retention.erased == 70
    assert not any(b"xylophonequartz" in content for content in raw_bytes(path).values())
    erased = [entry for entry in await store.audit.page() if entry.event == "transcript.erased"]
    assert {(entry.actor, entry.facts["reason"]) for entry in erased} == {("system", "retention")}
    assert len(erased) == 70


async def test_what_runs_is_left_alone_and_what_failed_goes_too(store: Store) -> None:
    """A failed one leaves a title and a file name."""
    running = await store.transcripts.create(new_transcript())
    failed = await store.transcripts.create(new_transcript())
    await store.transcripts.fail(failed.id, JobState.FAILED, Failure("x", "x.", "", 500))
    assert await store.retention.erase_due(1, now() + 2 * DAY) == 1
    assert await present(store) == {running.id}


async def test_a_rule_that_changes_is_on_record_and_can_be_taken_back(store: Store) -> None:
    await store.retention.change("workspace_a", 10, "person_1")
    await store.retention.change("workspace_a", 20, "person_1")
    assert await store.retention.rules() == {"workspace_a": 20}
    await store.retention.change("workspace_a", None, "person_2")
    assert await store.retention.rules() == {}
    changes = [(entry.actor, entry.facts) for entry in await store.audit.page()]
    assert changes == [("person_1", {"days": 10}), ("person_1", {"days": 20}), ("person_2", {"site_rule": True})]


async def test_it_goes_on_by_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.store.retention.EVERY_S", 0.01)
    monkeypatch.setattr("appliance.store.retention.now", lambda: now() + 2 * DAY)
    keeping = asyncio.create_task(store.retention.keep_to_rules(1))
    async with asyncio.timeout(10):
        for round_ in (1, 2):
            record = await store.transcripts.create(new_transcript("person_1"))
            await store.transcripts.start(record.id)
            await store.transcripts.complete(record.id, transcript_of(["gone at once"]))  # not read back: it may be too late
            while store.retention.erased < round_:  # noqa: ASYNC110 - another task's work has no event here
                await asyncio.sleep(0.01)
            assert record.id not in await present(store)
    keeping.cancel()
