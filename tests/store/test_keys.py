"""Keys: shown once, kept hashed."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.errors import InvalidField, NotFound
from appliance.store import Scope, Store
from appliance.store import keys as keys_module
from tests.store.samples import raw_bytes

pytestmark = pytest.mark.anyio


async def test_a_key_opens_until_it_is_revoked(store: Store) -> None:
    key, secret = await store.keys.create("Newsroom", (Scope.TRANSCRIBE, Scope.READ))
    found = await store.keys.authenticate(secret)
    assert found == key
    assert found.scopes == {Scope.TRANSCRIBE, Scope.READ}
    assert (await store.keys.revoke(key.id)).revoked_at
    assert await store.keys.authenticate(secret) is None
    assert [listed.id for listed in await store.keys.list()] == [key.id]
    with pytest.raises(NotFound):
        await store.keys.revoke(key.id)


async def test_secrets_have_256_bits_and_are_nowhere_on_the_disk(store: Store, path: Path) -> None:
    key, secret = await store.keys.create("x", ())
    assert secret.startswith("stt_")
    assert len(base64.urlsafe_b64decode(secret[4:] + "=")) == 32
    assert secret.startswith(key.prefix)
    files = b"".join(raw_bytes(path).values())
    assert hashlib.sha256(secret.encode()).digest() in files
    assert secret[len(key.prefix) :].encode() not in files


@pytest.mark.parametrize("secret", ["", "stt_", "stt_" + "A" * 43, "\ud800", "x" * 100_000, "' OR 1=1 --"])
async def test_wrong_secrets_open_nothing(store: Store, secret: str) -> None:
    await store.keys.create("x", ())
    assert await store.keys.authenticate(secret) is None


async def test_a_key_expires(store: Store) -> None:
    now = datetime.now(UTC)
    _, old = await store.keys.create("old", (), expires_at=now - timedelta(seconds=1))
    _, fresh = await store.keys.create("fresh", (), expires_at=now + timedelta(hours=1))
    assert await store.keys.authenticate(old) is None
    assert await store.keys.authenticate(fresh)


async def test_its_last_use_is_kept_at_most_once_a_minute(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    start = datetime.now(UTC)
    key, secret = await store.keys.create("x", ())
    seen = []
    for seconds in (0, 30, 59, 61, 100, 122):
        monkeypatch.setattr(keys_module, "now", lambda at=start + timedelta(seconds=seconds): at)
        assert await store.keys.authenticate(secret)
        await store.keys.create("flush", ())  # the writer does one thing after another: the note is written now
        seen += [listed.last_used_at for listed in await store.keys.list() if listed.id == key.id]
    assert [int((at - start).total_seconds()) for at in seen if at] == [0, 0, 0, 61, 61, 122]


async def test_a_prefix_names_a_key_when_it_names_one(store: Store) -> None:
    first, _ = await store.keys.create("x", ())
    await store.keys.create("y", ())
    with pytest.raises(InvalidField, match="2 keys"):
        await store.keys.revoke("stt_")
    with pytest.raises(NotFound):
        await store.keys.revoke("st")
    assert (await store.keys.revoke(first.prefix)).id == first.id
