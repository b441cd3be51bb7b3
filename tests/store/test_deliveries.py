"""Webhook messages that outlive a crash."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.domain import Failure, JobState
from appliance.errors import InvalidField
from appliance.store import UNLIMITED, Store, SwitchedOff
from tests.store.samples import new_transcript, save

pytestmark = pytest.mark.anyio
URL = "https://hooks.example/x"
LATER = datetime.now(UTC) + timedelta(days=1)


async def test_every_end_is_told_once_and_survives_a_restart(path: Path, anyio_backend: str) -> None:
    store = await Store.open(path)
    done = await save(store, ["secret words"], new_transcript(callback_url=URL))
    failed = await store.transcripts.create(new_transcript(callback_url=URL))
    await store.transcripts.fail(failed.id, JobState.FAILED, Failure("x", "x", "x", 500))
    await save(store, ["nobody asked"])
    await store.close()
    store = await Store.open(path)
    first, second = await store.webhooks.due(LATER)
    assert (first.event, first.slug, first.state, first.url) == ("transcript.completed", done.slug, JobState.COMPLETED, URL)
    assert (second.event, second.transcript_id) == ("transcript.failed", failed.id)
    assert "secret" not in repr(first)
    await store.close()


async def test_a_failed_attempt_is_made_again_later_under_the_same_id(store: Store) -> None:
    await save(store, ["x"], new_transcript(callback_url=URL))
    now = datetime.now(UTC)
    [delivery] = await store.webhooks.due(now)
    await store.webhooks.retry(delivery.id, now + timedelta(minutes=5))
    assert await store.webhooks.due(now) == ()
    assert await store.webhooks.next_due_at() == now + timedelta(minutes=5)
    [again] = await store.webhooks.due(now + timedelta(minutes=5))
    assert (again.id, again.attempts) == (delivery.id, 1)
    await store.webhooks.finish(again.id)
    assert await store.webhooks.next_due_at() is None


async def test_a_target_that_is_gone_gets_nothing_more(store: Store) -> None:
    await save(store, ["x"], new_transcript(callback_url=URL))
    await save(store, ["x"], new_transcript(callback_url=URL + "/other"))
    await store.webhooks.switch_off(URL)
    await save(store, ["x"], new_transcript(callback_url=URL))
    assert [delivery.url for delivery in await store.webhooks.due(LATER)] == [URL + "/other"]


async def test_a_target_is_switched_on_again_for_what_ends_from_then_on(store: Store) -> None:
    await store.webhooks.switch_off(URL)
    at = await store.webhooks.switched_off_at(URL)
    assert at is not None
    assert await store.webhooks.switched_off() == (SwitchedOff(URL, at),)
    assert await store.webhooks.switched_off_at(URL + "/other") is None
    await save(store, ["x"], new_transcript(callback_url=URL))
    await store.webhooks.allow(URL)
    assert await store.webhooks.switched_off() == ()
    assert await store.webhooks.due(LATER) == ()
    await save(store, ["x"], new_transcript(callback_url=URL))
    assert [delivery.url for delivery in await store.webhooks.due(LATER)] == [URL]
    with pytest.raises(InvalidField, match="not switched off"):
        await store.webhooks.allow(URL)


async def test_nothing_is_told_about_an_erased_transcript(store: Store) -> None:
    record = await save(store, ["x"], new_transcript(callback_url=URL))
    await store.transcripts.erase(record.id, UNLIMITED)
    assert await store.webhooks.due(LATER) == ()
    assert await store.webhooks.next_due_at() is None
