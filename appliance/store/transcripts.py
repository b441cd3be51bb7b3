"""Transcripts: from an accepted recording to a finished text, and how they are found again.

Whose transcript it is stands in every query. How they are edited and erased is left to `edits` and `erasure`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import field
from sqlite_utils import Database

from appliance.domain import (
    Failure,
    JobState,
    Priority,
    Recording,
    TranscribeOptions,
    Transcript,
    TranscriptRecord,
    Value,
)
from appliance.errors import Interrupted, NotAvailable, NotFound, RoleTooLow, Unauthorized
from appliance.store.audit import append_audit
from appliance.store.database import first, rows
from appliance.store.deliveries import queue_delivery
from appliance.store.edits import Revision, SegmentEdit, TranscriptEdit, edit_segment, edit_transcript, read_revisions
from appliance.store.erasure import Eraser, Erasures
from appliance.store.reach import Reach, Right
from appliance.store.rows import (
    Row,
    json_text,
    now,
    read_record,
    read_result,
    result_row,
    segment_row,
    time_text,
)
from appliance.store.search import Snippet, Term, condition, find_snippets, index_segments, index_title, parse_query
from appliance.store.threads import Readers, Writer
from appliance.store.tombstones import is_buried
from appliance.store.usage import Used, append_usage

UNFINISHED: Final = (JobState.QUEUED, JobState.PROCESSING)
SLUG_BYTES: Final = 16  # 128 bits: cannot be guessed
MAX_ID: Final = 2**43 - 1  # 2^20 rows of the search index belong to each


class NewTranscript(Value, frozen=True):
    owner: str
    title: str
    recording: Recording
    options: TranscribeOptions
    models: tuple[str, ...]
    priority: Priority = Priority.NORMAL
    callback_url: str | None = None  # told when the transcript ends, through `Deliveries`
    sender: str = ""  # for the audit log, where a workspace is the owner; empty: the owner


class Page(Value, frozen=True):
    results: tuple[TranscriptRecord, ...]  # without their text, newest first
    count: int  # all that match, on every page
    snippets: dict[int, tuple[Snippet, ...]] = field(default_factory=dict)  # by id, at most three each; only of a search


class Transcripts:
    """`key` is an id (int, or its digits) or a slug. A `reach` decides what is there: a stranger's transcript is `NotFound`,
    one that may be read but not changed is `RoleTooLow` to who would change it.

    Everything that writes raises `DiskFull` when there is no room, and then nothing changed.
    """

    def __init__(self, writer: Writer, readers: Readers, eraser: Eraser) -> None:
        self._writer = writer
        self._readers = readers
        self._eraser = eraser
        self._erasures = Erasures(writer, eraser)

    async def create(self, new: NewTranscript) -> TranscriptRecord:
        """In state queued."""
        return await self._writer.run(lambda db: insert_transcript(db, new))

    async def start(self, transcript_id: int) -> None:
        """From queued to processing."""
        values = {"state": JobState.PROCESSING, "started_at": time_text(now())}
        await self._writer.run(lambda db: _update_unfinished(db, transcript_id, values))

    async def describe(self, transcript_id: int, recording: Recording) -> None:
        """What the decoder found out about the recording."""
        await self._writer.run(lambda db: _update_unfinished(db, transcript_id, {"recording": json_text(recording)}))

    async def complete(
        self, transcript_id: int, transcript: Transcript, alternatives: Sequence[Transcript] = (), used: Sequence[Used] = ()
    ) -> None:
        """Save the result, and what it took; when this returns it survives a kill and a power cut.

        Raises `NotFound` when the transcript was erased or has ended already.
        """

        def work(db: Database) -> None:
            _complete(db, transcript_id, (transcript, *alternatives))
            for one in used:
                append_usage(db, one)

        await self._writer.run(work)

    async def fail(self, transcript_id: int, state: JobState, failure: Failure) -> None:
        """`state` is failed, cancelled or interrupted; its Idempotency-Key may be used again. Raises as `complete`."""
        await self._writer.run(lambda db: _fail(db, transcript_id, state, failure))

    async def interrupt_unfinished(self) -> int:
        """At start-up: what was queued or processing is interrupted; returns how many."""
        return await self._writer.run(_interrupt_unfinished)

    async def get(self, key: int | str, reach: Reach) -> TranscriptRecord:
        """The whole transcript. Raises `NotFound`."""
        return await self._readers.run_then(lambda db: _fetch_whole(db, find_row(db, key, reach, Right.READ)), _decode_whole)

    async def locate(self, key: int | str, reach: Reach, right: Right) -> TranscriptRecord:
        """Without its text, for who may do this with it. Raises `NotFound`, `RoleTooLow`."""
        return await self._readers.run_then(lambda db: find_row(db, key, reach, right), read_record)

    async def list(self, reach: Reach, *, limit: int, offset: int, states: Sequence[JobState] = (), query: str = "") -> Page:
        """One page, newest first, with the count of the same moment. `query` may be anything a person types."""
        wanted = Wanted(reach, tuple(states), query)
        return await self._readers.run(lambda db: _fetch_page(db, wanted, limit, offset))

    async def list_unowned(self, limit: int, offset: int) -> Page:
        """Those that nobody can reach any more, because their owner is gone; for an administrator to erase."""
        return await self._readers.run(lambda db: _fetch_unowned(db, limit, offset))

    async def edit(self, key: int | str, reach: Reach, revision: int, edit: TranscriptEdit) -> TranscriptRecord:
        """Title, speaker names, and to whom it belongs.

        Raises `StaleRevision`, `NotReady`, `InvalidField`, `NotFound`, `RoleTooLow`, `NotAvailable`.
        """

        def work(db: Database) -> Whole:
            row = find_row(db, key, reach, Right.CHANGE)
            if edit.owner is not None:
                _move(db, find_row(db, key, reach, Right.ERASE), edit.owner, reach)
            edit_transcript(db, row, edit, actor=reach.actor, revision=revision)
            return _fetch_whole(db, find_row(db, row["id"], reach, Right.CHANGE))

        return await asyncio.to_thread(_decode_whole, await self._writer.run(work))

    async def edit_segment(self, key: int | str, reach: Reach, revision: int, n: int, edit: SegmentEdit) -> TranscriptRecord:
        """Text (words get new times) and speaker of segment `n`. Raises as `edit`."""

        def work(db: Database) -> Whole:
            row = find_row(db, key, reach, Right.CHANGE)
            edit_segment(db, row, n, edit, actor=reach.actor, revision=revision)
            return _fetch_whole(db, find_row(db, row["id"], reach, Right.CHANGE))

        return await asyncio.to_thread(_decode_whole, await self._writer.run(work))

    async def revisions(self, key: int | str, reach: Reach) -> tuple[Revision, ...]:
        """Every edit with what stood there before, the oldest first."""

        def fetch(db: Database) -> list[Row]:
            transcript_id = find_row(db, key, reach, Right.READ)["id"]
            return rows(db, "SELECT * FROM revisions WHERE transcript_id = ? ORDER BY revision", (transcript_id,))

        return await self._readers.run_then(fetch, read_revisions)

    async def erase(self, key: int | str, reach: Reach) -> bool:
        """Erase it from the database and its write-ahead log; see `Erasures` for what the answer means.

        Raises `NotFound`, `ReadOnly`.
        """

        def mark(db: Database) -> None:
            transcript_id = find_row(db, key, reach, Right.ERASE)["id"]
            self._eraser.mark(db, [transcript_id])
            append_audit(db, "transcript.erased", reach.actor, str(transcript_id), reason="request")

        return await self._erasures.erase_marked(mark)


# --- reading ----------------------------------------------------------------------------------------------------------


class Wanted(NamedTuple):
    """Which transcripts a list is about."""

    reach: Reach
    states: tuple[JobState, ...]
    query: str


class Whole(NamedTuple):
    """The rows of one transcript, not decoded yet."""

    record: Row
    results: list[Row]
    segments: list[Row]


def find_row(db: Database, key: int | str, reach: Reach, right: Right) -> Row:
    """Raises `NotFound` for what is not there, is erased, or belongs to somebody else: a stranger cannot tell these apart.

    Raises `RoleTooLow` to somebody who may read it, but has not this right.
    """
    column, value = _address(key)
    reached, owners = reach.condition(right)
    found = first(
        db,
        f"SELECT * FROM transcripts WHERE {column} = ? AND erased_at IS NULL AND {reached}",  # noqa: S608
        (value, *owners),
    )
    if found is not None:
        return found
    if right is Right.READ:
        raise NotFound(f"transcript '{key}'")
    find_row(db, key, reach, Right.READ)
    raise RoleTooLow


def _address(key: int | str) -> tuple[str, int | str]:
    if isinstance(key, str) and not (key.isascii() and key.isdigit() and len(key) < SLUG_BYTES):
        return "slug", key.encode(errors="replace").decode()
    return "id", min(int(key), MAX_ID + 1)


def _fetch_whole(db: Database, record: Row) -> Whole:
    results = rows(db, "SELECT * FROM results WHERE transcript_id = ? ORDER BY variant", (record["id"],))
    segments = rows(db, "SELECT * FROM segments WHERE transcript_id = ? ORDER BY variant, n", (record["id"],))
    return Whole(record, results, segments)


def _decode_whole(whole: Whole) -> TranscriptRecord:
    by_variant: dict[int, list[Row]] = {row["variant"]: [] for row in whole.results}
    for segment in whole.segments:
        by_variant[segment["variant"]].append(segment)
    return read_record(whole.record, [read_result(row, by_variant[row["variant"]]) for row in whole.results])


def _fetch_page(db: Database, wanted: Wanted, limit: int, offset: int) -> Page:
    terms = parse_query(wanted.query)
    where, parameters = _conditions(wanted, terms)
    [counted] = rows(db, f"SELECT count(*) AS count FROM transcripts WHERE {where}", parameters)  # noqa: S608
    page = f"SELECT * FROM transcripts WHERE {where} ORDER BY id DESC LIMIT ? OFFSET ?"  # noqa: S608
    records = tuple(read_record(row) for row in rows(db, page, (*parameters, limit, offset)))
    return Page(records, counted["count"], _snippets(db, records, terms))


def _fetch_unowned(db: Database, limit: int, offset: int) -> Page:
    where = (
        "erased_at IS NULL AND owner NOT IN (SELECT id FROM people) AND owner NOT IN (SELECT id FROM workspaces) "
        "AND owner NOT IN (SELECT id FROM keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?))"
    )
    at = time_text(now())
    [counted] = rows(db, f"SELECT count(*) AS count FROM transcripts WHERE {where}", (at,))  # noqa: S608
    found = rows(db, f"SELECT * FROM transcripts WHERE {where} ORDER BY id DESC LIMIT ? OFFSET ?", (at, limit, offset))  # noqa: S608
    return Page(tuple(map(read_record, found)), counted["count"])


def _conditions(wanted: Wanted, terms: Sequence[Term]) -> tuple[str, tuple[object, ...]]:
    parts: list[tuple[str, tuple[object, ...]]] = [("erased_at IS NULL", ()), wanted.reach.condition(Right.READ)]
    if wanted.states:
        parts.append((f"state IN ({', '.join('?' * len(wanted.states))})", wanted.states))
    if wanted.query.strip():
        parts.append(condition(terms))
    return " AND ".join(sql for sql, _ in parts), tuple(value for _, values in parts for value in values)


def _snippets(db: Database, records: Sequence[TranscriptRecord], terms: Sequence[Term]) -> dict[int, tuple[Snippet, ...]]:
    return {record.id: find_snippets(db, record.id, terms) for record in records} if terms else {}


# --- writing ----------------------------------------------------------------------------------------------------------


def insert_transcript(db: Database, new: NewTranscript) -> TranscriptRecord:
    """Part of a transaction. Raises `Unauthorized` for an owner who was erased while the recording was being sent."""
    if is_buried(db, new.owner):
        raise Unauthorized("The account that sent this is gone.")
    values = (
        secrets.token_urlsafe(SLUG_BYTES),
        new.owner,
        new.title,
        json_text(new.recording),
        json_text(new.options),
        json_text(new.models),
        new.priority,
        JobState.QUEUED,
        time_text(now()),
        new.callback_url,
    )
    columns = "slug, owner, title, recording, options, models, priority, state, created_at, callback_url"
    marks = ", ".join("?" * len(values))
    found = first(db, f"INSERT INTO transcripts ({columns}) VALUES ({marks}) RETURNING *", values)  # noqa: S608
    if found is None:
        raise AssertionError("INSERT … RETURNING gave no row")
    if new.options.private:
        db.conn.execute("INSERT INTO private_transcripts (transcript_id) VALUES (?)", (found["id"],))
    index_title(db, found["id"], new.title)
    append_audit(db, "transcript.created", new.sender or new.owner, str(found["id"]))
    return read_record(found)


def _move(db: Database, row: Row, owner: str, reach: Reach) -> None:
    """Who takes it away from an owner must be allowed to erase it there. Raises `NotFound`, `RoleTooLow`, `NotAvailable`."""
    reach.ensure_may_add(owner)
    if read_record(row).private:
        raise NotAvailable("workspace", "only the browser of its owner can read a private transcript")
    if owner != row["owner"]:
        db.conn.execute("UPDATE transcripts SET owner = ? WHERE id = ?", (owner, row["id"]))
        db.conn.execute("DELETE FROM idempotency WHERE transcript_id = ?", (row["id"],))  # else sending again would still give it
        append_audit(db, "transcript.moved", reach.actor, str(row["id"]), owner=owner)


def _update_unfinished(db: Database, transcript_id: int, values: Mapping[str, object]) -> None:
    """Raises `NotFound` when the transcript was erased or has ended: a late result must not bring it back."""
    assignments = ", ".join(f"{column} = ?" for column in values)
    where = "id = ? AND state IN (?, ?) AND erased_at IS NULL"
    changed = db.conn.execute(
        f"UPDATE transcripts SET {assignments} WHERE {where}",  # noqa: S608
        (*values.values(), transcript_id, *UNFINISHED),
    ).rowcount
    if not changed:
        raise NotFound(f"transcript {transcript_id} in work")


def finish_transcript(db: Database, transcript_id: int, state: JobState, values: Mapping[str, object]) -> None:
    _update_unfinished(db, transcript_id, {"state": state, "finished_at": time_text(now()), **values})
    queue_delivery(db, transcript_id, state)


def _complete(db: Database, transcript_id: int, transcripts: Sequence[Transcript]) -> None:
    finish_transcript(db, transcript_id, JobState.COMPLETED, {})
    for variant, transcript in enumerate(transcripts):
        row = result_row(transcript_id, variant, transcript)
        db.conn.execute("INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        db.conn.executemany(
            "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (segment_row(transcript_id, variant, segment) for segment in transcript.segments),
        )
    index_segments(db, transcript_id, ((segment.id, segment.text) for segment in transcripts[0].segments))


def _fail(db: Database, transcript_id: int, state: JobState, failure: Failure) -> None:
    finish_transcript(db, transcript_id, state, {"failure": json_text(failure)})
    db.conn.execute("DELETE FROM idempotency WHERE transcript_id = ?", (transcript_id,))


def _interrupt_unfinished(db: Database) -> int:
    error = Interrupted()
    failure = Failure(error.code, error.message, error.hint, error.status)
    unfinished = rows(db, "SELECT id FROM transcripts WHERE state IN (?, ?) AND erased_at IS NULL", UNFINISHED)
    for row in unfinished:
        _fail(db, row["id"], JobState.INTERRUPTED, failure)
    return len(unfinished)
