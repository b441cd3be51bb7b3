"""How long transcripts are kept: a rule per owner in days, the site's rule for everybody else, and what is due by them.

Counted from the moment a recording ended, with or without a text: a failed one leaves a title and a file name, too. 0 days: kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlite_utils import Database

from appliance.domain import TranscriptRecord
from appliance.errors import ApplianceError
from appliance.store.audit import append_audit
from appliance.store.database import first, rows
from appliance.store.erasure import Eraser, Erasures
from appliance.store.rows import now, time_text
from appliance.store.threads import Readers, Writer

log = logging.getLogger(__name__)

EVERY_S: Final = 600.0
BATCH_TRANSCRIPTS: Final = 50  # marked in one transaction
MAX_DAYS: Final = 36_500

_DUE: Final = """
    SELECT id FROM transcripts LEFT JOIN retention ON retention.owner = transcripts.owner
    WHERE erased_at IS NULL AND finished_at IS NOT NULL AND coalesce(days, ?1) > 0
    AND finished_at <= strftime('%Y-%m-%dT%H:%M:%f', ?2, '-' || coalesce(days, ?1) || ' days')
    ORDER BY id LIMIT ?3
"""

_KNOWN: Final = """
    SELECT id FROM people WHERE id = ?1 UNION ALL SELECT id FROM workspaces WHERE id = ?1
    UNION ALL SELECT id FROM keys WHERE id = ?1 AND person_id IS NULL
"""


class Retention:
    def __init__(self, writer: Writer, readers: Readers, eraser: Eraser) -> None:
        self._writer = writer
        self._readers = readers
        self._eraser = eraser
        self._erasures = Erasures(writer, eraser)
        self.erased = 0  # by these rules, since the start

    async def rules(self) -> dict[str, int]:
        """Days by owner; whoever is not in it has the site's rule."""
        found = await self._readers.run(lambda db: rows(db, "SELECT owner, days FROM retention"))
        return {row["owner"]: row["days"] for row in found}

    async def knows(self, owner: str) -> bool:
        """Whether there is such a person, workspace or key."""
        return await self._readers.run(lambda db: first(db, _KNOWN, (owner,))) is not None

    async def change(self, owner: str, days: int | None, actor: str) -> None:
        """None: the site's rule from now on. What is due by the new rule goes within minutes."""

        def work(db: Database) -> None:
            db.conn.execute("DELETE FROM retention WHERE owner = ?", (owner,))
            if days is None:
                append_audit(db, "retention.changed", actor, owner, site_rule=True)
                return
            db.conn.execute("INSERT INTO retention VALUES (?, ?)", (owner, days))
            append_audit(db, "retention.changed", actor, owner, days=days)

        await self._writer.run(work)

    async def erase_due(self, site_days: int, at: datetime | None = None) -> int:
        """Erase all that is due at this moment; how many transcripts that were."""
        erased = 0
        while marked := await self._erase_batch(site_days, at or now()):
            erased += marked
        return erased

    async def keep_to_rules(self, site_days: int) -> None:
        """For ever, as a task of its own."""
        while True:
            try:
                if erased := await self.erase_due(site_days):
                    log.info("%d transcripts were erased because the time to keep them is over", erased)
            except ApplianceError as error:  # a full disk, say; the next round tries again
                log.warning("Transcripts whose time is over could not be erased yet: %s", error)
            await asyncio.sleep(EVERY_S)

    async def _erase_batch(self, site_days: int, at: datetime) -> int:
        marked: list[int] = []

        def mark(db: Database) -> None:
            marked[:] = [row["id"] for row in rows(db, _DUE, (site_days, time_text(at), BATCH_TRANSCRIPTS))]
            self._eraser.mark(db, marked)
            for transcript_id in marked:
                append_audit(db, "transcript.erased", "system", str(transcript_id), reason="retention")

        await self._erasures.erase_marked(mark)
        self.erased += len(marked)
        return len(marked)


def erase_after(record: TranscriptRecord, rules: Mapping[str, int], site_days: int) -> datetime | None:
    """When it will be erased by these rules; None: it is kept, or has not ended."""
    days = rules.get(record.owner, site_days)
    return record.finished_at + timedelta(days=days) if days and record.finished_at else None
