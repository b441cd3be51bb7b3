"""People: how they join, prove who they are, and go; what becomes of their sessions and keys."""

from __future__ import annotations

import asyncio
import hashlib
import resource
import stat
import time
from datetime import timedelta
from pathlib import Path

import pyotp
import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.profiles import RFC_9106_LOW_MEMORY
from sqlite_utils import Database

from appliance.errors import (
    AlreadyAccepted,
    EmailTaken,
    InvalidField,
    LastAdministrator,
    LinkSpent,
    NotFound,
    SealBroken,
    WrongCredentials,
)
from appliance.store import (
    UNLIMITED,
    NewSession,
    Person,
    PersonEdit,
    PersonRole,
    PersonState,
    Scope,
    Session,
    Store,
    own_reach,
)
from appliance.store.passwords import AT_ONCE, Passwords
from tests.store.samples import Known, new_transcript, raw_bytes, save

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse battery"
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
IDLE = timedelta(hours=1)


@pytest.fixture
async def store(path: Path, anyio_backend: str) -> Store:
    """Its passwords are cheap: how dear they really are has tests of its own."""
    return await Store.open(path)


@pytest.fixture(autouse=True)
async def cheap_and_closed(store: Store) -> object:
    store.people._passwords = Passwords(CHEAP)
    yield
    store.people._passwords.close()
    await store.close()


async def admin(store: Store, email: str = "root@example.org") -> Person:
    link = await store.people.offer_setup("system")
    return await store.people.set_up(link.token, "Root", email, PASSWORD)


async def member(store: Store, email: str = "ann@example.org") -> Person:
    offer = await store.people.invite(email, "Ann", PersonRole.MEMBER, "console")
    return await store.people.join(offer.link.token, "Ann", PASSWORD)


async def opened(store: Store, person: Person) -> tuple[Session, str]:
    return await store.sessions.open(NewSession(person.id, timedelta(days=1), "a browser", "10.0.0.1"))


async def is_alive(store: Store, secret: str) -> bool:
    return await store.sessions.authenticate(secret, IDLE) is not None


# --- joining ----------------------------------------------------------------------------------------------------------


async def test_the_set_up_link_works_once_and_a_new_one_ends_the_old(store: Store) -> None:
    assert await store.people.needs_setup()
    old, new = await store.people.offer_setup("system"), await store.people.offer_setup("console")
    for token in (old.token, "", "x", "\ud800"):
        with pytest.raises(LinkSpent):
            await store.people.set_up(token, "Eve", "eve@example.org", PASSWORD)
    person = await store.people.set_up(new.token, " Root  Admin ", "Root@Example.org", PASSWORD)
    assert (person.name, person.role, person.state) == ("Root Admin", PersonRole.ADMIN, PersonState.ACTIVE)
    assert not await store.people.needs_setup()
    with pytest.raises(LinkSpent):
        await store.people.set_up(new.token, "Eve", "eve@example.org", PASSWORD)


async def test_a_link_for_one_thing_does_not_do_another(store: Store) -> None:
    setup = await store.people.offer_setup("system")
    invitation = await store.people.invite("ann@example.org", "Ann", PersonRole.MEMBER, "console")
    with pytest.raises(LinkSpent):
        await store.people.set_up(invitation.link.token, "Eve", "eve@example.org", PASSWORD)
    with pytest.raises(LinkSpent):
        await store.people.join(setup.token, "Eve", PASSWORD)
    with pytest.raises(LinkSpent):
        await store.people.reset_password(invitation.link.token, PASSWORD)
    assert (await store.people.look_up(invitation.link.token)).person is not None, "it was not used up by the attempts"


async def test_a_link_ends_by_itself(store: Store) -> None:
    link = await store.people.offer_setup("system")

    def age(db: Database) -> None:
        db.conn.execute("UPDATE links SET expires_at = '2020-01-01T00:00:00+00:00'")

    await store.people._writer.run(age)
    with pytest.raises(LinkSpent):
        await store.people.look_up(link.token)


