"""`appliance decrypt`: opens the envelope of a private transcript on any machine, with nothing but the password."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from appliance.crypto.envelope import MAX_ENVELOPE_BYTES, read_envelope, unlock
from appliance.domain import JobState, Priority, TranscriptRecord
from appliance.errors import EnvelopeInvalid, InvalidField
from appliance.export import export
from appliance.export.json import JsonDocument

app = typer.Typer(help="Open the envelope of a private transcript.")


class Format(StrEnum):
    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"
    CSV = "csv"


@app.command()
def decrypt(
    file: Annotated[str, typer.Argument(help="The envelope, as the page saves it or GET …/envelope answers; '-' for stdin.")],
    file_format: Annotated[Format, typer.Option("--format", "-f", help="What to write to stdout.")] = Format.JSON,
) -> None:
    """Asks for the password, without showing it, and writes the transcript to stdout. Needs no appliance."""
    envelope = read_envelope(_read(file))
    password = typer.prompt("Password", hide_input=True, err=True)
    content = unlock(envelope, password)
    if file_format is not Format.JSON:
        content = export(record_of(content), file_format.value).content
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def _read(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read(MAX_ENVELOPE_BYTES + 1)
    try:
        with Path(file).open("rb") as source:
            return source.read(MAX_ENVELOPE_BYTES + 1)
    except OSError as error:
        raise InvalidField("file", f"cannot be read: {error.strerror}", "Check the path.") from error


def record_of(content: bytes) -> TranscriptRecord:
    """The document inside, as the exports want it. Raises `EnvelopeInvalid`."""
    try:
        document = msgspec.json.decode(content, type=JsonDocument)
    except msgspec.DecodeError as error:
        raise EnvelopeInvalid("it opens, but what is inside is not a transcript of this version") from error
    return TranscriptRecord(
        id=document.id,
        slug=document.slug,
        owner="",
        title=document.title,
        recording=document.audio,
        options=document.options,
        models=(document.transcript.model,),
        priority=Priority.NORMAL,
        state=JobState.COMPLETED,
        created_at=document.created_at,
        transcript=document.transcript,
        alternatives=document.alternatives,
    )
