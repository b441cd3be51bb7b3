"""Who a person is, and what that lets them do: the values, and how they are read. Changing them is left to others."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlite_utils import Database

from appliance.domain import Value
from appliance.store.database import first, rows
from appliance.store.keys import Scope
from appliance.store.reach import Reach
from appliance.store.rows import Row, read_time


class PersonRole(StrEnum):
    MEMBER = "member"
    ADMIN = "admin"  # manages people, and may erase anything; reads no more than a member


class PersonState(StrEnum):
    INVITED = "invited"  # has a link, and no password yet
    ACTIVE = "active"
    DISABLED = "disabled"  # sessions and keys are dead, what they own stays


class MemberRole(StrEnum):
    """In a workspace; each may do what the one before may."""

    VIEWER = "viewer"  # reads
    EDITOR = "editor"  # sends recordings to it, and changes
    OWNER = "owner"  # erases, takes transcripts out, and chooses the members


EVERYDAY: Final = frozenset((Scope.TRANSCRIBE, Scope.READ, Scope.WRITE))


class Person(Value, frozen=True):
    id: str
    name: str
    email: str  # "" for people of a directory that names none
    role: PersonRole
    state: PersonState
    created_at: datetime
    last_sign_in_at: datetime | None = None
    has_password: bool = False  # False: invited, or signs in through a directory
    has_second_factor: bool = False
    provider: str | None = None  # whose directory knows them; None: this appliance only

    @property
    def is_admin(self) -> bool:
        return self.role is PersonRole.ADMIN

    @property
    def scopes(self) -> frozenset[Scope]:
        return EVERYDAY | {Scope.ADMIN} if self.is_admin else EVERYDAY


class Membership(Value, frozen=True):
    workspace_id: str
    role: MemberRole


class Standing(Value, frozen=True):
    """A person and all that decides how far they reach."""

    person: Person
    memberships: tuple[Membership, ...] = ()

    @property
    def reach(self) -> Reach:
        return Reach(
            actor=self.person.id,
            reads=self._owners(*MemberRole),
            changes=self._owners(MemberRole.EDITOR, MemberRole.OWNER),
            erases=None if self.person.is_admin else self.erases_as_member,
        )

    @property
    def erases_as_member(self) -> frozenset[str]:
        """Without what an administrator may."""
        return self._owners(MemberRole.OWNER)

    def _owners(self, *roles: MemberRole) -> frozenset[str]:
        return frozenset((self.person.id, *(member.workspace_id for member in self.memberships if member.role in roles)))


def read_standing(db: Database, person_id: str) -> Standing | None:
    """None unless the person is there and active."""
    found = first(db, f"{SELECT_PEOPLE} WHERE people.id = ? AND state = 'active'", (person_id,))
    if found is None:
        return None
    members = rows(db, "SELECT workspace_id, role FROM members WHERE person_id = ? ORDER BY workspace_id", (person_id,))
    return Standing(read_person(found), tuple(Membership(row["workspace_id"], MemberRole(row["role"])) for row in members))


SELECT_PEOPLE: Final = (
    "SELECT people.*, (SELECT provider FROM identities WHERE person_id = people.id LIMIT 1) AS provider FROM people"
)


def read_person(row: Row) -> Person:
    """Of a row that `SELECT_PEOPLE` gave."""
    return Person(
        id=row["id"],
        name=row["name"],
        email=row["email"],
        role=PersonRole(row["role"]),
        state=PersonState(row["state"]),
        created_at=datetime.fromisoformat(row["created_at"]),
        last_sign_in_at=read_time(row["last_sign_in_at"]),
        has_password=row["password"] is not None,
        has_second_factor=row["second_factor_at"] is not None,
        provider=row["provider"],
    )
