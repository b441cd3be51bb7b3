"""Private transcripts: joined and sealed by a child process, held in memory until they were fetched, told to nobody.

The words of a private transcript are never values of this process: the recognition worker seals them to the child, and the
child's document goes from its pipe into an anonymous memory file. What a browser stores instead is `store/envelopes.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from appliance.crypto.envelope import MAX_ENVELOPE_BYTES
from appliance.domain import Caution, Recording, TranscribeOptions, TranscriptRecord, Value
from appliance.engine.protocol import Diarization, Sealed
from appliance.engine.wire import pack
from appliance.errors import ResultGone, WorkerCrashed
from appliance.joining.join import ChildOrder, Joined, JoinOrder

NAMELESS: Final = "Private recording"
_COMMAND = (sys.executable, "-I", "-B", "-m", "appliance.joining.child")
_ENVIRONMENT = {"LANG": "C.UTF-8"}  # nothing of ours
_PIPE_BYTES = 2**20
_CHUNK_BYTES = 256 * 2**10
_NOTHING = bytes(_CHUNK_BYTES)
_PUBLIC_KEY_LINE_S = 60.0
_JOIN_S = 900.0


class Privacy(Value, frozen=True):
    """What somebody asked for who wants no one to read the text here."""

    hide_name: bool = False  # the server learns no file name either
    seal_to: bytes = b""  # the browser's public key; empty: the result is held as it is


class PrivateJob(Value, frozen=True):
    """What the joining child needs to know of a private recording."""

    record: TranscriptRecord  # with what was really asked, which the store does not know
    privacy: Privacy


def visible_options(options: TranscribeOptions) -> TranscribeOptions:
    """What the store may know: words to expect would be words of the transcript."""
    return replace(options, hotwords=(), initial_prompt=None, private=True)


def visible_recording(recording: Recording, privacy: Privacy) -> Recording:
    """Name, size and duration; no checksum, by which a known recording could be told."""
    name = NAMELESS if privacy.hide_name else recording.filename
    return Recording(name, recording.size_bytes, "", duration=recording.duration)


# --- the child --------------------------------------------------------------------------------------------------------


class Joiner:
    """One child process for one job. Its private key is in its own memory only."""

    def __init__(self, child: asyncio.subprocess.Process, content_fd: int, public_key: bytes) -> None:
        self._child = child
        self._content_fd = content_fd
        self.public_key = public_key

    async def join(self, order: JoinOrder) -> PrivateResult:
        """The document, plain or sealed. Raises `WorkerCrashed`."""
        assert self._child.stdin
        assert self._child.stdout
        result = PrivateResult(is_sealed=bool(order.seal_to))
        with contextlib.ExitStack() as on_error:
            on_error.callback(result.wipe)
            filling = asyncio.create_task(asyncio.to_thread(result.fill, self._content_fd))
            try:
                async with asyncio.timeout(_JOIN_S):
                    with contextlib.suppress(ConnectionError):  # it is gone: told below
                        self._child.stdin.write(pack(order))
                        await self._child.stdin.drain()
                        self._child.stdin.close()
                    answer = await self._child.stdout.readline()
                    await self._child.wait()
            finally:
                await _surely(_end(self._child, filling))
            if self._child.returncode or not answer or filling.exception():
                raise WorkerCrashed(1)
            result.language = msgspec.json.decode(answer, type=Joined).language
            on_error.pop_all()
        return result


@contextlib.asynccontextmanager
async def start_joiner() -> AsyncIterator[Joiner]:
    """Ends the child however the block ends. Raises `WorkerCrashed` when it does not start."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # a limit per user; a smaller pipe is only slower
        fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    try:
        child = await _spawn(write_fd)
    except BaseException:
        os.close(read_fd)
        raise
    finally:
        os.close(write_fd)
    try:
        yield Joiner(child, read_fd, await _public_key(child))
    finally:
        try:
            if child.returncode is None:  # after a join a cancel would lose its result here
                await _surely(_end(child))
        finally:
            os.close(read_fd)


async def _spawn(write_fd: int) -> asyncio.subprocess.Process:
    order = msgspec.json.encode(ChildOrder(os.getpid(), write_fd)).decode()
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *_COMMAND, order, stdin=pipe, stdout=pipe, pass_fds=(write_fd,), env=_ENVIRONMENT, cwd="/"
    )


