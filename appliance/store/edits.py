"""What people change in a transcript: an optimistic lock, and a readable history of what stood before."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType
from sqlite_utils import Database

from appliance.domain import JobState, Segment, Speaker, Value
from appliance.errors import InvalidField, NotFound, NotReady, PrivateTranscript, StaleRevision
from appliance.store.database import first, rows
from appliance.store.retiming import retime
from appliance.store.rows import Row, json_text, now, pack_words, read_failure, read_options, read_segment, read_speakers, time_text
from appliance.store.search import index_segments, index_title
from appliance.writing import join_texts

MAX_TITLE_CHARS: Final = 500
MAX_SEGMENT_CHARS: Final = 20_000
MAX_NAME_CHARS: Final = 200
ONE_SEGMENT: Final = "transcript_id = ? AND variant = 0 AND n = ?"
_pack: Final = msgspec.msgpack.Encoder().encode
_unpack_segment: Final = msgspec.msgpack.Decoder(Segment).decode


class TranscriptEdit(Value, frozen=True):
    """Changes to the whole; a field that is left out stays as it is."""

    title: str | None = None
    speaker_names: dict[str, str | None] | None = None  # label -> name; None takes the name away; labels not named stay
    owner: str | None = None  # moves it to this owner


class SegmentEdit(Value, frozen=True):
    """Changes to one segment; a field that is left out stays as it is."""

    text: str | None = None
    speaker: str | UnsetType | None = UNSET  # a Speaker.label, a new label, or None for nobody


class Revision(Value, frozen=True):
    """One edit: what stood there before it, for everything it changed. What stands there now is in the transcript."""

    revision: int  # the number the transcript got by this edit, from 1
    edited_at: datetime
    edited_by: str | None  # owner id of whoever edited; None: an administrator of the time before people
    title: str | None = None
    speakers: tuple[Speaker, ...] | None = None
    segment: Segment | None = None


class Before(Value, frozen=True):
    """What an edit replaced."""

    title: str | None = None
    speakers: tuple[Speaker, ...] | None = None
    segment: Segment | None = None


def edit_transcript(db: Database, row: Row, edit: TranscriptEdit, *, actor: str, revision: int) -> None:
    """`row` is the transcript's, read in the same transaction; the other edits likewise."""
    _ensure_current(row, revision)
    before = Before()
    if edit.title is not None:
        before = msgspec.structs.replace(before, title=row["title"])
        _set_title(db, row["id"], edit.title)
    if edit.speaker_names is not None:
        before = msgspec.structs.replace(before, speakers=_rename_speakers(db, row, edit.speaker_names))
    if before != Before():
        _record(db, row, actor, revision, before)


def edit_segment(db: Database, row: Row, n: int, edit: SegmentEdit, *, actor: str, revision: int) -> None:
    _ensure_current(row, revision)
    segment = _read_for_edit(db, row, n)
    if edit == SegmentEdit():
        return  # nothing was asked for
    before = Before(segment=segment)
    if edit.speaker is not UNSET:
        before = msgspec.structs.replace(before, speakers=_add_speaker(db, row, edit.speaker))
        segment = _assign(segment, edit.speaker)
    if edit.text is not None:
        segment = _rewrite(segment, edit.text, timed=read_options(row["options"]).word_timestamps)
    db.conn.execute(
        f"UPDATE segments SET text = ?, speaker = ?, words = ? WHERE {ONE_SEGMENT}",  # noqa: S608
        (segment.text, segment.speaker, pack_words(segment.words), row["id"], n),
    )
    if edit.text is not None:
        index_segments(db, row["id"], [(n, segment.text)])
        _rejoin_text(db, row["id"])
    _record(db, row, actor, revision, before)


def read_revisions(found: list[Row]) -> tuple[Revision, ...]:
    return tuple(
        Revision(
            revision=row["revision"],
            edited_at=datetime.fromisoformat(row["edited_at"]),
            edited_by=row["edited_by"],
            title=row["title"],
            speakers=None if row["speakers"] is None else read_speakers(row["speakers"]),
            segment=None if row["segment"] is None else _unpack_segment(row["segment"]),
        )
        for row in found
    )


