"""Recordings arrive whole or not at all, and whatever arrives lies in reserved memory only."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.audio.memory import MemoryBudget
from appliance.audio.upload import Form, Upload, UploadLimits, body_chunks, receive_body, receive_form
from appliance.errors import ApplianceError, ClientGone, EmptyFile, InvalidField, MemoryFull, UploadBroken, UploadTooLarge

LIMITS = UploadLimits(max_bytes=2**20, stall_timeout_s=5.0)
BOUNDARY = "-----------------------------boundary"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
RECORDING = bytes(range(256)) * 700


async def in_chunks(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def part(name: str, content: bytes, filename: str | None = None, content_type: str | None = None) -> bytes:
    lines = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"']
    lines[0] += f'; filename="{filename}"' if filename is not None else ""
    lines += [f"Content-Type: {content_type}"] if content_type else []
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def body(chunks: AsyncIterator[bytes], budget: MemoryBudget, declared: int | None = None, limits: UploadLimits = LIMITS) -> Upload:
    return asyncio.run(receive_body(chunks, budget, limits, declared_bytes=declared, filename="a.mp3", content_type="audio/mpeg"))


def parse(
    data: bytes | AsyncIterator[bytes], budget: MemoryBudget, declared: int | None = None, limits: UploadLimits = LIMITS
) -> Form:
    chunks = in_chunks(data) if isinstance(data, bytes) else data
    return asyncio.run(receive_form(chunks, budget, limits, content_type=FORM_TYPE, declared_bytes=declared))


def held(upload: Upload | None) -> bytes:
    assert upload is not None
    return os.pread(upload.file.fd, upload.size_bytes + 1, 0)


@pytest.mark.parametrize("declared", [len(RECORDING), None], ids=["declared length", "unknown length"])
def test_a_raw_body_arrives_whole_with_its_hash(declared: int | None, budget: MemoryBudget) -> None:
    upload = body(in_chunks(RECORDING), budget, declared)
    assert held(upload) == RECORDING
    assert upload.sha256 == hashlib.sha256(RECORDING).hexdigest()
    assert (upload.size_bytes, upload.filename, upload.content_type) == (len(RECORDING), "a.mp3", "audio/mpeg")
    assert budget.used_bytes == len(RECORDING)
    upload.close()


@pytest.mark.parametrize("size", [1, 7, 1000, 10**6], ids=lambda size: f"chunks of {size}")
def test_a_form_arrives_whole_however_it_is_cut(size: int, budget: MemoryBudget) -> None:
    recording = RECORDING[:5000] + b"\r\n--" + BOUNDARY[:9].encode() + b"\r\r\n"  # nearly a boundary
    data = form(part("model", b"base"), part("file", recording, "Gespräch.m4a", "audio/mp4"), part("words", "ä".encode()))
    received = parse(in_chunks(data, size), budget, len(data))
    assert received.fields == (("model", "base"), ("words", "ä"))
    assert held(received.upload) == recording
    assert received.upload is not None
    assert (received.upload.filename, received.upload.content_type) == ("Gespräch.m4a", "audio/mp4")
    assert budget.used_bytes == len(recording) + len("base") + len("ä".encode())
    received.close()


def test_a_form_may_carry_no_recording(budget: MemoryBudget) -> None:
    received = parse(form(part("model", b"base"), part("file", b"", "")), budget)
    assert received == Form((("model", "base"),), None)


def test_a_field_may_come_several_times(budget: MemoryBudget) -> None:
    assert parse(form(part("include[]", b"a"), part("include[]", b"b")), budget).fields == (("include[]", "a"), ("include[]", "b"))


def test_the_text_fields_count_as_well_from_the_first_byte_to_the_end_of_the_recording(budget: MemoryBudget) -> None:
    """They may hold samples of voices: 12 MiB, with each of many uploads at once."""
    sample = b"data:audio/wav;base64," + b"A" * 10_000
    fields = part("known_speaker_references[]", sample)
    received = parse(form(fields, part("file", b"RIFF", "a.wav")), budget)
    assert budget.used_bytes == len(sample) + len(b"RIFF")
    received.close()
    assert budget.used_bytes == 0
    with budget.reserve(budget.upload_bytes - 1000), pytest.raises(MemoryFull):
        parse(form(fields, part("file", b"RIFF", "a.wav")), budget)


def test_the_recording_is_sealed(budget: MemoryBudget) -> None:
    upload = body(in_chunks(RECORDING), budget)
    with pytest.raises(PermissionError):
        os.pwrite(upload.file.fd, b"x", 0)
    upload.close()


def test_memory_is_reserved_before_the_first_byte_is_read(budget: MemoryBudget) -> None:
    """TRAPS 1: the declared length is reserved first, so a full budget refuses without reading."""

    read = []

    async def chunks() -> AsyncIterator[bytes]:
        read.append("a chunk")
        yield b""

    with budget.reserve(budget.total_bytes - 100), pytest.raises(MemoryFull):
        body(chunks(), budget, declared=101)
    assert read == []


def failing(chunks: Iterable[bytes], error: Exception) -> AsyncIterator[bytes]:
    async def generate() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk
        raise error

    return generate()


def stalling() -> AsyncIterator[bytes]:
    async def generate() -> AsyncIterator[bytes]:
        yield RECORDING
        await asyncio.Event().wait()

    return generate()


def trickling(data: bytes) -> AsyncIterator[bytes]:
    """A byte now and then: no wait is long."""

    async def generate() -> AsyncIterator[bytes]:
        for i in range(len(data)):
            await asyncio.sleep(0.01)
            yield data[i : i + 1]

    return generate()


WHOLE = form(part("file", RECORDING, "a.wav"))


class Fault(NamedTuple):
    name: str
    chunks: Callable[[], AsyncIterator[bytes]]
    error: type[ApplianceError]
    declared: int | None = None
    limits: UploadLimits = LIMITS


FAULTS = (
    Fault("client gone", lambda: failing([WHOLE[:500]], ClientGone()), ClientGone),
    Fault("connection reset", lambda: failing([WHOLE[:500]], ConnectionResetError()), ClientGone),
    Fault("cut short", lambda: in_chunks(WHOLE[:-99]), ClientGone, declared=len(WHOLE)),
    Fault("stalled", stalling, UploadBroken, limits=UploadLimits(max_bytes=2**20, stall_timeout_s=0.02)),
    Fault("a trickle", lambda: trickling(WHOLE), UploadBroken, limits=UploadLimits(max_bytes=2**20, stall_timeout_s=0.2)),
    Fault("declared too large", lambda: in_chunks(WHOLE), UploadTooLarge, declared=10 * 2**20),
    Fault("too large", lambda: in_chunks(WHOLE), UploadTooLarge, limits=UploadLimits(max_bytes=1000, stall_timeout_s=5)),
)


@pytest.mark.parametrize("receive", [body, parse], ids=["body", "form"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_an_upload_that_fails_leaves_nothing(receive: Callable[..., object], fault: Fault, budget: MemoryBudget) -> None:
    with pytest.raises(fault.error):
        receive(fault.chunks(), budget, fault.declared, fault.limits)
    assert budget.used_bytes == 0


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"no form at all", UploadBroken, "not well formed"),
        (WHOLE[:-20], UploadBroken, "not well formed"),
        (form(part("file", b"", "a.mp3")), EmptyFile, "empty"),
        (form(part("file", b"1", "a.mp3"), part("file", b"2", "b.mp3")), InvalidField, "sent twice"),
        (form(part("model", b"1", "a.mp3")), InvalidField, "does not take a file"),
        (form(part("prompt", b"\xff\xfe")), InvalidField, "not UTF-8"),
        (form(part("prompt", bytes(101))), InvalidField, "too long"),
        (form(*[part("f", b"")] * 9), UploadBroken, "count"),
    ],
    ids=["not a form", "no end", "empty file", "two files", "file in a text field", "not text", "long field", "many fields"],
)
def test_a_bad_form_says_what_is_wrong(data: bytes, error: type[ApplianceError], words: str, budget: MemoryBudget) -> None:
    limits = UploadLimits(max_bytes=2**20, stall_timeout_s=5, max_field_bytes=100, max_fields=5)
    with pytest.raises(error, match=words):
        parse(data, budget, limits=limits)


def test_an_empty_body_is_an_empty_file(budget: MemoryBudget) -> None:
    with pytest.raises(EmptyFile):
        body(in_chunks(b""), budget, 0)


def test_a_form_without_boundary_is_refused(budget: MemoryBudget) -> None:
    with pytest.raises(UploadBroken, match="boundary"):
        asyncio.run(receive_form(in_chunks(WHOLE), budget, LIMITS, content_type="multipart/form-data", declared_bytes=None))


def test_a_full_budget_refuses_an_upload_of_unknown_length_midway(budget: MemoryBudget) -> None:
    with budget.reserve(budget.total_bytes - 5000), pytest.raises(MemoryFull):
        body(in_chunks(RECORDING), budget)


def test_a_cancelled_upload_leaves_nothing(budget: MemoryBudget) -> None:
    async def cancel_midway() -> None:
        written = asyncio.Event()

        async def chunks() -> AsyncIterator[bytes]:
            yield RECORDING
            written.set()
            await asyncio.Event().wait()

        receiving = receive_body(chunks(), budget, LIMITS, declared_bytes=None, filename="", content_type="")
        task = asyncio.create_task(receiving)
        await written.wait()
        assert budget.used_bytes == len(RECORDING)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel_midway())


def test_asgi_messages_become_chunks_and_a_disconnect_is_a_client_gone(budget: MemoryBudget) -> None:
    async def read(messages: list[dict[str, Any]]) -> list[bytes]:
        waiting = iter(messages)

        async def receive() -> dict[str, Any]:
            return next(waiting)

        return [chunk async for chunk in body_chunks(receive)]

    first = {"type": "http.request", "body": b"a", "more_body": True}
    assert asyncio.run(read([first, {"type": "http.request", "body": b"b"}])) == [b"a", b"b"]
    with pytest.raises(ClientGone):
        asyncio.run(read([first, {"type": "http.disconnect"}]))


def test_other_requests_get_their_turn_during_a_large_upload(budget: MemoryBudget) -> None:
    """Chunks of 1 MiB, hashed and written on the loop: nobody waits as long as a twentieth of a second for one of them."""

    async def measure() -> float:
        limits = UploadLimits(max_bytes=2**26, stall_timeout_s=5)
        longest_s, before_s = 0.0, time.thread_time()

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal longest_s, before_s
            for _ in range(16):
                longest_s = max(longest_s, time.thread_time() - before_s)
                await asyncio.sleep(0)
                before_s = time.thread_time()
                yield bytes(2**20)

        upload = await receive_body(chunks(), budget, limits, declared_bytes=None, filename="a", content_type="")
        upload.close()
        return longest_s

    assert asyncio.run(measure()) < 0.05


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=st.binary(max_size=300), size=st.integers(1, 64))
def test_no_garbage_breaks_the_form_parser(garbage: bytes, size: int, budget: MemoryBudget) -> None:
    try:
        parse(in_chunks(WHOLE[:200] + garbage, size), budget).close()
    except ApplianceError:
        assert budget.used_bytes == 0
