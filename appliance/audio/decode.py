"""A recording becomes int16 samples at 16 kHz: one sandboxed child process per file does it, this side watches it.

The child is not trusted: its samples are counted and their memory is reserved here before they leave the pipe, its
answers are checked, and it is killed when it says too much, says nothing, or is no longer wanted. The samples go from
the pipe into a sealed memfd (116 MiB per hour and channel) without passing through this process's own memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from appliance.audio import decode_wire as wire
from appliance.audio.memory import MemoryBudget, MemoryFile
from appliance.audio.pcm import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, PcmLayout
from appliance.domain import ChannelMode, Value
from appliance.errors import (
    ApplianceError,
    AudioTooLong,
    BrokenMedia,
    DecodeRefused,
    EmptyFile,
    MemoryFull,
    NoAudioTrack,
    NotMedia,
    UploadTooLarge,
)

log = logging.getLogger(__name__)

_PIPE_BYTES = 2**20
_EXIT_GRACE_S = 5.0  # from its last answer to its end
_WALL_PER_CPU = 10.0  # a machine may be this much busier than the child alone
_SILENCE_S = 120.0  # a child that says nothing for this long is taken for hung
_COMMAND = (sys.executable, "-I", "-B", "-m", "appliance.audio.decode_child")
_ENVIRONMENT = {"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # nothing of ours


class MediaInfo(Value, frozen=True):
    container: str  # FFmpeg's name, e.g. "mp3" or "mov,mp4,m4a,3gp,3g2,mj2"
    codec: str
    sample_rate_hz: int
    channels: int
    audio_tracks: int
    truncated: bool  # some of it could not be read, or its header promised more


class DecodeLimits(Value, frozen=True):
    max_duration_s: float
    memory_bytes: int  # address space of the child
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Pcm:
    """A decoded recording. Whoever holds it must close it."""

    file: MemoryFile  # sealed; int16 little-endian, channels interleaved
    layout: PcmLayout
    media: MediaInfo

    def close(self) -> None:
        self.file.close()


async def decode(
    source: MemoryFile,
    budget: MemoryBudget,
    limits: DecodeLimits,
    *,
    channels: ChannelMode,
    audio_track: int | None,
    on_fraction: Callable[[float], None],
) -> Pcm:
    """Decode a sealed recording. Cancelling the task kills the child and frees everything.

    `on_fraction` is called on the event loop with the part of the file that is done, rising from 0 to 1. Raises `EmptyFile`,
    `NotMedia`, `BrokenMedia`, `NoAudioTrack`, `AudioTooLong`, `DecodeRefused` and `MemoryFull`.
    """
    if not source.size:
        raise EmptyFile
    with contextlib.ExitStack() as on_error:
        file = MemoryFile.create("pcm", budget)
        on_error.callback(file.close)
        intake = _Intake(file, limits.max_duration_s, audio_track, on_fraction)
        try:
            await _run_child(source, limits, channels, audio_track, intake)
        except (MemoryFull, UploadTooLarge) as error:
            raise _what_fits(error, source, budget, intake) from error
        pcm = intake.finish()
        on_error.pop_all()
        return pcm


def _what_fits(error: ApplianceError, source: MemoryFile, budget: MemoryBudget, intake: _Intake) -> ApplianceError:
    """The budget was full; when even an empty one would not do, waiting does not help and the error must not promise it."""
    if source.size + intake.wanted_bytes <= budget.total_bytes:
        return error if isinstance(error, MemoryFull) else budget.full()
    return AudioTooLong((budget.total_bytes - source.size) / (SAMPLE_RATE_HZ * intake.frame_bytes))


async def _run_child(
    source: MemoryFile, limits: DecodeLimits, channels: ChannelMode, audio_track: int | None, intake: _Intake
) -> None:
    """Start the child, take in all it says, and see it dead before returning, whatever happens."""
    with _pipe() as pcm, _pipe() as answers:
        order = wire.DecodeOrder(
            parent_pid=os.getpid(),
            source_fd=source.fd,
            size_bytes=source.size,
            pcm_fd=pcm.write_fd,
            answer_fd=answers.write_fd,
            channels=channels,
            audio_track=audio_track,
            memory_bytes=limits.memory_bytes,
            cpu_s=max(round(limits.cpu_s), 1),
        )
        child = await _start(order)
        grace_s = 0.0
        try:
            pcm.close_writer()
            answers.close_writer()
            await intake.run(pcm.read_fd, answers.read_fd, limits.cpu_s * _WALL_PER_CPU)
            grace_s = _EXIT_GRACE_S
        finally:
            exit_code = await asyncio.shield(asyncio.ensure_future(_end(child, grace_s)))
        intake.check_exit(exit_code)


async def _end(child: asyncio.subprocess.Process, grace_s: float) -> int:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace_s):
            return await child.wait()
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    return await child.wait()


async def _start(order: wire.DecodeOrder) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *_COMMAND,
        msgspec.json.encode(order).decode(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=(order.source_fd, order.pcm_fd, order.answer_fd),
        env=_ENVIRONMENT,
        cwd="/",
    )


class _Pipe:
    """Read end for this process, write end for the child."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.read_fd, False)
        with contextlib.suppress(OSError):  # a limit per user; a smaller pipe is only slower
            fcntl.fcntl(self.write_fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def close_writer(self) -> None:
        fd, self.write_fd = self.write_fd, -1
        if fd >= 0:
            os.close(fd)

    def close(self) -> None:
        self.close_writer()
        os.close(self.read_fd)


@contextlib.contextmanager
def _pipe() -> Iterator[_Pipe]:
    pipe = _Pipe()
    try:
        yield pipe
    finally:
        pipe.close()


class _Intake:
    """Takes in what the child says and counts it."""

    def __init__(
        self, file: MemoryFile, max_duration_s: float, audio_track: int | None, on_fraction: Callable[[float], None]
    ) -> None:
        self._file = file
        self._audio_track = audio_track
        self._max_duration_s = max_duration_s
        self._on_fraction = on_fraction
        self._fraction = 0.0
        self._opened: wire.Opened | None = None
        self._ended: wire.Ended | None = None
        self._line = b""

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return BYTES_PER_SAMPLE * (self._opened.pcm_channels if self._opened else 1)

    @property
    def wanted_bytes(self) -> int:
        """At least this much memory is needed for the samples."""
        return self._file.size + _PIPE_BYTES

    async def run(self, pcm_fd: int, answer_fd: int, wall_s: float) -> None:
        """Until the child has closed both pipes."""
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._heard_at_s = self._loop.time()
        self._open_fds = {pcm_fd, answer_fd}
        self._answer_fd = answer_fd
        self._loop.add_reader(answer_fd, self._take, answer_fd, self._take_answers)
        self._loop.add_reader(pcm_fd, self._take, pcm_fd, self._take_samples)
        try:
            async with asyncio.timeout(wall_s):
                await self._until_done()
        except TimeoutError as error:
            raise DecodeRefused("it takes longer than is allowed") from error
        finally:
            for fd in tuple(self._open_fds):
                self._loop.remove_reader(fd)

    async def _until_done(self) -> None:
        while not (await asyncio.wait((self._done,), timeout=_SILENCE_S))[0]:
            if self._loop.time() - self._heard_at_s > _SILENCE_S:
                raise DecodeRefused("the decoder stopped answering")
        self._done.result()

    def _take(self, fd: int, take: Callable[[int], bool]) -> None:
        """Called by the event loop when a pipe has something, or has ended."""
        self._heard_at_s = self._loop.time()
        try:
            if take(fd):
                return
            self._loop.remove_reader(fd)
            self._open_fds.remove(fd)
            if not self._open_fds:
                self._done.set_result(None)
        except BlockingIOError:
            return
        except Exception as error:  # noqa: BLE001 -- carried to the task that waits in `run`, which ends the job
            self._stop(error)

    def _stop(self, error: Exception) -> None:
        for fd in tuple(self._open_fds):
            self._loop.remove_reader(fd)
        self._open_fds.clear()
        self._done.set_exception(error)

    def _take_samples(self, fd: int) -> bool:
        if self._opened is None:
            with contextlib.suppress(BlockingIOError):
                self._take_answers(self._answer_fd)  # it was sent first, but the loop may look at this pipe first
        received = self._file.write_from_pipe(fd)
        if received and self._opened is None:
            raise DecodeRefused("the decoder broke its protocol")
        if self._file.size > self._max_duration_s * SAMPLE_RATE_HZ * self.frame_bytes:
            raise AudioTooLong(self._max_duration_s)
        return received > 0

    def _take_answers(self, fd: int) -> bool:
        data = os.read(fd, wire.MAX_LINE_BYTES)
        *lines, self._line = (self._line + data).split(b"\n")
        if len(self._line) > wire.MAX_LINE_BYTES:
            raise DecodeRefused("the decoder broke its protocol")
        for line in lines:
            self._take_answer(line)
        return len(data) > 0

    def _take_answer(self, line: bytes) -> None:
        try:
            answer = msgspec.json.decode(line, type=wire.Answer)
        except msgspec.DecodeError as error:
            raise DecodeRefused("the decoder broke its protocol") from error
        match answer:
            case wire.Closed():
                _log_sandbox(answer.landlock)
            case wire.At():
                self._progress(answer.fraction)
            case wire.Opened():
                self._opened = self._opened or answer
            case wire.Ended():
                self._ended = answer
            case wire.Refused():
                raise _error_of(answer, self._audio_track)

    def _progress(self, fraction: float) -> None:
        if self._fraction < fraction <= 1.0:
            self._fraction = fraction
            self._on_fraction(fraction)

    def check_exit(self, exit_code: int) -> None:
        """`exit_code`: negative for the signal that ended the child."""
        if exit_code == -signal.SIGXCPU:
            raise DecodeRefused("it needs more computing time than is allowed")
        if exit_code or self._ended is None:
            raise DecodeRefused(f"the decoder died ({_signal_name(exit_code)})")

    def finish(self) -> Pcm:
        if self._opened is None or self._ended is None or not self._file.size or self._file.size % self.frame_bytes:
            raise DecodeRefused("the decoder broke its protocol")
        self._file.seal()
        self._progress(1.0)
        opened = self._opened
        media = MediaInfo(
            container=opened.container,
            codec=opened.codec,
            sample_rate_hz=opened.sample_rate_hz,
            channels=opened.channels,
            audio_tracks=opened.audio_tracks,
            truncated=self._ended.truncated,
        )
        layout = PcmLayout(samples=self._file.size // self.frame_bytes, channels=opened.pcm_channels)
        return Pcm(self._file, layout, media)


@functools.cache
def _log_sandbox(landlock: int) -> None:
    """Once per process and kernel."""
    if landlock:
        log.info("decode sandbox: system call filter, no files (Landlock version %d), limits", landlock)
    else:
        log.warning("decode sandbox: system call filter and limits only; this kernel has no Landlock (Linux 5.13 and later has)")


def _error_of(refused: wire.Refused, track: int | None) -> ApplianceError:
    match refused.reason:
        case wire.Reason.NOT_MEDIA:
            return NotMedia(refused.detail)
        case wire.Reason.BROKEN:
            return BrokenMedia()
        case wire.Reason.NO_AUDIO:
            return NoAudioTrack()
        case wire.Reason.NO_SUCH_TRACK:
            return NoAudioTrack(track, refused.tracks)
        case wire.Reason.OUT_OF_MEMORY:
            return DecodeRefused("it needs more memory than is allowed")
        case wire.Reason.NO_SANDBOX:
            return DecodeRefused(f"the decoder could not shut itself in ({refused.detail})")
        case _:
            return DecodeRefused(f"the decoder met a fault ({refused.detail})")


def _signal_name(exit_code: int) -> str:
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"exit code {exit_code}"