async def test_only_hashes_of_links_sessions_and_passwords_are_on_the_disk(store: Store, path: Path) -> None:
    link = await store.people.offer_setup("system")
    person = await member(store)
    _, secret = await opened(store, person)
    files = b"".join(raw_bytes(path).values())
    for text in (link.token, secret, PASSWORD):
        assert text.encode() not in files
    assert hashlib.sha256(secret.encode()).digest() in files


async def test_an_address_is_one_person_whatever_its_case(store: Store) -> None:
    await member(store, "Ann@Example.org")
    with pytest.raises(EmailTaken):
        await store.people.invite("aNN@example.ORG", "Eve", PersonRole.MEMBER, "console")
    assert await store.people.check_password("ANN@EXAMPLE.ORG ", PASSWORD)
    assert (await store.people.find("ann@example.org")).email == "Ann@Example.org"


async def test_inviting_again_makes_a_new_link_and_ends_the_old(store: Store) -> None:
    first = await store.people.invite("ann@example.org", "Ann", PersonRole.MEMBER, "console")
    second = await store.people.invite("ann@example.org", "Anna", PersonRole.ADMIN, "console")
    assert first.person
    assert second.person
    assert (first.person.id, second.person.role) == (second.person.id, PersonRole.ADMIN)
    with pytest.raises(LinkSpent):
        await store.people.join(first.link.token, "Ann", PASSWORD)
    joined = await store.people.join(second.link.token, "Ann", PASSWORD)
    with pytest.raises(AlreadyAccepted):
        await store.people.withdraw_invitation(joined.id, "console")


async def test_a_withdrawn_invitation_opens_nothing(store: Store) -> None:
    offer = await store.people.invite("ann@example.org", "Ann", PersonRole.MEMBER, "console")
    assert offer.person
    await store.people.withdraw_invitation(offer.person.id, "console")
    with pytest.raises(LinkSpent):
        await store.people.join(offer.link.token, "Ann", PASSWORD)
    assert await store.people.list() == ()


@pytest.mark.parametrize(
    "email", ["", "ann", "@", "ann@", "@example.org", "a n@example.org", "ann@exa\nmple.org", "a" * 300 + "@x"]
)
async def test_what_is_no_address_is_refused(store: Store, email: str) -> None:
    with pytest.raises(InvalidField):
        await store.people.invite(email, "Ann", PersonRole.MEMBER, "console")


@pytest.mark.parametrize(
    "password", ["", "short", "x" * 11, "x" * 300, "aaaaaaaaaaaaaaaa", "ann@example.org", "pass\ud800word word"]
)
async def test_a_password_that_is_too_easy_is_refused_and_the_link_stays(store: Store, password: str) -> None:
    offer = await store.people.invite("ann@example.org", "Ann", PersonRole.MEMBER, "console")
    with pytest.raises(InvalidField):
        await store.people.join(offer.link.token, "Ann", password)
    assert (await store.people.join(offer.link.token, "Ann", PASSWORD)).state is PersonState.ACTIVE


# --- proving ----------------------------------------------------------------------------------------------------------


async def test_only_the_right_password_of_an_active_person_is_right(store: Store) -> None:
    person = await member(store)
    await store.people.invite("bea@example.org", "Bea", PersonRole.MEMBER, "console")
    assert await store.people.check_password("ann@example.org", PASSWORD) == person
    for email, password in (("ann@example.org", PASSWORD + "x"), ("bea@example.org", ""), ("eve@example.org", PASSWORD), ("", "")):
        assert await store.people.check_password(email, password) is None
    await store.people.change(person.id, PersonEdit(state=PersonState.DISABLED), "console")
    assert await store.people.check_password("ann@example.org", PASSWORD) is None


@pytest.mark.slow
async def test_passwords_are_made_as_rfc_9106_says_and_again_when_that_changes(store: Store) -> None:
    person = await member(store)
    store.people._passwords = real = Passwords()
    assert await store.people.check_password("ann@example.org", PASSWORD)

    def read(db: Database) -> str:
        return str(next(iter(db.query("SELECT password FROM people WHERE id = ?", (person.id,))))["password"])

    stored = await store.people._writer.run(read)
    assert extract_parameters(stored) == RFC_9106_LOW_MEMORY
    assert await store.people.check_password("ann@example.org", PASSWORD)
    assert await store.people._writer.run(read) == stored
    real.close()


