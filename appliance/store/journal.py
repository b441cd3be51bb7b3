"""A chain in its table: appended to on the writer thread, read in pages, never changed. What may stand in it is left to others.

Triggers refuse UPDATE, DELETE and a number out of turn, so that a mistake in this program cannot rewrite the past; somebody with
the file in hand could drop them, and is found out by the chain.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from sqlite_utils import Database

from appliance.errors import DiskFull, StoreBusy
from appliance.store.chain import ChainName, Draft, Entry, Head, empty_head, export_line, link
from appliance.store.database import first, rows, transaction
from appliance.store.rows import Row, json_text
from appliance.store.threads import Readers, Writer

log = logging.getLogger(__name__)

PAGE_ENTRIES: Final = 1000
MAX_PENDING: Final = 10_000

_facts: Final = msgspec.json.Decoder(dict[str, str | int | bool])


class Journal:
    """Entries asked for at the same time are written in one transaction."""

    def __init__(self, chain: ChainName, writer: Writer, readers: Readers) -> None:
        self.chain = chain
        self._writer = writer
        self._readers = readers
        self._pending: deque[Draft] = deque()

    async def add(self, draft: Draft) -> None:
        """On the disk when this returns.

        Without room on the disk it returns too, so that reading and erasing go on: the entry waits in memory and is written with
        the next. Raises `DiskFull` once ten thousand wait.
        """
        if len(self._pending) >= MAX_PENDING:
            raise DiskFull
        self._pending.append(draft)
        try:
            await self._writer.run_bare(self._write_pending)
        except (DiskFull, StoreBusy) as error:
            log.error("%d entries of the %s journal wait for room: %s", len(self._pending), self.chain, error)

    async def head(self) -> Head:
        return await self._readers.run(lambda db: read_head(db, self.chain))

    async def page(self, after: int = 0, limit: int = PAGE_ENTRIES) -> tuple[Entry, ...]:
        """Up to `limit` entries with a sequence above `after`, the oldest first."""
        table = self.chain.value
        found = await self._readers.run(
            lambda db: rows(db, f"SELECT * FROM {table} WHERE sequence > ? ORDER BY sequence LIMIT ?", (after, limit))  # noqa: S608
        )
        return tuple(_read(row, self.chain) for row in found)

    async def lines(self, after: int = 0, limit: int | None = None) -> AsyncIterator[bytes]:
        """The export: a page of JSON lines at a time. Each page is a read of its own, so that a slow reader holds no old pages."""
        left = limit
        while left is None or left > 0:
            page = await self.page(after, min(PAGE_ENTRIES, PAGE_ENTRIES if left is None else left))
            if not page:
                return
            yield b"".join(map(export_line, page))
            after = page[-1].sequence
            left = None if left is None else left - len(page)

    def _write_pending(self, db: Database) -> None:
        batch = tuple(self._pending)  # only this thread takes from it
        if batch:
            with transaction(db):
                for draft in batch:
                    append(db, self.chain, draft)
        for _ in batch:
            self._pending.popleft()


def append(db: Database, chain: ChainName, draft: Draft) -> Entry:
    """Part of a transaction on the writer thread."""
    entry = link(draft, read_head(db, chain))
    db.conn.execute(
        f"INSERT INTO {chain.value} VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            entry.sequence,
            entry.at,
            entry.event,
            entry.actor,
            entry.subject,
            json_text(entry.facts),
            bytes.fromhex(entry.previous),
            bytes.fromhex(entry.hash),
        ),
    )
    return entry


def read_head(db: Database, chain: ChainName) -> Head:
    newest = first(db, f"SELECT sequence, hash FROM {chain.value} ORDER BY sequence DESC LIMIT 1")  # noqa: S608
    return empty_head(chain) if newest is None else Head(chain, newest["sequence"], newest["hash"].hex())


def _read(row: Row, chain: ChainName) -> Entry:
    return Entry(
        actor=row["actor"],
        at=row["at"],
        chain=chain,
        event=row["event"],
        facts=_facts.decode(row["facts"]),
        previous=row["previous"].hex(),
        sequence=row["sequence"],
        subject=row["subject"],
        hash=row["hash"].hex(),
    )
