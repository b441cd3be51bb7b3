"""The usage journal counts what was transcribed, once, for whom and with what."""

from __future__ import annotations

from datetime import timedelta

import pytest

from appliance.store import Store, Used, verify
from appliance.store.rows import now
from tests.store.test_audit import exported

pytestmark = pytest.mark.anyio


async def test_seconds_are_added_up_by_owner_and_time(store: Store) -> None:
    began = now()
    await store.usage.record(Used("person_1", "whisper-base", audio_s=60.25, engine_s=6.5, transcript_id=4))
    await store.usage.record(Used("person_2", "whisper-base", audio_s=30.0, engine_s=3.0))
    await store.usage.record(Used("person_1", "whisper-tiny.en", audio_s=60.25, engine_s=1.0, transcript_id=4))
    everything = await store.usage.totals(began)
    assert (everything.recordings, everything.audio_s, everything.engine_s) == (3, 150.5, 10.5)
    assert (await store.usage.totals(began, owner="person_1")).audio_s == 120.5
    assert (await store.usage.totals(began, until=began)).recordings == 0
    assert (await store.usage.totals(now() + timedelta(seconds=1))).recordings == 0


async def test_it_is_a_chain_of_its_own(store: Store) -> None:
    await store.audit.record("appliance.started", "system")
    await store.usage.record(Used("key_a", "whisper-base", audio_s=1.0, engine_s=1.0))
    lines = await exported(store.usage.lines())
    assert verify(lines, "usage").head == await store.usage.head()
    assert (await store.usage.head()).sequence == 1
    assert (await store.usage.page())[0].facts == {"model": "whisper-base", "audio_ms": 1000, "engine_ms": 1000}


@pytest.mark.parametrize("owner", ["ann@example.org", "", "Ann Smith"])
async def test_people_are_not_named(store: Store, owner: str) -> None:
    with pytest.raises(ValueError, match="actor"):
        await store.usage.record(Used(owner, "whisper-base", audio_s=1.0, engine_s=1.0))


@pytest.mark.parametrize("model", ["interview.mp3", "what was said", "x" * 65])
async def test_a_model_that_is_called_like_a_file_is_not_named(store: Store, model: str) -> None:
    """Seconds are counted all the same: a strange id must not cost a transcript."""
    await store.usage.record(Used("key_a", model, audio_s=1.0, engine_s=1.0))
    assert (await store.usage.page())[0].facts["model"] == "unnamed"