@pytest.mark.slow
async def test_fifty_at_once_take_the_memory_of_two() -> None:
    passwords = Passwords()
    stored = await passwords.hash(PASSWORD)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers = await asyncio.gather(*(passwords.verify(stored, PASSWORD if n % 2 else "wrong") for n in range(50)))
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    passwords.close()
    assert answers == [bool(n % 2) for n in range(50)]
    assert grown_mib < AT_ONCE * 64 + 32
    print(f"50 checks at once: {grown_mib:.0f} MiB more")


@pytest.mark.slow
async def test_an_unknown_name_takes_as_long_as_a_wrong_password() -> None:
    passwords = Passwords()
    stored = await passwords.hash(PASSWORD)
    await passwords.verify(None, "x")
    times_s: dict[str | None, list[float]] = {stored: [], None: []}
    for _ in range(2):
        for known, times in times_s.items():
            begun = time.perf_counter()
            assert not await passwords.verify(known, "wrong")
            times.append(time.perf_counter() - begun)
    passwords.close()
    assert min(times_s[None]) > 0.4 * min(times_s[stored])


# --- changing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["password", "reset", "role", "state", "second factor"])
async def test_every_change_of_rights_or_secrets_ends_all_sessions(store: Store, what: str) -> None:
    """TRAPS 26."""
    await admin(store)
    person = await member(store)
    _, secret = await opened(store, person)
    people = store.people
    assert await is_alive(store, secret)
    match what:
        case "password":
            await people.change_password(person.id, "another good secret")
        case "reset":
            await people.reset_password((await people.offer_reset(person.id, "console")).link.token, "another good secret")
        case "role":
            await people.change(person.id, PersonEdit(role=PersonRole.ADMIN), "console")
        case "state":
            await people.change(person.id, PersonEdit(state=PersonState.DISABLED), "console")
            await people.change(person.id, PersonEdit(state=PersonState.ACTIVE), "console")
        case "second factor":
            secret_of_app = await store.second_factors.begin(person.id)
            await store.second_factors.confirm(person.id, pyotp.TOTP(secret_of_app).now())
    assert not await is_alive(store, secret)


async def test_the_last_administrator_with_a_password_is_kept(store: Store) -> None:
    root = await admin(store)
    await store.people.find_or_create_external(Known(is_admin=True))
    for edit in (PersonEdit(role=PersonRole.MEMBER), PersonEdit(state=PersonState.DISABLED)):
        with pytest.raises(LastAdministrator):
            await store.people.change(root.id, edit, root.id)
    with pytest.raises(LastAdministrator):
        await store.people.erase(root.id, root.id)
    assert (await store.people.get(root.id)) == root
    second = await admin(store, "second@example.org")
    assert await store.people.erase(root.id, second.id)


async def test_whether_somebody_may_be_erased_is_known_before(store: Store) -> None:
    root, person = await admin(store), await member(store)
    with pytest.raises(LastAdministrator):
        await store.people.check_erasable(root.id)
    with pytest.raises(NotFound):
        await store.people.check_erasable("person_00")
    await store.people.check_erasable(person.id)
    await admin(store, "second@example.org")
    await store.people.check_erasable(root.id)


@pytest.mark.parametrize("arrival", ["directory", "directory later", "role", "resumed", "invitation"])
async def test_the_set_up_link_ends_as_soon_as_anybody_administers(store: Store, arrival: str) -> None:
    people = store.people
    person = await people.find_or_create_external(Known(subject="2", is_admin=arrival == "resumed"))
    if arrival == "resumed":
        await people.change(person.id, PersonEdit(state=PersonState.DISABLED), "console")
    invited = await people.invite("root@example.org", "Root", PersonRole.ADMIN, "console")
    token = (await people.offer_setup("system")).token
    match arrival:
        case "directory":
            await people.find_or_create_external(Known(subject="3", is_admin=True))
        case "directory later":
            await people.find_or_create_external(Known(subject="2", is_admin=True))
        case "role":
            await people.change(person.id, PersonEdit(role=PersonRole.ADMIN), "console")
        case "resumed":
            await people.change(person.id, PersonEdit(state=PersonState.ACTIVE), "console")
        case "invitation":
            await people.join(invited.link.token, "Root", PASSWORD)
    with pytest.raises(LinkSpent):
        await people.set_up(token, "Eve", "eve@example.org", PASSWORD)


