"""Links to transcripts: what opens them, how often, and how they end."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from msgspec import structs

from appliance.domain import TranscriptRecord
from appliance.errors import (
    ApplianceError,
    InvalidField,
    NotFound,
    NotReady,
    PrivateTranscript,
    RoleTooLow,
    ShareBusy,
    ShareExpired,
    ShareNotOpened,
    SharePasswordPaused,
    SharePasswordWrong,
    ShareRevoked,
    ShareUsedUp,
    TooManyShares,
)
from appliance.store import Asker, MemberRole, NewShare, Person, Reach, Share, Store, own_reach
from appliance.store import shares as shares_module
from appliance.store.passwords import Passwords
from tests.store.samples import OPTIONS, Known, new_transcript, raw_bytes, save

pytestmark = pytest.mark.anyio

PASSWORD = "four calm horses"


@pytest.fixture
def store(store: Store) -> Iterator[Store]:
    """Passwords are hashed quickly: how slowly is the subject of `test_passwords`."""
    store.shares._passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    yield store
    store.shares._passwords.close()


async def shared(store: Store, **wishes: Any) -> tuple[TranscriptRecord, Reach, Share, str]:
    key, _ = await store.keys.create("somebody", ())
    reach = own_reach(key.id)
    record = await save(store, ["the patient sleeps well", "good"], new_transcript(owner=key.id))
    share, token = await store.shares.create(record.id, reach, NewShare(**{"expires_at": None} | wishes))
    return record, reach, share, token


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    monkeypatch.setattr(shares_module, "now", lambda: at)


async def test_a_link_is_opened_read_and_counted(store: Store) -> None:
    record, reach, share, token = await shared(store)
    assert len(base64.urlsafe_b64decode(token + "=")) == 32
    view = await store.shares.open(token, None)
    found = await store.shares.find_view(token, view.secret)
    assert (found.id, found.views, found.transcript_id) == (share.id, 1, record.id)
    assert (await store.transcripts.get(found.transcript_id, found.reach)).transcript is not None
    assert [listed.views for listed in await store.shares.list(record.id, reach)] == [1]


async def test_it_reaches_no_further_than_reading(store: Store) -> None:
    record, _, share, _ = await shared(store)
    assert (share.reach.changes, share.reach.erases) == (frozenset(), frozenset())
    with pytest.raises(RoleTooLow):
        await store.transcripts.erase(record.id, share.reach)


async def test_neither_token_nor_view_nor_password_is_in_any_file(store: Store, path: Path) -> None:
    _, _, _, token = await shared(store, password=PASSWORD)
    view = await store.shares.open(token, PASSWORD)
    files = b"".join(raw_bytes(path).values())
    assert b"$argon2id$" in files
    for secret in (token, view.secret, PASSWORD):
        assert secret.encode() not in files
        assert secret.encode()[:20] not in files
    assert base64.urlsafe_b64decode(token + "=") not in files


@pytest.mark.parametrize("token", ["", "A" * 43, "\ud800", "x" * 10_000, "' OR 1=1 --"])
async def test_a_token_that_never_was_leads_nowhere(store: Store, token: str) -> None:
    await shared(store)
    with pytest.raises(NotFound):
        await store.shares.open(token, None)


# --- the limit --------------------------------------------------------------------------------------------------------


async def test_many_at_the_same_time_open_it_no_more_often_than_it_may_be(store: Store) -> None:
    _, _, _, token = await shared(store, max_views=5)

    async def attempt() -> bool:
        try:
            await store.shares.open(token, None)
        except ShareUsedUp:
            return False
        return True

    opened = await asyncio.gather(*(attempt() for _ in range(60)))
    assert sum(opened) == 5


async def test_a_view_lasts_half_an_hour_and_is_not_counted_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, _, token = await shared(store, max_views=1)
    view = await store.shares.open(token, None)
    for _ in range(3):
        assert (await store.shares.find_view(token, view.secret)).views == 1
    with pytest.raises(ShareUsedUp):
        await store.shares.look(token)
    later(monkeypatch, 29 * 60)
    await store.shares.find_view(token, view.secret)
    later(monkeypatch, 31 * 60)
    with pytest.raises(ShareNotOpened):
        await store.shares.find_view(token, view.secret)


async def test_a_view_of_one_link_does_not_open_another(store: Store) -> None:
    (_, _, _, first), (_, _, _, second) = await shared(store), await shared(store)
    view = await store.shares.open(first, None)
    with pytest.raises(ShareNotOpened):
        await store.shares.find_view(second, view.secret)


async def test_opening_in_a_loop_ends(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares_module, "OPEN_AT_ONCE", 3)
    _, _, _, token = await shared(store)
    for _ in range(3):
        await store.shares.open(token, None)
    with pytest.raises(ShareBusy) as caught:
        await store.shares.open(token, None)
    assert 1700 < (caught.value.retry_after_s or 0) <= 1800
    later(monkeypatch, 31 * 60)
    await store.shares.open(token, None)


# --- the password -----------------------------------------------------------------------------------------------------


async def test_only_the_password_opens_it(store: Store) -> None:
    _, _, share, token = await shared(store, password=PASSWORD, max_views=1)
    assert share.has_password
    for wrong in (None, "", "four calm horse", "x" * 300, "\ud800"):
        with pytest.raises(SharePasswordWrong):
            await store.shares.open(token, wrong)
    assert (await store.shares.open(token, PASSWORD)).share.views == 1


async def test_wrong_passwords_cost_more_and_more_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, _, token = await shared(store, password=PASSWORD)
    waited, at = [], 0.0
    for _ in range(12):
        with pytest.raises(SharePasswordWrong):
            await store.shares.open(token, "wrong password")
        try:
            await store.shares.open(token, "wrong password")
        except SharePasswordPaused as error:
            waited.append(error.retry_after_s)
            at += error.retry_after_s or 0
            later(monkeypatch, at + 1)
        except SharePasswordWrong:
            pass
    assert waited[:6] == [30, 60, 120, 240, 480, 900]
    assert set(waited[6:]) == {900}, "nobody is locked out for good"
    assert (await store.shares.open(token, PASSWORD)).share.views == 1
    with pytest.raises(SharePasswordWrong):
        await store.shares.open(token, "wrong password")  # and all is forgotten


async def test_many_wrong_passwords_at_once_are_as_few_as_one_after_another(store: Store) -> None:
    _, _, _, token = await shared(store, password=PASSWORD)

    async def attempt() -> type[ApplianceError]:
        with pytest.raises((SharePasswordWrong, SharePasswordPaused)) as caught:
            await store.shares.open(token, "wrong password")
        return caught.type

    kinds = await asyncio.gather(*(attempt() for _ in range(40)))
    assert kinds.count(SharePasswordWrong) == shares_module.FREE_ATTEMPTS


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_it_expires_also_for_who_is_reading(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, _, token = await shared(store, expires_at=datetime.now(UTC) + timedelta(minutes=5))
    view = await store.shares.open(token, None)
    later(monkeypatch, 301)
    with pytest.raises(ShareExpired):
        await store.shares.open(token, None)
    with pytest.raises(ShareExpired):
        await store.shares.find_view(token, view.secret)


async def test_it_is_withdrawn_once_and_at_once(store: Store) -> None:
    record, reach, share, token = await shared(store)
    view = await store.shares.open(token, None)
    await store.shares.revoke(record.id, reach, share.id)
    for work in (store.shares.open(token, None), store.shares.look(token), store.shares.find_view(token, view.secret)):
        with pytest.raises(ShareRevoked):
            await work
    with pytest.raises(NotFound):
        await store.shares.revoke(record.id, reach, share.id)


async def test_a_restored_backup_does_not_bring_a_withdrawn_link_back(store: Store) -> None:
    record, reach, share, token = await shared(store)
    await store.shares.revoke(record.id, reach, share.id)
    update = "UPDATE shares SET revoked_at = NULL WHERE id = ?"  # as it stood in the backup
    await store._writer.run(lambda db: db.conn.execute(update, (share.id,)))
    with pytest.raises(ShareRevoked):
        await store.shares.look(token)


async def test_it_is_gone_with_the_transcript(store: Store, path: Path) -> None:
    record, reach, _, token = await shared(store, password=PASSWORD)
    view = await store.shares.open(token, PASSWORD)
    assert await store.transcripts.erase(record.id, reach)
    for work in (store.shares.open(token, PASSWORD), store.shares.find_view(token, view.secret)):
        with pytest.raises(NotFound):
            await work
    assert b"$argon2id$" not in b"".join(raw_bytes(path).values())


async def test_it_ends_with_the_account_that_made_it(store: Store) -> None:
    _, reach, _, token = await shared(store)
    await store.keys.revoke(reach.actor)
    with pytest.raises(ShareRevoked):
        await store.shares.look(token)


# --- who may ----------------------------------------------------------------------------------------------------------


async def test_it_ends_when_whoever_made_it_leaves_the_workspace(store: Store) -> None:
    boss, editor = [await store.people.find_or_create_external(Known(subject, email="")) for subject in ("boss", "editor")]
    workspace = await store.workspaces.create("Newsroom", boss.id)
    asker = Asker(boss.id, is_admin=False)
    await store.workspaces.put_member(workspace.id, editor.id, MemberRole.EDITOR, asker)
    record = await save(store, ["what is said behind closed doors"], new_transcript(owner=workspace.id))
    reach = Reach(editor.id, frozenset((workspace.id,)), frozenset((workspace.id,)))
    _, token = await store.shares.create(record.id, reach, NewShare(expires_at=None))
    view = await store.shares.open(token, None)
    await store.workspaces.put_member(workspace.id, editor.id, MemberRole.VIEWER, asker)
    with pytest.raises(ShareRevoked):
        await store.shares.look(token)
    assert await listed(store, record, boss) == [False]
    await store.workspaces.put_member(workspace.id, editor.id, MemberRole.EDITOR, asker)
    assert await listed(store, record, boss) == [True]
    assert (await store.shares.find_view(token, view.secret)).transcript_id == record.id
    await store.workspaces.remove_member(workspace.id, editor.id, asker)
    with pytest.raises(ShareRevoked):
        await store.shares.find_view(token, view.secret)


async def listed(store: Store, record: TranscriptRecord, owner: Person) -> list[bool]:
    """Whether each of its links stands, as they are told to an owner of the workspace."""
    reach = Reach(owner.id, frozenset((record.owner,)), frozenset((record.owner,)))
    return [share.stands for share in await store.shares.list(record.id, reach)]


async def test_it_ends_with_the_key_that_made_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key, _ = await store.keys.create("for a week", (), datetime.now(UTC) + timedelta(days=7))
    record = await save(store, ["good"], new_transcript(owner=key.id))
    _, token = await store.shares.create(record.id, own_reach(key.id), NewShare(expires_at=None))
    await store.shares.look(token)
    later(monkeypatch, 8 * 86_400)
    with pytest.raises(ShareRevoked):
        await store.shares.look(token)


async def test_a_stranger_learns_nothing_and_a_viewer_makes_no_links(store: Store) -> None:
    record, reach, share, _ = await shared(store)
    viewer = structs.replace(reach, changes=frozenset())
    for who, refusal in ((own_reach("key_00"), NotFound), (viewer, RoleTooLow)):
        for work in (
            store.shares.create(record.id, who, NewShare(None)),
            store.shares.list(record.id, who),
            store.shares.revoke(record.id, who, share.id),
        ):
            with pytest.raises(refusal):
                await work


async def test_a_link_is_withdrawn_at_its_own_transcript_only(store: Store) -> None:
    (first, reach, _, _), (_, _, other, token) = await shared(store), await shared(store)
    with pytest.raises(NotFound):
        await store.shares.revoke(first.id, reach, other.id)
    await store.shares.look(token)


async def test_a_private_transcript_has_no_links(store: Store) -> None:
    new = structs.replace(new_transcript(owner="key_a"), options=structs.replace(OPTIONS, private=True))
    record = await store.transcripts.create(new)
    with pytest.raises(PrivateTranscript):
        await store.shares.create(record.id, own_reach("key_a"), NewShare(None))


async def test_there_is_no_link_before_there_is_a_text(store: Store) -> None:
    record = await store.transcripts.create(new_transcript(owner="key_a"))
    with pytest.raises(NotReady):
        await store.shares.create(record.id, own_reach("key_a"), NewShare(None))


@pytest.mark.parametrize(
    "wish",
    [{"max_views": 0}, {"max_views": 10_001}, {"password": "short"}, {"password": "x" * 257}, {"password": "\ud800" * 9}],
    ids=str,
)
async def test_wishes_that_make_no_sense_are_refused(store: Store, wish: dict[str, Any]) -> None:
    with pytest.raises(InvalidField):
        await shared(store, **wish)
    with pytest.raises(InvalidField):
        await shared(store, expires_at=datetime.now(UTC) - timedelta(seconds=1))


async def test_there_are_only_so_many(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares_module, "MAX_SHARES", 2)
    record, reach, share, _ = await shared(store)
    await store.shares.create(record.id, reach, NewShare(None))
    with pytest.raises(TooManyShares):
        await store.shares.create(record.id, reach, NewShare(None))
    await store.shares.revoke(record.id, reach, share.id)
    await store.shares.create(record.id, reach, NewShare(None))


async def test_the_audit_log_tells_what_happened_to_it(store: Store) -> None:
    record, reach, share, token = await shared(store, password=PASSWORD)
    with pytest.raises(SharePasswordWrong):
        await store.shares.open(token, "wrong password")
    await store.shares.open(token, PASSWORD)
    await store.shares.revoke(record.id, reach, share.id)
    told = [(entry.event, entry.actor) for entry in await store.audit.page() if entry.subject == share.id]
    assert told == [
        ("share.created", reach.actor),
        ("share.refused", "nobody"),
        ("share.viewed", "nobody"),
        ("share.revoked", reach.actor),
    ]
