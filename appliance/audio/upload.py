"""An upload, streamed from the socket into reserved memory while its SHA-256 is computed.

Litestar's own form parser writes uploads to a temporary file, so nothing here uses it (TRAPS 1): `body_chunks` reads
the ASGI messages, and `multipart.PushMultipartParser`, which does no input or output, splits them. On every error the
memory, its descriptor and its reservation are gone before the caller sees the exception. Chunks are hashed and written
on the event loop: 64 KiB cost about a twentieth of a millisecond.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Container
from dataclasses import dataclass, replace
from typing import Any

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from appliance.audio.arrival import steadily
from appliance.audio.memory import MemoryBudget, MemoryFile, Reservation
from appliance.domain import Value
from appliance.errors import ClientGone, EmptyFile, InvalidField, UploadBroken, UploadTooLarge

_INLINE_BYTES = 2**20  # larger chunks are cut, so that other requests get their turn
MAX_FIELD_BYTES = 4 * 2**20
_ENVELOPE_BYTES = 64 * 2**10  # boundaries and headers around the parts of a form


class UploadLimits(Value, frozen=True):
    max_bytes: int  # of the recording
    stall_timeout_s: float
    max_field_bytes: int = MAX_FIELD_BYTES  # of all other fields together
    max_fields: int = 100


@dataclass(frozen=True, slots=True)
class Upload:
    """A recording that arrived whole. Whoever holds it must close it."""

    file: MemoryFile  # sealed
    filename: str
    content_type: str
    size_bytes: int
    sha256: str
    beside: Reservation | None = None  # for the text fields that came with it, which may hold samples of voices

    def close(self) -> None:
        self.file.close()
        if self.beside:
            self.beside.release()


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart form: its text fields in the order they came, and the recording if there was one."""

    fields: tuple[tuple[str, str], ...]
    upload: Upload | None

    def close(self) -> None:
        if self.upload:
            self.upload.close()


async def body_chunks(receive: Callable[[], Awaitable[Any]]) -> AsyncIterator[bytes]:
    """The body of an ASGI request, piece by piece. Raises `ClientGone` when the client leaves before its end."""
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def receive_body(
    chunks: AsyncIterator[bytes],
    budget: MemoryBudget,
    limits: UploadLimits,
    *,
    declared_bytes: int | None,
    filename: str,
    content_type: str,
) -> Upload:
    """The whole body is the recording. `declared_bytes`: its Content-Length, None when it is not known.

    Raises `EmptyFile`, `UploadTooLarge`, `MemoryFull`, `UploadBroken` (it came too slowly) and `ClientGone`.
    """
    if declared_bytes is not None and declared_bytes > limits.max_bytes:
        raise UploadTooLarge(limits.max_bytes)
    intake = _Intake(budget, limits, declared_bytes or 0, filename, content_type)
    try:
        async for chunk in _whole(chunks, limits.stall_timeout_s, declared_bytes):
            intake.write(chunk)
        return intake.finish()
    except BaseException:
        intake.close()
        raise


async def receive_form(
    chunks: AsyncIterator[bytes],
    budget: MemoryBudget,
    limits: UploadLimits,
    *,
    content_type: str,
    declared_bytes: int | None,
    file_fields: Container[str] = ("file",),
) -> Form:
    """A multipart form; the part named in `file_fields` is the recording.

    Raises `EmptyFile`, `UploadTooLarge`, `MemoryFull`, `UploadBroken` (not a multipart form, or it came too
    slowly), `ClientGone` and `InvalidField`.
    """
    if declared_bytes is not None and declared_bytes > limits.max_bytes + limits.max_field_bytes + _ENVELOPE_BYTES:
        raise UploadTooLarge(limits.max_bytes)
    reader = _FormReader(budget, limits, declared_bytes or 0, file_fields)
    parser = _parser(content_type, limits)
    try:
        async for chunk in _whole(chunks, limits.stall_timeout_s, declared_bytes):
            for event in parser.parse(chunk):
                reader.take(event)
        parser.close()
        return reader.finish()
    except MultipartError as error:
        reader.close()
        raise UploadBroken(f"the form is not well formed ({error})") from error
    except BaseException:
        reader.close()
        raise