async def test_a_member_who_comes_leaves_the_set_up_link_alone_and_the_console_makes_another_at_any_time(store: Store) -> None:
    token = (await store.people.offer_setup("system")).token
    await store.people.find_or_create_external(Known())
    await store.people.set_up(token, "Root", "root@example.org", PASSWORD)
    again = (await store.people.offer_setup("console")).token
    await store.people.set_up(again, "Second", "second@example.org", PASSWORD)


async def test_a_new_password_by_link_ends_the_keys_and_one_of_their_own_choice_does_not(store: Store) -> None:
    """Whoever needs a link may have lost the account to somebody who made keys in it."""
    person, other = await member(store), await member(store, "other@example.org")
    keys = [await store.keys.create("k", (Scope.READ,), None, each.id) for each in (person, person, other)]
    await store.people.change_password(person.id, "another good secret")
    assert all([await store.keys.authenticate(secret) for _, secret in keys])
    await store.people.reset_password((await store.people.offer_reset(person.id, "console")).link.token, "a third good secret")
    assert [bool(await store.keys.authenticate(secret)) for _, secret in keys] == [False, False, True]
    revoked = [entry for entry in await store.audit.page() if entry.event == "key.revoked"]
    assert {(entry.actor, entry.subject) for entry in revoked} == {(person.id, key.id) for key, _ in keys[:2]}
    assert {str(entry.facts["reason"]) for entry in revoked} == {"password"}


async def test_a_new_name_stands_in_the_audit_log_without_the_name(store: Store) -> None:
    person, known = await member(store), await store.people.find_or_create_external(Known())
    await store.people.change(person.id, PersonEdit(name="Bea"), "console")
    await store.people.change(person.id, PersonEdit(name="Bea"), "console")  # changes nothing
    await store.people.find_or_create_external(Known(name="Ann Other"))
    changed = [entry for entry in await store.audit.page() if entry.event == "person.changed"]
    assert [(entry.actor, entry.subject, entry.facts) for entry in changed] == [
        ("console", person.id, {"name": True}),
        ("system", known.id, {"name": True}),
    ]


async def test_a_disabled_persons_keys_are_dead_and_come_back_with_them(store: Store) -> None:
    person = await member(store)
    key, secret = await store.keys.create("laptop", (Scope.READ,), None, person.id)
    assert (await store.keys.authenticate(secret)) is not None
    await store.people.change(person.id, PersonEdit(state=PersonState.DISABLED), "console")
    assert await store.keys.authenticate(secret) is None
    assert await store.people.standing(person.id) is None
    await store.people.change(person.id, PersonEdit(state=PersonState.ACTIVE), "console")
    found = await store.keys.authenticate(secret)
    assert found
    assert found.id == key.id


async def test_an_erased_person_takes_their_own_along_and_nobody_elses(store: Store, path: Path) -> None:
    await admin(store)
    person = await member(store)
    _, secret = await store.keys.create("laptop", (Scope.READ,), None, person.id)
    mine = await save(store, ["quetzalcoatl"], new_transcript(owner=person.id))
    other = await save(store, ["kept"], new_transcript(owner="key_a"))
    assert await store.people.erase(person.id, "console")
    with pytest.raises(NotFound):
        await store.transcripts.get(mine.id, UNLIMITED)
    with pytest.raises(NotFound):
        await store.people.get(person.id)
    assert await store.keys.authenticate(secret) is None
    assert await store.transcripts.get(other.id, own_reach("key_a")) == other
    files = b"".join(raw_bytes(path).values())
    assert b"quetzalcoatl" not in files
    assert b"ann@example.org" not in files


# --- second factors ---------------------------------------------------------------------------------------------------