def _ensure_current(row: Row, revision: int) -> None:
    """The optimistic lock: an edit counts only if nobody edited since the revision it was made on."""
    if read_options(row["options"]).private:
        raise PrivateTranscript("it cannot be edited here")
    if revision != row["revision"]:
        raise StaleRevision(revision, row["revision"])


def _record(db: Database, row: Row, actor: str, revision: int, before: Before) -> None:
    speakers = None if before.speakers is None else json_text(before.speakers)
    segment = None if before.segment is None else _pack(before.segment)
    values = (row["id"], revision + 1, time_text(now()), actor, before.title, speakers, segment)
    db.conn.execute("INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    db.conn.execute("UPDATE transcripts SET revision = ? WHERE id = ?", (revision + 1, row["id"]))


def _set_title(db: Database, transcript_id: int, title: str) -> None:
    title = _checked("title", title, MAX_TITLE_CHARS)
    db.conn.execute("UPDATE transcripts SET title = ? WHERE id = ?", (title, transcript_id))
    index_title(db, transcript_id, title)


def _rename_speakers(db: Database, row: Row, names: dict[str, str | None]) -> tuple[Speaker, ...]:
    before = _speakers(db, row)
    unknown = names.keys() - {speaker.label for speaker in before}
    if unknown:
        known = ", ".join(speaker.label for speaker in before) or "none"
        raise InvalidField(
            "speakers", f"names the speaker {min(unknown)!r}, who is not in the transcript", f"Its speakers: {known}."
        )
    for name in names.values():
        _checked("speakers", name or "", MAX_NAME_CHARS)
    _write_speakers(db, row["id"], tuple(Speaker(s.label, names.get(s.label, s.name) or None) for s in before))
    return before


def _add_speaker(db: Database, row: Row, label: str | None) -> tuple[Speaker, ...] | None:
    """The speakers before, when the label is a new one."""
    before = _speakers(db, row)
    if label is None or any(speaker.label == label for speaker in before):
        return None
    if not label.strip():
        raise InvalidField("speaker", "is empty", "Send null when nobody in particular speaks.")
    _write_speakers(db, row["id"], (*before, Speaker(_checked("speaker", label, MAX_NAME_CHARS))))
    return before


def _assign(segment: Segment, speaker: str | None) -> Segment:
    words = tuple(msgspec.structs.replace(word, speaker=speaker) for word in segment.words)
    return msgspec.structs.replace(segment, speaker=speaker, words=words)


def _rewrite(segment: Segment, text: str, *, timed: bool) -> Segment:
    text = " ".join(_checked("text", text, MAX_SEGMENT_CHARS).split())
    return msgspec.structs.replace(segment, text=text, words=retime(segment, text, timed=timed))


def _checked(field: str, text: str, limit: int) -> str:
    if len(text) > limit:
        raise InvalidField(field, f"is longer than {limit} characters")
    if not text.isprintable() and any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text):
        raise InvalidField(field, "holds characters that are no text")
    return text


def _read_for_edit(db: Database, row: Row, n: int) -> Segment:
    _ensure_completed(row)
    found = first(db, f"SELECT * FROM segments WHERE {ONE_SEGMENT}", (row["id"], n)) if 0 <= n < 2**31 else None  # noqa: S608
    if found is None:
        raise NotFound(f"segment {n} in this transcript")
    return read_segment(found)


def _speakers(db: Database, row: Row) -> tuple[Speaker, ...]:
    _ensure_completed(row)
    [found] = rows(db, "SELECT speakers FROM results WHERE transcript_id = ? AND variant = 0", (row["id"],))
    return read_speakers(found["speakers"])


def _write_speakers(db: Database, transcript_id: int, speakers: tuple[Speaker, ...]) -> None:
    update = "UPDATE results SET speakers = ? WHERE transcript_id = ? AND variant = 0"
    db.conn.execute(update, (json_text(speakers), transcript_id))


def _rejoin_text(db: Database, transcript_id: int) -> None:
    texts = rows(db, "SELECT text FROM segments WHERE transcript_id = ? AND variant = 0 ORDER BY n", (transcript_id,))
    update = "UPDATE results SET text = ? WHERE transcript_id = ? AND variant = 0"
    db.conn.execute(update, (join_texts(row["text"] for row in texts), transcript_id))


def _ensure_completed(row: Row) -> None:
    if row["state"] != JobState.COMPLETED:
        raise NotReady("text", row["state"], read_failure(row["failure"]))
