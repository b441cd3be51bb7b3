"""Everything that is known about a transcript, for programs. Fields may be added; a change of meaning raises `version`."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec

from appliance.domain import Recording, TranscribeOptions, Transcript, TranscriptRecord, Value

VERSION: Final = 1


class JsonDocument(Value, frozen=True):
    version: int
    id: int
    slug: str
    title: str
    created_at: datetime
    finished_at: datetime | None
    revision: int
    audio: Recording  # with the SHA-256 of the file that was sent
    options: TranscribeOptions
    transcript: Transcript  # model, language, text, speakers, warnings, segments with their words
    alternatives: tuple[Transcript, ...]  # of the other compared models


def render_json(record: TranscriptRecord, transcript: Transcript) -> bytes:
    document = JsonDocument(
        version=VERSION,
        id=record.id,
        slug=record.slug,
        title=record.title,
        created_at=record.created_at,
        finished_at=record.finished_at,
        revision=record.revision,
        audio=record.recording,
        options=record.options,
        transcript=transcript,
        alternatives=record.alternatives,
    )
    return msgspec.json.encode(document)
