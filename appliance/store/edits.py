"""What people change in a finished transcript: optimistic locking, and a readable history of what stood before."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import UNSET, UnsetType

from appliance.domain import Segment, Speaker, Value

EditKind = Literal["title", "speakers", "segment"]


class TranscriptEdit(Value, frozen=True):
    """Changes to the whole; a field that is left out stays as it is."""

    title: str | None = None
    speaker_names: dict[str, str | None] | None = None  # label -> name; None takes the name away; labels not named stay


class SegmentEdit(Value, frozen=True):
    """Changes to one segment; a field that is left out stays as it is."""

    text: str | None = None
    speaker: str | None | UnsetType = UNSET  # a Speaker.label, a new label, or None for nobody


class Revision(Value, frozen=True):
    """One edit: what stood there before it. The newest text is in the transcript itself."""

    revision: int  # the number the transcript got by this edit, from 1
    edited_at: datetime
    edited_by: str | None  # owner id of whoever edited; None: an administrator
    kind: EditKind
    title: str | None = None  # the title before (kind "title")
    speakers: tuple[Speaker, ...] | None = None  # all speakers before (kind "speakers")
    segment: Segment | None = None  # the segment before (kind "segment")
