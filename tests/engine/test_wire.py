"""Messages between the API process and a worker."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from pathlib import Path

import msgspec
import pytest

from appliance import errors
from appliance.audio.pcm import PcmLayout
from appliance.domain import Segment, Stage, TranscribeOptions, Transcript, Word
from appliance.engine import wire
from appliance.engine.protocol import EngineProgress, RecognizeRequest

REQUEST = RecognizeRequest(
    job_id="7",
    model="whisper-base",
    model_dir=Path("/models/whisper-base"),
    options=TranscribeOptions(model="whisper-base", hotwords=("Ångström",)),
    pcm=PcmLayout(samples=3, channels=2),
)


def transcript(words: int) -> Transcript:
    said = tuple(Word(start=float(n), end=n + 0.5, text=f"word{n}", probability=0.9) for n in range(words))
    segment = Segment(id=0, start=0.0, end=float(words), text="…", words=said)
    return Transcript(
        text="…", language="en", language_probability=1.0, languages=("en",), duration=9.0, model="m", segments=(segment,)
    )


def test_an_order_arrives_with_the_audio_it_is_about() -> None:
    async def send(ours: socket.socket) -> None:
        line = wire.ParentLine(ours)
        audio = os.memfd_create("audio")
        os.write(audio, b"\x01\x00\x02\x00")
        await line.send(wire.Withdraw(1))
        await line.send(wire.Recognize(2, REQUEST), audio)
        os.close(audio)
        await line.send(wire.Warm(3, Path("/models/x")))
        line.close()

    ours, theirs = socket.socketpair()
    asyncio.run(send(ours))
    worker = wire.WorkerLine(theirs)
    assert worker.receive() == (wire.Withdraw(1), None)
    order, fd = worker.receive()
    assert order == wire.Recognize(2, REQUEST)
    assert fd is not None
    assert os.pread(fd, 4, 0) == b"\x01\x00\x02\x00"
    assert not os.get_inheritable(fd)
    os.close(fd)
    assert worker.receive() == (wire.Warm(3, Path("/models/x")), None)
    with pytest.raises(wire.LineClosed):
        worker.receive()
    worker.close()


def test_a_result_larger_than_the_socket_buffer_arrives_whole() -> None:
    result = transcript(words=50_000)

    async def receive(ours: socket.socket) -> wire.Report:
        line = wire.ParentLine(ours)
        try:
            return await line.receive()
        finally:
            line.close()

    ours, theirs = socket.socketpair()
    worker = wire.WorkerLine(theirs)
    sender = threading.Thread(target=worker.send, args=(wire.Done(5, msgspec.Raw(wire.pack(result))),))
    sender.start()
    report = asyncio.run(receive(ours))
    sender.join()
    worker.close()
    assert isinstance(report, wire.Done)
    assert wire.unpack(report.result, Transcript) == result


def test_a_large_order_to_a_busy_worker_waits_for_it_and_is_not_torn() -> None:
    long_prompt = REQUEST.options.__class__(model="m", initial_prompt="x" * 2_000_000)
    order = wire.Recognize(1, RecognizeRequest("7", "m", Path("/m"), long_prompt, REQUEST.pcm))
    received: list[wire.Order] = []

    async def send(ours: socket.socket) -> None:
        line = wire.ParentLine(ours)
        audio = os.memfd_create("audio")
        first = asyncio.create_task(line.send(order, audio))
        await asyncio.sleep(0)
        first.cancel()  # a cancelled sender must not leave half a frame behind
        second = asyncio.create_task(line.send(wire.Withdraw(1)))
        reader = asyncio.create_task(asyncio.to_thread(read))
        await asyncio.gather(second, reader)
        os.close(audio)
        line.close()

    def read() -> None:
        for _ in range(2):
            message, fd = worker.receive()
            received.append(message)
            if fd is not None:
                os.close(fd)

    ours, theirs = socket.socketpair()
    worker = wire.WorkerLine(theirs)
    asyncio.run(send(ours))
    worker.close()
    assert received == [order, wire.Withdraw(1)]


def test_events_keep_their_type() -> None:
    told = wire.Told(4, EngineProgress(job_id="7", stage=Stage.RECOGNIZE, fraction=0.5))
    assert wire.unpack(wire.pack(told), wire.Report) == told  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "error",
    [
        errors.Cancelled(),
        errors.LanguageUnsupported("xx", "whisper-tiny.en"),
        errors.DeviceOutOfMemory(),
        errors.NotAvailable("hotwords", "the model has none", "leave it out"),
        errors.ApplianceError("Odd.", "Nothing to do."),
    ],
)
def test_an_error_of_the_worker_is_the_same_error_here(error: errors.ApplianceError) -> None:
    again = wire.as_error(wire.unpack(wire.pack(wire.failed(1, error)), wire.Failed))
    assert type(again) is type(error)
    facts = ("code", "message", "hint", "status", "param", "retry_after_s")
    assert [getattr(again, fact) for fact in facts] == [getattr(error, fact) for fact in facts]


def test_a_length_beyond_all_reason_ends_the_line() -> None:
    async def receive(ours: socket.socket) -> None:
        line = wire.ParentLine(ours)
        try:
            await line.receive()
        finally:
            line.close()

    ours, theirs = socket.socketpair()
    theirs.sendall(b"\xff\xff\xff\xff")
    with pytest.raises(wire.LineClosed):
        asyncio.run(receive(ours))
    theirs.close()
