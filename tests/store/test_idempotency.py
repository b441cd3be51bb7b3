"""The same request twice is one transcript."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from appliance.domain import Failure, JobState
from appliance.errors import IdempotencyMismatch
from appliance.store import UNLIMITED, Claim, Reach, Store, TranscriptEdit, idempotency, own_reach
from tests.store.samples import new_transcript, transcript_of

pytestmark = pytest.mark.anyio


async def claim(store: Store, key: str = "k", fingerprint: str = "f", owner: str = "key_a") -> Claim:
    return await store.idempotency.claim(owner, key, fingerprint, new_transcript(owner), ttl_s=3600)


async def test_many_claims_at_once_make_one_transcript(store: Store) -> None:
    """TRAPS 25"""
    claims = await asyncio.gather(*(claim(store) for _ in range(20)))
    assert [claim.created for claim in claims].count(True) == 1
    assert len({claim.record.id for claim in claims}) == 1
    assert (await store.transcripts.list(UNLIMITED, limit=9, offset=0)).count == 1


async def test_a_key_belongs_to_its_owner_and_to_one_request(store: Store) -> None:
    first = await claim(store)
    assert (await claim(store, owner="key_b")).created
    with pytest.raises(IdempotencyMismatch):
        await claim(store, fingerprint="other")
    assert (await claim(store)).record.id == first.record.id


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED])
async def test_after_a_failure_the_key_works_again(store: Store, state: JobState) -> None:
    first = await claim(store)
    await store.transcripts.fail(first.record.id, state, Failure("x", "x", "x", 500))
    again = await claim(store, fingerprint="other")
    assert again.created
    assert again.record.id != first.record.id


async def test_after_a_restart_and_an_erasure_the_key_works_again(store: Store) -> None:
    await claim(store)
    await store.transcripts.interrupt_unfinished()
    second = await claim(store)
    assert second.created
    await store.transcripts.complete(second.record.id, transcript_of(["x"]))
    assert not (await claim(store)).created
    await store.transcripts.erase(second.record.id, UNLIMITED)
    assert (await claim(store)).created


async def test_a_key_is_forgotten_when_its_time_is_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await claim(store)
    monkeypatch.setattr(idempotency, "now", lambda: datetime.now(UTC) + timedelta(seconds=3599))
    assert not (await claim(store)).created
    monkeypatch.setattr(idempotency, "now", lambda: datetime.now(UTC) + timedelta(seconds=3601))
    assert (await claim(store)).created


async def test_what_was_moved_is_not_given_to_whoever_sends_it_again(store: Store) -> None:
    """They may not reach it any more where it is now."""
    first = await claim(store)
    both = frozenset(("key_a", "workspace_b"))
    await store.transcripts.edit(first.record.id, Reach("key_a", both, both, both), 0, TranscriptEdit(owner="workspace_b"))
    again = await claim(store)
    assert again.created
    assert again.record.id != first.record.id


async def test_a_key_is_known_to_whoever_may_send_for_its_owner_and_only_to_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await claim(store)
    both = frozenset(("key_a", "key_b"))
    colleague, reader = Reach("key_b", both, both, both), Reach("key_b", both, frozenset(("key_b",)))
    assert [await store.idempotency.is_known(reach, "k") for reach in (own_reach("key_a"), colleague)] == [True, True]
    assert [await store.idempotency.is_known(reach, "k") for reach in (own_reach("key_b"), reader)] == [False, False]
    assert not await store.idempotency.is_known(colleague, "other")
    found = await store.idempotency.find("key_a", "k", "f")
    assert found is not None
    assert found.id == first.record.id
    with pytest.raises(IdempotencyMismatch):
        await store.idempotency.find("key_a", "k", "other")
    monkeypatch.setattr(idempotency, "now", lambda: datetime.now(UTC) + timedelta(seconds=3601))
    assert not await store.idempotency.is_known(colleague, "k")
    assert await store.idempotency.find("key_a", "k", "f") is None
