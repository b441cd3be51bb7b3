"""How far somebody reaches: whose transcripts they may read, change and erase. It stands in every query, not in a handler.

Who reaches how far is decided where a request's caller is made out; here it only becomes SQL.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from appliance.domain import Value
from appliance.errors import NotFound, RoleTooLow

SYSTEM: Final = "system"  # the appliance itself, where an actor is named


class Right(StrEnum):
    READ = "read"
    CHANGE = "change"
    ERASE = "erase"


class Reach(Value, frozen=True):
    """The owners (people, workspaces, site keys) whose transcripts are within reach; None: everybody's."""

    actor: str  # owner id of whoever acts; edits are signed with it
    reads: frozenset[str] | None = frozenset()
    changes: frozenset[str] | None = frozenset()
    erases: frozenset[str] | None = frozenset()

    def owners(self, right: Right) -> frozenset[str] | None:
        return {Right.READ: self.reads, Right.CHANGE: self.changes, Right.ERASE: self.erases}[right]

    def has(self, right: Right, owner: str) -> bool:
        owners = self.owners(right)
        return owners is None or owner in owners

    def narrowed(self, owner: str) -> Reach:
        """To what this owner has, for a list of it alone. Raises `NotFound` for a workspace that is not within reach."""
        if not self.has(Right.READ, owner):
            raise NotFound("workspace of yours with that id")
        return msgspec.structs.replace(self, reads=frozenset((owner,)))

    def ensure_may_add(self, owner: str) -> None:
        """Raises `NotFound`, `RoleTooLow`."""
        if self.has(Right.CHANGE, owner):
            return
        raise RoleTooLow if self.has(Right.READ, owner) else NotFound("workspace of yours with that id")

    def condition(self, right: Right) -> tuple[str, tuple[object, ...]]:
        """SQL over the column `owner`, and its parameters."""
        owners = self.owners(right)
        if owners is None:
            return "TRUE", ()
        return "owner IN (SELECT value FROM json_each(?))", (msgspec.json.encode(sorted(owners)).decode(),)


UNLIMITED: Final = Reach(SYSTEM, None, None, None)
"""For the appliance's own work, such as reading back what it saved. Never a caller's."""


def own_reach(owner: str) -> Reach:
    """Of somebody who has what is their own, and nothing else."""
    own = frozenset((owner,))
    return Reach(owner, own, own, own)