async def test_a_code_works_once_and_an_older_one_never(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    person = await member(store)
    totp = pyotp.TOTP(await store.second_factors.begin(person.id))
    at = 1_800_000_000
    monkeypatch.setattr("appliance.store.second_factors.time.time", lambda: at)
    assert not await store.second_factors.check(person.id, totp.at(at)), "it was not confirmed yet"
    with pytest.raises(WrongCredentials):
        await store.second_factors.confirm(person.id, totp.at(at - 3600))
    await store.second_factors.confirm(person.id, totp.at(at))
    assert not await store.second_factors.check(person.id, totp.at(at)), "the code that confirmed it"
    assert not await store.second_factors.check(person.id, totp.at(at - 30)), "an older one"
    assert await store.second_factors.check(person.id, totp.at(at + 30)), "a clock that is ahead by one step"
    assert not await store.second_factors.check(person.id, totp.at(at + 90)), "too far ahead"
    at += 60
    assert await store.second_factors.check(person.id, f" {totp.at(at)[:3]} {totp.at(at)[3:]} ")


async def test_two_at_once_with_one_code_are_one(store: Store) -> None:
    person = await member(store)
    totp = pyotp.TOTP(await store.second_factors.begin(person.id))
    codes = await store.second_factors.confirm(person.id, totp.now())
    for code in (codes[0], totp.at(time.time() + 30)):
        answers = await asyncio.gather(*(store.second_factors.check(person.id, code) for _ in range(8)))
        assert sum(answers) == 1


async def test_recovery_codes_work_once_however_they_are_typed_and_new_ones_end_them(store: Store) -> None:
    person = await member(store)
    codes = await store.second_factors.confirm(person.id, pyotp.TOTP(await store.second_factors.begin(person.id)).now())
    assert await store.second_factors.check(person.id, f" {codes[0].upper().replace('-', ' ')} ")
    assert not await store.second_factors.check(person.id, codes[0])
    new = await store.second_factors.renew_recovery_codes(person.id)
    assert not await store.second_factors.check(person.id, codes[1])
    assert await store.second_factors.check(person.id, new[1])
    await store.second_factors.remove(person.id, "console")
    assert not (await store.people.get(person.id)).has_second_factor


async def test_the_secret_of_a_second_factor_is_sealed_with_a_key_outside_the_database(store: Store, path: Path) -> None:
    person = await member(store)
    secret = await store.second_factors.begin(person.id)
    await store.second_factors.confirm(person.id, pyotp.TOTP(secret).now())
    files = {name: data for name, data in raw_bytes(path).items() if name.startswith(path.name)}
    assert not any(secret.encode() in data for data in files.values())
    key_file = path.with_name("people.key")
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    key_file.write_bytes(bytes(32))
    other = await Store.open(path)
    with pytest.raises(SealBroken):
        await other.second_factors.check(person.id, "123456")
    await other.close()


# --- people of a directory --------------------------------------------------------------------------------------------


async def test_an_account_elsewhere_is_one_person_and_never_takes_over_one_of_here(store: Store) -> None:
    local = await member(store, "ann@example.org")
    first = await store.people.find_or_create_external(Known())
    assert first.id != local.id
    assert (first.provider, first.has_password) == ("ldap", False)
    assert (await store.people.find_or_create_external(Known(name="Ann B", email="new@example.org"))).id == first.id
    assert (await store.people.get(first.id)).name == "Ann B"
    assert (await store.people.find_or_create_external(Known(subject="2"))).id != first.id
    assert (await store.people.find_or_create_external(Known(provider="https://id"))).id != first.id
    found = await store.people.check_password("ann@example.org", PASSWORD)
    assert found
    assert found.id == local.id


async def test_the_role_follows_the_directory(store: Store) -> None:
    person = await store.people.find_or_create_external(Known())
    _, secret = await opened(store, person)
    assert (await store.people.find_or_create_external(Known(is_admin=True))).role is PersonRole.ADMIN
    assert not await is_alive(store, secret)
    assert (await store.people.find_or_create_external(Known())).role is PersonRole.MEMBER


async def test_who_was_disabled_here_stays_so(store: Store) -> None:
    person = await store.people.find_or_create_external(Known())
    await store.people.change(person.id, PersonEdit(state=PersonState.DISABLED), "console")
    assert (await store.people.find_or_create_external(Known())).state is PersonState.DISABLED
    with pytest.raises(NotFound):
        await opened(store, person)
