"""People: how they come to be, prove who they are, change, and go. Each change and its audit entry are one transaction.

Second factors are left to `second_factors`, open sessions to `sessions`, limits on guessing to `api/throttle.py`.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from msgspec import UNSET, UnsetType
from sqlite_utils import Database

from appliance.domain import Value
from appliance.errors import AlreadyAccepted, EmailTaken, InvalidField, LastAdministrator, LinkSpent, NotFound
from appliance.store.audit import append_audit
from appliance.store.database import first, rows
from appliance.store.erasure import Erasures
from appliance.store.keys import revoke_keys_of
from appliance.store.links import Link, Purpose, offer_link, read_link, spend_link, withdraw_links
from appliance.store.passwords import Passwords, check_new_password
from appliance.store.rows import Row, now, time_text
from appliance.store.sessions import end_sessions
from appliance.store.standing import SELECT_PEOPLE, Person, PersonRole, PersonState, Standing, read_person, read_standing
from appliance.store.threads import Readers, Writer

MAX_NAME_CHARS: Final = 200
MAX_EMAIL_CHARS: Final = 254
LOCAL: Final = "password IS NOT NULL"  # SQL: signs in here, whatever becomes of a directory
NOBODY: Final = "nobody"  # the actor of what needs no account yet
AUDIT_ROLES: Final = {PersonRole.ADMIN: "administrator", PersonRole.MEMBER: "member"}


class PersonEdit(Value, frozen=True):
    """A field that is left out stays as it is."""

    name: str | UnsetType = UNSET
    role: PersonRole | UnsetType = UNSET
    state: PersonState | UnsetType = UNSET  # active or disabled


class Offer(Value, frozen=True):
    """What a one-time link is for, and for whom."""

    link: Link
    person: Person | None  # none for setup


class KnownElsewhere(Protocol):
    """What a directory says of somebody it vouches for; `provider` and `subject` alone are the identity."""

    @property
    def provider(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def email(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def is_admin(self) -> bool: ...


class People:
    """`actor` is the owner id of whoever does it, or `console`; it stands in the audit log."""

    def __init__(self, writer: Writer, readers: Readers, passwords: Passwords, erasures: Erasures) -> None:
        self._writer = writer
        self._readers = readers
        self._passwords = passwords
        self._erasures = erasures

    # --- looking ------------------------------------------------------------------------------------------------------

    async def list(self) -> tuple[Person, ...]:
        found = await self._readers.run(lambda db: rows(db, f"{SELECT_PEOPLE} ORDER BY created_at, id"))
        return tuple(map(read_person, found))

    async def get(self, person_id: str) -> Person:
        """Raises `NotFound`."""
        return await self._readers.run(lambda db: _get(db, person_id))

    async def find(self, email: str) -> Person:
        """By the address they sign in with, or the only one of a directory who has it. Raises `NotFound`."""
        return await self._readers.run(lambda db: _find(db, email))

    async def standing(self, person_id: str) -> Standing | None:
        """None unless the person is active."""
        return await self._readers.run(lambda db: read_standing(db, person_id))

    async def count_active(self) -> int:
        """Seats taken."""
        [found] = await self._readers.run(lambda db: rows(db, "SELECT count(*) AS n FROM people WHERE state = 'active'"))
        return int(found["n"])

    async def needs_setup(self) -> bool:
        """There is no administrator who could sign in."""
        return await self._readers.run(lambda db: _count_administrators(db, "TRUE") == 0)

    async def look_up(self, token: str) -> Offer:
        """What a link is for; it stays usable. Raises `LinkSpent`."""
        return await self._readers.run(lambda db: _look_up(db, token))

    # --- joining ------------------------------------------------------------------------------------------------------

    async def offer_setup(self, actor: str) -> Link:
        """A link that makes an administrator. An earlier one ends."""

        def work(db: Database) -> Link:
            append_audit(db, "setup.offered", actor)
            return offer_link(db, Purpose.SETUP)

        return await self._writer.run(work)

    async def set_up(self, token: str, name: str, email: str, password: str) -> Person:
        """An administrator who is active at once. Raises `LinkSpent`, `InvalidField`, `EmailTaken`."""
        await self.look_up(token)  # before a password is hashed for nothing
        check_new_password(password, name, email)
        person = _new_person(name, email, PersonRole.ADMIN, PersonState.ACTIVE)
        hashed = await self._passwords.hash(password)

        def work(db: Database) -> Person:
            spend_link(db, token, Purpose.SETUP)
            _insert(db, person, login=fold_email(email), password=hashed)
            append_audit(db, "setup.done", NOBODY, person.id, method="setup")
            return _get(db, person.id)

        return await self._writer.run(work)

    async def invite(self, email: str, name: str, role: PersonRole, actor: str) -> Offer:
        """Somebody invited again gets a new link. Raises `InvalidField`, `EmailTaken`."""
        person = _new_person(name, email, role, PersonState.INVITED)

        def work(db: Database) -> Offer:
            known = first(db, f"{SELECT_PEOPLE} WHERE login = ?", (fold_email(email),))
            if known is not None and known["state"] != PersonState.INVITED:
                raise EmailTaken
            if known is None:
                _insert(db, person, login=fold_email(email))
            else:
                db.conn.execute("UPDATE people SET name = ?, role = ? WHERE id = ?", (person.name, role, known["id"]))
            person_id = person.id if known is None else known["id"]
            append_audit(db, "person.invited", actor, person_id, role=AUDIT_ROLES[role])
            return Offer(offer_link(db, Purpose.INVITATION, person_id), _get(db, person_id))

        return await self._writer.run(work)

    async def join(self, token: str, name: str, password: str) -> Person:
        """An invitation is accepted. Raises `LinkSpent`, `InvalidField`."""
        offer = await self.look_up(token)
        name = _checked_name(name)
        check_new_password(password, name, offer.person.email if offer.person else "")
        hashed = await self._passwords.hash(password)

        def work(db: Database) -> Person:
            person_id = spend_link(db, token, Purpose.INVITATION).person_id or ""
            update = "UPDATE people SET name = ?, password = ?, state = 'active' WHERE id = ? AND state = 'invited'"
            if not db.conn.execute(update, (name, hashed, person_id)).rowcount:
                raise LinkSpent
            append_audit(db, "person.joined", person_id, person_id, method="invitation")
            _close_setup(db, person_id)
            return _get(db, person_id)

        return await self._writer.run(work)

    async def find_or_create_external(self, identity: KnownElsewhere) -> Person:
        """The person of an account elsewhere; the first time, a new one, never one who is here already.

        Name, address and role follow the directory. Whether the person may sign in is for the session to say.
        """
        return await self._writer.run(lambda db: _follow_directory(db, identity))

    async def knows(self, identity: KnownElsewhere) -> bool:
        """Whether `find_or_create_external` would find somebody."""
        sought = "SELECT 1 FROM identities WHERE provider = ? AND subject = ?"
        return await self._readers.run(lambda db: first(db, sought, (identity.provider, identity.subject)) is not None)

    # --- proving ------------------------------------------------------------------------------------------------------

    async def check_password(self, email: str, password: str) -> Person | None:
        """None when there is no such active person or the password is another one, after the same time."""
        found = await self._readers.run(
            lambda db: first(db, f"{SELECT_PEOPLE} WHERE login = ? AND state = 'active'", (fold_email(email),))
        )
        return await self._checked(found, password)

    async def check_own_password(self, person_id: str, password: str) -> bool:
        found = await self._readers.run(lambda db: first(db, f"{SELECT_PEOPLE} WHERE id = ?", (person_id,)))
        return await self._checked(found, password) is not None

    async def _checked(self, found: Row | None, password: str) -> Person | None:
        stored: str | None = None if found is None else found["password"]
        if not await self._passwords.verify(stored, password) or found is None or stored is None:
            return None
        if self._passwords.is_outdated(stored):
            await self._rehash(found["id"], stored, password)
        return read_person(found)

    async def _rehash(self, person_id: str, stored: str, password: str) -> None:
        hashed = await self._passwords.hash(password)
        update = "UPDATE people SET password = ? WHERE id = ? AND password = ?"
        self._writer.post(lambda db: db.conn.execute(update, (hashed, person_id, stored)))

    # --- changing -----------------------------------------------------------------------------------------------------

    async def change_password(self, person_id: str, password: str) -> None:
        """Their sessions end. Raises `InvalidField`, `NotFound`."""
        person = await self.get(person_id)
        check_new_password(password, person.name, person.email)
        hashed = await self._passwords.hash(password)
        await self._writer.run(lambda db: _set_password(db, person_id, hashed, "password"))

    async def offer_reset(self, person_id: str, actor: str) -> Offer:
        """A link for a new password; the old one stays until it is used. Raises `NotFound`, `InvalidField`."""

        def work(db: Database) -> Offer:
            person = _get(db, person_id)
            if person.provider is not None or person.state is PersonState.INVITED:
                raise InvalidField(
                    "person", "has no password here", "A directory knows it, or the invitation was not accepted yet."
                )
            append_audit(db, "person.changed", actor, person_id, method="link")
            return Offer(offer_link(db, Purpose.PASSWORD, person_id), person)

        return await self._writer.run(work)

    async def reset_password(self, token: str, password: str) -> None:
        """By a link; their sessions and keys end: somebody else may have had the account. Raises `LinkSpent`, `InvalidField`."""
        offer = await self.look_up(token)
        check_new_password(password, *((offer.person.name, offer.person.email) if offer.person else ()))
        hashed = await self._passwords.hash(password)

        def work(db: Database) -> None:
            person_id = spend_link(db, token, Purpose.PASSWORD).person_id or ""
            _set_password(db, person_id, hashed, "link")
            for key_id in revoke_keys_of(db, person_id):
                append_audit(db, "key.revoked", person_id, key_id, reason="password")

        await self._writer.run(work)

    async def change(self, person_id: str, edit: PersonEdit, actor: str) -> Person:
        """A new role or state ends their sessions. Raises `NotFound`, `LastAdministrator`, `InvalidField`."""

        def work(db: Database) -> Person:
            with _ensuring_administrator(db):
                _change(db, _get(db, person_id), edit, actor)
            return _get(db, person_id)

        return await self._writer.run(work)

    async def check_erasable(self, person_id: str) -> None:
        """Before anything of theirs is stopped. Raises `NotFound`, `LastAdministrator`."""

        def look(db: Database) -> None:
            _get(db, person_id)
            if _count_administrators(db) and not _count_administrators(db, f"{LOCAL} AND id IS NOT ?", person_id):
                raise LastAdministrator

        await self._readers.run(look)

    async def erase(self, person_id: str, actor: str) -> bool:
        """With keys, sessions, memberships and their own transcripts; the answer is that of `Erasures`.

        Running jobs of theirs must have been cancelled, after `check_erasable`. Raises `NotFound`, `LastAdministrator`.
        """

        def mark(db: Database) -> None:
            with _ensuring_administrator(db):
                _get(db, person_id)
                self._erasures.mark_owner(db, person_id, actor, "account")
                db.conn.execute("DELETE FROM people WHERE id = ?", (person_id,))
                append_audit(db, "person.erased", actor, person_id)

        return await self._erasures.erase_marked(mark)

    async def withdraw_invitation(self, person_id: str, actor: str) -> None:
        """Raises `NotFound`, `AlreadyAccepted`."""

        def work(db: Database) -> None:
            if _get(db, person_id).state is not PersonState.INVITED:
                raise AlreadyAccepted
            db.conn.execute("DELETE FROM people WHERE id = ?", (person_id,))
            append_audit(db, "person.erased", actor, person_id, method="invitation")

        await self._writer.run(work)


def fold_email(email: str) -> str:
    """As addresses are compared: without regard to case and to how characters are composed."""
    return unicodedata.normalize("NFKC", email.strip()).casefold().encode(errors="replace").decode()


def _new_person(name: str, email: str, role: PersonRole, state: PersonState) -> Person:
    """Raises `InvalidField`."""
    return Person(f"person_{secrets.token_hex(8)}", _checked_name(name), _checked_email(email), role, state, now())


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise InvalidField("name", f"must be 1 to {MAX_NAME_CHARS} characters of text")
    return name


def _checked_email(email: str) -> str:
    email = email.strip()
    local, _, host = email.rpartition("@")
    if not local or not host or len(email) > MAX_EMAIL_CHARS or not email.isprintable() or " " in email:
        raise InvalidField("email", "is not an e-mail address", "It is the name to sign in with; no mail is sent to it.")
    return email


def _insert(db: Database, person: Person, login: str | None, password: str | None = None) -> None:
    if login is not None and first(db, "SELECT id FROM people WHERE login = ?", (login,)) is not None:
        raise EmailTaken
    db.conn.execute(
        "INSERT INTO people (id, name, email, login, role, state, password, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (person.id, person.name, person.email, login, person.role, person.state, password, time_text(person.created_at)),
    )


def _get(db: Database, person_id: str) -> Person:
    found = first(db, f"{SELECT_PEOPLE} WHERE people.id = ?", (person_id.encode(errors="replace").decode(),))
    if found is None:
        raise NotFound("person with that id")
    return read_person(found)


def _find(db: Database, email: str) -> Person:
    found = rows(db, f"{SELECT_PEOPLE} WHERE login = ?", (fold_email(email),))
    found = found or [
        row for row in rows(db, f"{SELECT_PEOPLE} WHERE login IS NULL") if fold_email(row["email"]) == fold_email(email)
    ]
    if len(found) != 1 or not email.strip():
        raise NotFound("one person with that e-mail address")
    return read_person(found[0])


def _look_up(db: Database, token: str) -> Offer:
    link = read_link(db, token)
    return Offer(link, None if link.person_id is None else _get(db, link.person_id))


def _set_password(db: Database, person_id: str, hashed: str, method: str) -> None:
    db.conn.execute("UPDATE people SET password = ? WHERE id = ?", (hashed, person_id))
    withdraw_links(db, Purpose.PASSWORD, person_id)
    end_sessions(db, person_id)
    append_audit(db, "person.password_changed", person_id, person_id, method=method)


def _change(db: Database, person: Person, edit: PersonEdit, actor: str) -> None:
    if edit.name is not UNSET and (name := _checked_name(edit.name)) != person.name:
        db.conn.execute("UPDATE people SET name = ? WHERE id = ?", (name, person.id))
        append_audit(db, "person.changed", actor, person.id, name=True)
    if edit.role not in (UNSET, person.role):
        db.conn.execute("UPDATE people SET role = ? WHERE id = ?", (edit.role, person.id))
        end_sessions(db, person.id)
        append_audit(db, "person.changed", actor, person.id, role=AUDIT_ROLES[PersonRole(edit.role)])
        _close_setup(db, person.id)
    if edit.state not in (UNSET, person.state):
        _set_state(db, person, PersonState(edit.state), actor)


def _set_state(db: Database, person: Person, state: PersonState, actor: str) -> None:
    if PersonState.INVITED in (state, person.state):
        raise InvalidField("state", "is 'invited' until the person accepts", "Withdraw the invitation, or wait.")
    db.conn.execute("UPDATE people SET state = ? WHERE id = ?", (state, person.id))
    end_sessions(db, person.id)
    append_audit(db, "person.suspended" if state is PersonState.DISABLED else "person.resumed", actor, person.id)
    _close_setup(db, person.id)


def _close_setup(db: Database, person_id: str) -> None:
    """Once somebody administers, a link that waits for the first administrator is a way in that nobody thinks of."""
    if first(db, "SELECT 1 FROM people WHERE id = ? AND role = 'admin' AND state = 'active'", (person_id,)) is not None:
        withdraw_links(db, Purpose.SETUP, None)


# --- people of a directory --------------------------------------------------------------------------------------------


def _follow_directory(db: Database, identity: KnownElsewhere) -> Person:
    known = first(db, "SELECT person_id FROM identities WHERE provider = ? AND subject = ?", (identity.provider, identity.subject))
    name = " ".join(identity.name.split())[:MAX_NAME_CHARS] or identity.email or "somebody"
    role = PersonRole.ADMIN if identity.is_admin else PersonRole.MEMBER
    if known is None:
        person = Person(f"person_{secrets.token_hex(8)}", name, identity.email, role, PersonState.ACTIVE, now())
        _insert(db, person, login=None)
        db.conn.execute("INSERT INTO identities VALUES (?, ?, ?)", (identity.provider, identity.subject, person.id))
        append_audit(db, "person.joined", person.id, person.id, role=AUDIT_ROLES[role])
        _close_setup(db, person.id)
        return _get(db, person.id)
    person = _get(db, known["person_id"])
    db.conn.execute("UPDATE people SET name = ?, email = ? WHERE id = ?", (name, identity.email, person.id))
    if name != person.name:
        append_audit(db, "person.changed", "system", person.id, name=True)
    _change(db, person, PersonEdit(role=role), "system")
    return _get(db, person.id)


# --- the last administrator -------------------------------------------------------------------------------------------


@contextmanager
def _ensuring_administrator(db: Database) -> Iterator[None]:
    """Refuses a change that leaves nobody who can sign in here, with a password, and manage people."""
    before = _count_administrators(db)
    yield
    if before and not _count_administrators(db):
        raise LastAdministrator


def _count_administrators(db: Database, also: str = LOCAL, *parameters: object) -> int:
    counted = f"SELECT count(*) AS n FROM people WHERE role = 'admin' AND state = 'active' AND {also}"  # noqa: S608
    [found] = rows(db, counted, parameters)
    return int(found["n"])