class _Intake:
    """One recording on its way in."""

    def __init__(self, budget: MemoryBudget, limits: UploadLimits, reserve_bytes: int, filename: str, content_type: str) -> None:
        self._max_bytes = limits.max_bytes
        self._filename = filename
        self._content_type = content_type
        self._hash = hashlib.sha256()
        self._file = MemoryFile.create("upload", budget, reserve_bytes, upload=True)

    def write(self, chunk: bytes | bytearray) -> None:
        if self._file.size + len(chunk) > self._max_bytes:
            raise UploadTooLarge(self._max_bytes)
        self._file.write(chunk)
        self._hash.update(chunk)

    @property
    def is_blank(self) -> bool:
        """What a browser sends for a file input that nobody filled in."""
        return not self._filename and not self._file.size

    def finish(self) -> Upload:
        if not self._file.size:
            raise EmptyFile
        self._file.seal()
        return Upload(self._file, self._filename, self._content_type, self._file.size, self._hash.hexdigest())

    def close(self) -> None:
        self._file.close()


class _FormReader:
    """Sorts the parser's events into text fields and the recording."""

    def __init__(self, budget: MemoryBudget, limits: UploadLimits, declared_bytes: int, file_fields: Container[str]) -> None:
        self._budget = budget
        self._limits = limits
        self._reserve_bytes = min(declared_bytes, limits.max_bytes)
        self._file_fields = file_fields
        self._fields: list[tuple[str, str]] = []
        self._beside = budget.reserve(0, upload=True)  # for the text fields
        self._name = ""
        self._value: bytearray | None = None  # of the text field that is being read
        self._intake: _Intake | None = None

    def take(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        """`event`: a part begins, a piece of its content, or (None) it ends."""
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event is None:
            self._end()
        elif self._value is not None:
            self._add_text(event)
        elif self._intake:
            self._intake.write(event)

    def _begin(self, part: MultipartSegment) -> None:
        self._name = part.name
        if part.name not in self._file_fields:
            if part.filename:
                raise InvalidField(part.name, "does not take a file", "Send the recording as 'file'.")
            self._value = bytearray()
            return
        if self._intake:
            raise InvalidField(part.name, "was sent twice", "One request carries one recording.")
        content_type = part.content_type or "application/octet-stream"
        self._intake = _Intake(self._budget, self._limits, self._reserve_bytes, part.filename or "", content_type)

    def _add_text(self, data: bytes | bytearray) -> None:
        assert self._value is not None
        self._beside.grow(len(data))
        if self._beside.n_bytes > self._limits.max_field_bytes:
            raise InvalidField(self._name, f"is too long: all fields together may have {self._limits.max_field_bytes} bytes")
        self._value += data

    def _end(self) -> None:
        value, self._value = self._value, None
        if value is None:
            return
        try:
            self._fields.append((self._name, value.decode()))
        except UnicodeDecodeError as error:
            raise InvalidField(self._name, "is not UTF-8 text") from error

    def finish(self) -> Form:
        if self._intake and self._intake.is_blank:
            self._intake.close()
            self._intake = None
        if self._intake:
            return Form(tuple(self._fields), replace(self._intake.finish(), beside=self._beside))
        self._beside.release()
        return Form(tuple(self._fields), None)

    def close(self) -> None:
        self._beside.release()
        if self._intake:
            self._intake.close()


def _parser(content_type: str, limits: UploadLimits) -> PushMultipartParser:
    kind, options = parse_options_header(content_type)
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise UploadBroken("it is not a multipart form with a boundary")
    return PushMultipartParser(options["boundary"], max_segment_count=limits.max_fields)


async def _whole(chunks: AsyncIterator[bytes], stall_timeout_s: float, declared_bytes: int | None) -> AsyncIterator[bytes]:
    """The same bytes in pieces that are neither empty nor larger than `_INLINE_BYTES`.

    Raises `UploadBroken` when they come too slowly, `ClientGone` when they end before `declared_bytes`.
    """
    received = 0
    async for chunk in steadily(chunks, stall_timeout_s):
        received += len(chunk)
        for start in range(0, len(chunk), _INLINE_BYTES):
            if start:
                await asyncio.sleep(0)
            yield chunk[start : start + _INLINE_BYTES]
    if declared_bytes is not None and received < declared_bytes:
        raise ClientGone
