"""Workspaces: transcripts that belong to a team. Who is a member as what is kept here; what that allows stands in `standing`.

Owners choose the members. An administrator may do so only where no owner is left, and never for themselves: managing people
must not become a way to read what they said.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from sqlite_utils import Database

from appliance.domain import Value
from appliance.errors import InvalidField, LastOwner, NotFound, RoleTooLow
from appliance.store.audit import append_audit
from appliance.store.database import first, rows
from appliance.store.erasure import Erasures
from appliance.store.rows import Row, now, time_text
from appliance.store.standing import MemberRole, PersonState
from appliance.store.threads import Readers, Writer

MAX_NAME_CHARS: Final = 200


class Workspace(Value, frozen=True):
    id: str
    name: str
    created_at: datetime
    role: MemberRole | None  # of whoever asks; None: an administrator who is no member
    members: int


class Member(Value, frozen=True):
    person_id: str
    name: str
    email: str
    role: MemberRole
    state: PersonState
    added_at: datetime


class Asker(Value, frozen=True):
    """Whoever wants something of a workspace. An administrator sees names and members of all, and no transcript of any."""

    id: str
    is_admin: bool


class Workspaces:
    """Every method raises `NotFound` to who is neither a member nor an administrator."""

    def __init__(self, writer: Writer, readers: Readers, erasures: Erasures) -> None:
        self._writer = writer
        self._readers = readers
        self._erasures = erasures

    async def list(self, asker: Asker) -> tuple[Workspace, ...]:
        """Those of the person, and all for an administrator; by name."""
        found = await self._readers.run(lambda db: rows(db, f"{_SELECT} WHERE {_SEEN} ORDER BY name, id", _seen(asker)))
        return tuple(map(_read, found))

    async def get(self, workspace_id: str, asker: Asker) -> Workspace:
        return await self._readers.run(lambda db: _get(db, workspace_id, asker))

    async def members(self, workspace_id: str, asker: Asker) -> tuple[Member, ...]:
        """The first who came first."""

        def fetch(db: Database) -> list[Row]:
            _get(db, workspace_id, asker)
            return rows(db, f"{_SELECT_MEMBERS} ORDER BY added_at, person_id", (workspace_id,))

        return tuple(map(_read_member, await self._readers.run(fetch)))

    async def create(self, name: str, person_id: str) -> Workspace:
        """The person is its owner. Raises `InvalidField`."""
        workspace_id, name = f"workspace_{secrets.token_hex(8)}", _checked_name(name)

        def work(db: Database) -> Workspace:
            db.conn.execute("INSERT INTO workspaces VALUES (?, ?, ?)", (workspace_id, name, time_text(now())))
            _put_member(db, workspace_id, person_id, MemberRole.OWNER)
            append_audit(db, "workspace.created", person_id, workspace_id)
            return _get(db, workspace_id, Asker(person_id, is_admin=False))

        return await self._writer.run(work)

    async def rename(self, workspace_id: str, name: str, asker: Asker) -> Workspace:
        """By an owner. Raises `RoleTooLow`, `InvalidField`."""
        name = _checked_name(name)

        def work(db: Database) -> Workspace:
            _ensure_owner(db, workspace_id, asker)
            db.conn.execute("UPDATE workspaces SET name = ? WHERE id = ?", (name, workspace_id))
            append_audit(db, "workspace.changed", asker.id, workspace_id)
            return _get(db, workspace_id, asker)

        return await self._writer.run(work)

    async def put_member(self, workspace_id: str, person_id: str, role: MemberRole, asker: Asker) -> Member:
        """Adds somebody, or changes their role. By an owner. Raises `RoleTooLow`, `LastOwner`."""

        def work(db: Database) -> Member:
            _ensure_may_choose(db, workspace_id, person_id, asker)
            if first(db, "SELECT id FROM people WHERE id = ?", (person_id,)) is None:
                raise NotFound("person with that id")
            is_new = _find_member(db, workspace_id, person_id) is None
            with _ensuring_owner(db, workspace_id):
                _put_member(db, workspace_id, person_id, role)
            event = "member.added" if is_new else "member.changed"
            append_audit(db, event, asker.id, workspace_id, person=person_id, role=role.value)
            return _read_member(_find_member(db, workspace_id, person_id) or {})

        return await self._writer.run(work)

    async def remove_member(self, workspace_id: str, person_id: str, asker: Asker) -> None:
        """By an owner; anybody may leave. What they sent to it stays. Raises `RoleTooLow`, `LastOwner`, `NotFound`."""

        def work(db: Database) -> None:
            if person_id != asker.id:
                _ensure_may_choose(db, workspace_id, person_id, asker)
            _get(db, workspace_id, asker)
            with _ensuring_owner(db, workspace_id):
                delete = "DELETE FROM members WHERE workspace_id = ? AND person_id = ?"
                if not db.conn.execute(delete, (workspace_id, person_id)).rowcount:
                    raise NotFound("member with that id")
            append_audit(db, "member.removed", asker.id, workspace_id, person=person_id)

        await self._writer.run(work)

    async def ensure_erasable(self, workspace_id: str, asker: Asker) -> None:
        """For an owner or an administrator. Raises `RoleTooLow`."""
        await self._readers.run(lambda db: _ensure_owner(db, workspace_id, asker, or_admin=True))

    async def erase(self, workspace_id: str, asker: Asker) -> bool:
        """With its transcripts, by an owner or an administrator; the answer is that of `Erasures`. Raises `RoleTooLow`.

        Running jobs of it must have been cancelled.
        """

        def mark(db: Database) -> None:
            _ensure_owner(db, workspace_id, asker, or_admin=True)
            self._erasures.mark_owner(db, workspace_id, asker.id, "workspace")
            db.conn.execute("DELETE FROM workspaces WHERE id = ?", (workspace_id,))
            append_audit(db, "workspace.erased", asker.id, workspace_id)

        return await self._erasures.erase_marked(mark)


_SELECT: Final = (
    "SELECT workspaces.*, (SELECT role FROM members WHERE workspace_id = workspaces.id AND person_id = ?1) AS role, "
    "(SELECT count(*) FROM members WHERE workspace_id = workspaces.id) AS members FROM workspaces"
)
_SEEN: Final = "(?2 OR id IN (SELECT workspace_id FROM members WHERE person_id = ?1))"
_SELECT_MEMBERS: Final = (
    "SELECT members.*, people.name, people.email, people.state "
    "FROM members JOIN people ON people.id = person_id WHERE workspace_id = ?"
)


def _seen(asker: Asker) -> tuple[str, bool]:
    return asker.id, asker.is_admin


def _get(db: Database, workspace_id: str, asker: Asker) -> Workspace:
    plain = workspace_id.encode(errors="replace").decode()
    found = first(db, f"{_SELECT} WHERE id = ?3 AND {_SEEN}", (*_seen(asker), plain))
    if found is None:
        raise NotFound("workspace of yours with that id")
    return _read(found)


def _ensure_owner(db: Database, workspace_id: str, asker: Asker, *, or_admin: bool = False) -> None:
    role = _get(db, workspace_id, asker).role
    if role is not MemberRole.OWNER and not (or_admin and asker.is_admin):
        raise RoleTooLow


def _ensure_may_choose(db: Database, workspace_id: str, person_id: str, asker: Asker) -> None:
    is_member = _get(db, workspace_id, asker).role is not None
    rescues = asker.is_admin and not is_member and person_id != asker.id and not _count_owners(db, workspace_id)
    if not rescues:
        _ensure_owner(db, workspace_id, asker)


@contextmanager
def _ensuring_owner(db: Database, workspace_id: str) -> Iterator[None]:
    before = _count_owners(db, workspace_id)
    yield
    if before and not _count_owners(db, workspace_id):
        raise LastOwner


def _count_owners(db: Database, workspace_id: str) -> int:
    count = "SELECT count(*) AS n FROM members WHERE workspace_id = ? AND role = 'owner'"
    return int(rows(db, count, (workspace_id,))[0]["n"])


def _find_member(db: Database, workspace_id: str, person_id: str) -> Row | None:
    return first(db, f"{_SELECT_MEMBERS} AND person_id = ?", (workspace_id, person_id))


def _put_member(db: Database, workspace_id: str, person_id: str, role: MemberRole) -> None:
    db.conn.execute(
        "INSERT INTO members VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET role = excluded.role",
        (workspace_id, person_id, role, time_text(now())),
    )


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise InvalidField("name", f"must be 1 to {MAX_NAME_CHARS} characters of text")
    return name


def _read(row: Row) -> Workspace:
    return Workspace(
        id=row["id"],
        name=row["name"],
        created_at=datetime.fromisoformat(row["created_at"]),
        role=None if row["role"] is None else MemberRole(row["role"]),
        members=row["members"],
    )


def _read_member(row: Row) -> Member:
    return Member(
        person_id=row["person_id"],
        name=row["name"],
        email=row["email"],
        role=MemberRole(row["role"]),
        state=PersonState(row["state"]),
        added_at=datetime.fromisoformat(row["added_at"]),
    )