async def _public_key(child: asyncio.subprocess.Process) -> bytes:
    assert child.stdout
    try:
        async with asyncio.timeout(_PUBLIC_KEY_LINE_S):
            return bytes.fromhex((await child.stdout.readline()).decode() or "missing")
    except (TimeoutError, ValueError) as error:
        raise WorkerCrashed(1) from error


async def _end(child: asyncio.subprocess.Process, filling: asyncio.Task[None] | None = None) -> None:
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    if filling:  # the child's end closed the pipe
        await asyncio.wait({filling})


async def _surely(ending: Coroutine[Any, Any, None]) -> None:
    """Wait for what ends in a moment, however often this is cancelled meanwhile; that is told afterwards."""
    task, cancelled = asyncio.create_task(ending), None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        raise cancelled
    task.result()


def join_order(
    sealed: Sealed, found: Diarization | None, cautions: tuple[Caution, ...], record: TranscriptRecord, privacy: Privacy
) -> JoinOrder:
    return JoinOrder(sealed.content, found, cautions, record, privacy.seal_to)


# --- the result -------------------------------------------------------------------------------------------------------


class PrivateResult:
    """A document in a memory file that no path names, not in this process's own memory until it is fetched."""

    def __init__(self, *, is_sealed: bool) -> None:
        self.is_sealed = is_sealed
        self.language = ""
        self.size_bytes = 0
        self._fd = os.memfd_create("private result", os.MFD_CLOEXEC)
        self._chunks: list[bytearray] = []

    def fill(self, pipe_fd: int) -> None:
        """From a pipe until its end, past this process's memory. Blocks. Raises `OSError`."""
        while moved := os.splice(pipe_fd, self._fd, _PIPE_BYTES):
            self.size_bytes += moved
            if self.size_bytes > MAX_ENVELOPE_BYTES:
                raise OSError(f"a private result is larger than {MAX_ENVELOPE_BYTES} bytes")

    def chunks(self) -> list[bytearray]:
        """The document, read once: however often it is fetched, there is one copy, and `wipe` knows it. Raises `ResultGone`."""
        if self._fd < 0:
            raise ResultGone
        if not self._chunks:
            for offset in range(0, self.size_bytes, _CHUNK_BYTES):
                chunk = bytearray(min(_CHUNK_BYTES, self.size_bytes - offset))
                os.preadv(self._fd, [chunk], offset)
                self._chunks.append(chunk)
        return self._chunks

    def wipe(self) -> None:
        """Overwrite every copy and let go of it; calling it again does nothing."""
        for chunk in self._chunks:
            chunk[:] = _NOTHING[: len(chunk)]
        self._chunks = []
        fd, self._fd = self._fd, -1
        if fd >= 0:
            for offset in range(0, self.size_bytes, _CHUNK_BYTES):
                os.pwrite(fd, _NOTHING[: self.size_bytes - offset], offset)
            os.close(fd)

    def __del__(self) -> None:
        """A job that is cancelled when its result was just made has nobody left who would wipe it."""
        self.wipe()


class HeldResults:
    """Results that wait to be fetched and acknowledged; lives on the event loop."""

    def __init__(self, ttl_s: float, on_expired: Callable[[int], None]) -> None:
        self._ttl_s = ttl_s
        self._on_expired = on_expired
        self._held: dict[int, tuple[PrivateResult, asyncio.TimerHandle]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, transcript_id: int, result: PrivateResult) -> None:
        timer = asyncio.get_running_loop().call_later(self._ttl_s, self._expire, transcript_id)
        self._held[transcript_id] = (result, timer)

    def find(self, transcript_id: int) -> PrivateResult | None:
        held = self._held.get(transcript_id)
        return held[0] if held else None

    def seconds_left(self, transcript_id: int) -> float | None:
        held = self._held.get(transcript_id)
        return max(0.0, held[1].when() - asyncio.get_running_loop().time()) if held else None

    def wipe(self, transcript_id: int) -> bool:
        """Whether there was one."""
        if held := self._held.pop(transcript_id, None):
            held[1].cancel()
            held[0].wipe()
        return held is not None

    def wipe_all(self) -> None:
        for transcript_id in tuple(self._held):
            self.wipe(transcript_id)

    def _expire(self, transcript_id: int) -> None:
        self.wipe(transcript_id)
        self._on_expired(transcript_id)
