"""Full-text search in every script: how text is cut into tokens, how a query is read, and where it was found."""

from __future__ import annotations

from appliance.domain import Value


class Snippet(Value, frozen=True):
    """A place where a search found something."""

    segment: int | None  # Segment.id; None: in the title
    start: float | None  # of the segment, in seconds
    end: float | None
    text: str  # of the whole segment, or the title
    marks: tuple[tuple[int, int], ...]  # what matched, as offsets into `text`
