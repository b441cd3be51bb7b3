"""One entry for all formats: a record in, a document with its media type and file name out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from appliance.domain import Transcript, TranscriptRecord, Value
from appliance.errors import InvalidField, NotReady
from appliance.export.csv import render_csv
from appliance.export.json import render_json
from appliance.export.names import document_name, speaker_names
from appliance.export.srt import render_srt
from appliance.export.subtitles import PROFILES, SubtitleProfile, make_cues
from appliance.export.txt import render_txt
from appliance.export.vtt import render_vtt


class Document(Value, frozen=True):
    content: bytes
    media_type: str  # with charset where it is text
    filename: str  # from the recording's name; safe on every system; may hold any script


class Format(Value, frozen=True):
    media_type: str
    render: Callable[[TranscriptRecord, Transcript, SubtitleProfile, bool], bytes]


_FORMATS: Final[dict[str, Format]] = {
    "txt": Format("text/plain; charset=utf-8", lambda _, transcript, __, times: render_txt(transcript, times=times).encode()),
    "srt": Format(
        "application/x-subrip; charset=utf-8",
        lambda _, transcript, profile, __: render_srt(make_cues(transcript, profile)).encode(),
    ),
    "vtt": Format(
        "text/vtt; charset=utf-8",
        lambda _, transcript, profile, __: render_vtt(make_cues(transcript, profile), speaker_names(transcript)).encode(),
    ),
    "json": Format("application/json", lambda record, transcript, _, __: render_json(record, transcript)),
    "csv": Format("text/csv; charset=utf-8; header=present", lambda _, transcript, __, ___: render_csv(transcript).encode()),
}
FORMATS: Final = tuple(_FORMATS)


def export(
    record: TranscriptRecord, format: str, profile: SubtitleProfile = PROFILES["default"], *, times: bool = False
) -> Document:
    """`profile` shapes srt and vtt, `times` puts the time before each paragraph of txt.

    Raises `NotReady` before the transcript is completed, `InvalidField` for a format not in `FORMATS`.
    """
    wanted = _FORMATS.get(format)
    if wanted is None:
        raise InvalidField("format", f"is '{format}', which is not made here", f"There are: {', '.join(FORMATS)}.")
    if record.transcript is None:
        raise NotReady("transcript", record.state, record.failure)
    content = wanted.render(record, record.transcript, profile, times)
    return Document(content, wanted.media_type, document_name(record.recording.filename, format))
