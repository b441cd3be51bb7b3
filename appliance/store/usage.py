"""The usage journal: seconds of audio and of work, per owner and model; a chain like the audit log, and no more talkative.

A line is written in the transaction that completes a transcript, so that none is counted twice or forgotten by a crash. What a
licence allows is counted from here; that counting is left to others.
"""

from __future__ import annotations

from datetime import datetime

from sqlite_utils import Database

from appliance.domain import Value
from appliance.store.audit import check_ids, is_name
from appliance.store.chain import ChainName, Draft
from appliance.store.database import first
from appliance.store.journal import Journal, append
from appliance.store.rows import now, time_text
from appliance.store.threads import Readers, Writer

EVENT = "recording.transcribed"
UNNAMED = "unnamed"  # a model whose id could be a file name; no transcript is lost for that


class Used(Value, frozen=True):
    """What one recording took. Several compared models are several of these."""

    owner: str  # an owner id; "system" where there is none
    model: str
    audio_s: float
    engine_s: float  # from the start of decoding to the result
    transcript_id: int | None = None  # None: it was not kept


class UsageTotals(Value, frozen=True):
    recordings: int
    audio_s: float
    engine_s: float


class Usage(Journal):
    def __init__(self, writer: Writer, readers: Readers) -> None:
        super().__init__(ChainName.USAGE, writer, readers)

    async def record(self, used: Used) -> None:
        """On the disk when this returns (see `Journal.add`). Raises `ValueError` for an owner that is no id."""
        await self.add(_draft(used))

    async def totals(self, since: datetime, until: datetime | None = None, owner: str | None = None) -> UsageTotals:
        """Added up over `since` <= time < `until`; of all owners, or of one."""
        return await self._readers.run(lambda db: read_totals(db, since, until, owner))


_TOTALS = """
    SELECT count(*) AS recordings, coalesce(sum(facts ->> 'audio_ms'), 0) AS audio_ms,
        coalesce(sum(facts ->> 'engine_ms'), 0) AS engine_ms
    FROM usage WHERE at >= ?1 AND (?2 IS NULL OR at < ?2) AND (?3 IS NULL OR actor = ?3)
"""


def read_totals(db: Database, since: datetime, until: datetime | None = None, owner: str | None = None) -> UsageTotals:
    row = first(db, _TOTALS, (time_text(since), None if until is None else time_text(until), owner)) or {}
    return UsageTotals(row["recordings"], row["audio_ms"] / 1000, row["engine_ms"] / 1000)


def append_usage(db: Database, used: Used) -> None:
    """Part of the transaction that completes a transcript."""
    append(db, ChainName.USAGE, _draft(used))


def _draft(used: Used) -> Draft:
    subject = "" if used.transcript_id is None else str(used.transcript_id)
    check_ids(used.owner, subject)
    facts: dict[str, str | int | bool] = {
        "model": used.model if is_name(used.model) else UNNAMED,
        "audio_ms": round(used.audio_s * 1000),
        "engine_ms": round(used.engine_s * 1000),
    }
    return Draft(time_text(now()), EVENT, used.owner, subject, facts)
