"""The audit log: who did what and when, without a word of anybody's text, a file name or an e-mail address.

That is not left to the callers' care: an event must stand in `_VERBS`, actors and subjects are ids, and a fact is a number, a
boolean, an id or a word of `WORDS`. To record something new, add it there; the operator's guide lists what stands there.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from typing import Final

from sqlite_utils import Database

from appliance.store.chain import LARGEST_EXACT_INT, ChainName, Draft
from appliance.store.journal import Journal, append
from appliance.store.rows import now, time_text
from appliance.store.threads import Readers, Writer

Fact = str | int | bool

_VERBS: Final[Mapping[str, str]] = {
    "appliance": "started stopped",
    "transcript": "created cancelled erased exported moved",
    "owner": "erased",
    "retention": "changed",
    "key": "created revoked",
    "session": "opened refused closed",
    "person": "invited joined changed suspended resumed erased password_changed second_factor_added second_factor_removed restored",
    "setup": "offered done",
    "workspace": "created changed erased",
    "member": "added changed removed",
    "share": "created viewed refused revoked",
    "private": "stored fetched acknowledged forgotten",
    "authority": "made downloaded confirmed",
    "certificate": "issued renewed installed",
    "provider": "changed",
    "settings": "changed",
    "backup": "created verified restored",
    "audit": "exported",
    "usage": "exported",
    "licence": "installed refused changed",
    "clock": "turned_back mark_refused",
    "models": "imported refused activated rolled_back",
    "support": "bundled",
}
EVENTS: Final = frozenset(f"{noun}.{verb}" for noun, verbs in _VERBS.items() for verb in verbs.split())
WORDS: Final[Mapping[str, frozenset[str]]] = {
    name: frozenset(words.split())
    for name, words in {
        "reason": "request retention account workspace restored password second_factor throttled unknown suspended expired "
        "revoked limit invalid timeout acknowledged replaced canary signature rollback space operator",
        "method": "password oidc ldap key invitation link setup console",
        "role": "administrator person owner editor viewer member",
        "state": "valid expiring grace restricted evaluation completed failed cancelled interrupted",
        "format": "txt srt vtt json csv docx pdf",
        "dialect": "native openai",
        "chain": "audit usage",
    }.items()
}
NAMES: Final = frozenset({"model", "release", "version"})  # of models and versions: chosen by the vendor or the administrator
IDS: Final = frozenset({"person", "owner"})  # who was let in or out; to whom a transcript went
ACTORS: Final = frozenset({"system", "console", "nobody"})

_NAME: Final = re.compile("(site/)?[a-z0-9]+([-._+][a-z0-9]+){0,9}")  # models of a site's own begin with site/
_ID: Final = re.compile("(person|workspace|key|share|session|invitation|licence|backup|release|member|provider)_[0-9a-f]{1,32}")
_SUBJECT: Final = re.compile(f"|[0-9]{{1,18}}|{_ID.pattern}")  # nothing, a transcript, or one of the above
_MAX_NAME_CHARS: Final = 64


class Audit(Journal):
    def __init__(self, writer: Writer, readers: Readers) -> None:
        super().__init__(ChainName.AUDIT, writer, readers)

    async def record(self, event: str, actor: str, subject: str = "", **facts: Fact) -> None:
        """On the disk when this returns (see `Journal.add`). Raises `ValueError` for anything that could be text."""
        await self.add(draft(event, actor, subject, facts))


def append_audit(db: Database, event: str, actor: str, subject: str = "", **facts: Fact) -> None:
    """As `Audit.record`, as part of the writer's transaction that does what is recorded: both happen or neither."""
    append(db, ChainName.AUDIT, draft(event, actor, subject, facts))


def draft(event: str, actor: str, subject: str, facts: Mapping[str, Fact]) -> Draft:
    if event not in EVENTS:
        raise ValueError(f"'{event}' is not an event of the audit log; add it to _VERBS in appliance/store/audit.py")
    check_ids(actor, subject)
    for name, value in facts.items():
        _check_fact(name, value)
    return Draft(time_text(now()), event, actor, subject, facts)


def check_ids(actor: str, subject: str) -> None:
    if actor not in ACTORS and not _ID.fullmatch(actor):
        raise ValueError(f"an actor is an id, or one of {', '.join(sorted(ACTORS))}")
    if not _SUBJECT.fullmatch(subject):
        raise ValueError("a subject is an id")


def _check_fact(name: str, value: Fact) -> None:
    if isinstance(value, int):
        if abs(value) > LARGEST_EXACT_INT:
            raise ValueError(f"the fact '{name}' is beyond 2^53")
    elif name in NAMES:
        if not is_name(value):
            raise ValueError(f"the fact '{name}' is not the name of a model or a version")
    elif name in IDS:
        if not _ID.fullmatch(value):
            raise ValueError(f"the fact '{name}' is not an id")
    elif value not in WORDS.get(name, ()):
        raise ValueError(
            f"the fact '{name}' must be a number, or a word that WORDS in appliance/store/audit.py knows under that name"
        )


def is_name(value: str) -> bool:
    """Of a model or a version: "whisper-tiny.en" is one, "board-meeting.mp3" is not."""
    return len(value) <= _MAX_NAME_CHARS and bool(_NAME.fullmatch(value)) and not mimetypes.guess_type(value)[0]
