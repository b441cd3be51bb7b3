"""What the API process and a worker say to each other: framed MessagePack over a Unix socket pair.

Four bytes of length (big-endian), then the message; the audio itself never passes through the socket: its memory file
descriptor travels beside the frame (SCM_RIGHTS) and the worker maps it read-only.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
import struct
import threading
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from appliance.domain import Value
from appliance.engine.protocol import DiarizeRequest, EngineEvent, RecognizeRequest, Role
from appliance.errors import ApplianceError

_LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 512 * 2**20  # 24 hours of dense speech with word times is about 40 MB

T = TypeVar("T")


class WorkerConfig(Value, frozen=True):
    """All a worker process is told about itself; no path of the data, no secret."""

    role: Role
    device: str  # "cpu" or "cuda"; which GPU it may see is decided by its environment
    compute_type: str
    threads: int  # 0: the library's choice
    batch_size: int  # 0: by device memory
    memory_bytes: int | None  # of the device; None on a CPU
    backend: str  # "module:factory"
    batch_divisor: int = 1  # of recognition's batches: doubled when it dies by its device (TRAPS 16)


# --- to the worker ----------------------------------------------------------------------------------------------------


class Recognize(Value, frozen=True, tag="recognize"):
    call: int
    request: RecognizeRequest  # its audio comes with the frame


class Diarize(Value, frozen=True, tag="diarize"):
    call: int
    request: DiarizeRequest  # its audio comes with the frame


class Warm(Value, frozen=True, tag="warm"):
    call: int
    model_dir: Path


class Withdraw(Value, frozen=True, tag="withdraw"):
    """The caller no longer wants it."""

    call: int


Order = Recognize | Diarize | Warm | Withdraw

# --- from the worker --------------------------------------------------------------------------------------------------


class Stats(Value, frozen=True, tag="stats"):
    """Sent while there is work. A worker is alive when `steps` grows, not when this arrives."""

    steps: int  # batches, events and loaded models so far
    batches: int = 0
    windows: int = 0
    batch_s: float = 0.0  # time spent in batches
    batch_sizes: tuple[tuple[int, int], ...] = ()  # (windows in a batch, how many such batches), ordered
    out_of_memory: int = 0  # times a batch was too large for the device
    models: tuple[str, ...] = ()  # loaded now


class Ready(Value, frozen=True, tag="ready"):
    pid: int
    detail: str  # what it runs on, for the log


class Unfit(Value, frozen=True, tag="unfit"):
    """It can never work here (a library is missing or does not fit the driver): starting it again is no use."""

    message: str
    hint: str


class Told(Value, frozen=True, tag="told"):
    call: int
    event: EngineEvent


class Done(Value, frozen=True, tag="done"):
    call: int
    result: msgspec.Raw  # Transcript, Diarization or nil; the caller knows which


class Failed(Value, frozen=True, tag="failed"):
    call: int
    code: str
    message: str
    hint: str
    status: int
    param: str | None = None
    retry_after_s: int | None = None


class Breaking(Value, frozen=True, tag="breaking"):
    """The last words of a worker whose device failed: it ends itself, its jobs are repeated by a fresh one."""

    out_of_memory: bool
    message: str


Report = Ready | Unfit | Stats | Told | Done | Failed | Breaking


# --- encoding ---------------------------------------------------------------------------------------------------------


def _path_as_text(value: Any) -> str:  # noqa: ANN401 (msgspec's hook)
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value)} does not travel")


def _text_as_path(kind: type, value: Any) -> Any:  # noqa: ANN401 (msgspec's hook)
    if kind is Path:
        return Path(value)
    raise NotImplementedError(f"{kind} does not travel")


def pack(message: Value | None) -> bytes:
    return msgspec.msgpack.encode(message, enc_hook=_path_as_text)


def unpack(payload: bytes | bytearray | memoryview | msgspec.Raw, kind: type[T]) -> T:
    """Raises `msgspec.DecodeError` on anything that is not a `kind`."""
    return msgspec.msgpack.decode(payload, type=kind, dec_hook=_text_as_path)


def failed(call: int, error: ApplianceError) -> Failed:
    return Failed(call, error.code, error.message, error.hint, error.status, error.param, error.retry_after_s)


def as_error(failure: Failed) -> ApplianceError:
    """The error that was raised in the worker, as the same class where there is one of its code."""
    kind = next((k for k in _subclasses(ApplianceError) if vars(k).get("code") == failure.code), ApplianceError)
    error = kind.__new__(kind)  # its own __init__ wants the facts; the sentence is written already
    ApplianceError.__init__(error, failure.message, failure.hint, param=failure.param, retry_after_s=failure.retry_after_s)
    error.code, error.status = failure.code, failure.status
    return error


def _subclasses(kind: type[ApplianceError]) -> list[type[ApplianceError]]:
    return [found for child in kind.__subclasses__() for found in (child, *_subclasses(child))]


def _frame(message: Value) -> bytes:
    payload = pack(message)
    if len(payload) > MAX_FRAME_BYTES:
        raise ValueError(f"a message of {len(payload)} bytes is too long for the wire")
    return _LENGTH.pack(len(payload)) + payload


class LineClosed(Exception):
    """The other side is gone."""


class ParentLine:
    """The API process's end; lives on the event loop."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()

    async def send(self, order: Value, fd: int | None = None) -> None:
        """Send whole frames, one after the other, even when the caller is cancelled meanwhile. Raises `LineClosed`."""
        own = None if fd is None else os.dup(fd)  # the caller may close its own before the frame is out
        await asyncio.shield(asyncio.ensure_future(self._send(_frame(order), own)))

    async def _send(self, frame: bytes, fd: int | None) -> None:
        try:
            async with self._turn:
                sent = await self._send_beginning(frame, fd)
                await self._loop.sock_sendall(self._sock, frame[sent:])
        except OSError as error:
            raise LineClosed from error
        finally:
            if fd is not None:
                os.close(fd)

    async def _send_beginning(self, frame: bytes, fd: int | None) -> int:
        rights = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        while True:
            try:
                return self._sock.sendmsg([frame], rights)
            except BlockingIOError:
                await self._writable()

    async def _writable(self) -> None:
        ready = self._loop.create_future()
        self._loop.add_writer(self._sock.fileno(), lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            self._loop.remove_writer(self._sock.fileno())

    async def receive(self) -> Report:
        """Raises `LineClosed`; a frame that is not a report is `msgspec.DecodeError`."""
        try:
            (length,) = _LENGTH.unpack(await self._exactly(_LENGTH.size))
            if length > MAX_FRAME_BYTES:
                raise LineClosed
            return unpack(await self._exactly(length), Report)  # type: ignore[arg-type]  # a union is not a type
        except OSError as error:
            raise LineClosed from error

    async def _exactly(self, n_bytes: int) -> bytearray:
        buffer = bytearray(n_bytes)
        view = memoryview(buffer)
        while view:
            got = await self._loop.sock_recv_into(self._sock, view)
            if not got:
                raise LineClosed
            view = view[got:]
        return buffer

    def close(self) -> None:
        self._sock.close()


class WorkerLine:
    """The worker's end: any thread may send, one thread receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._turn = threading.Lock()

    def send(self, report: Value) -> None:
        """Raises OSError when the API process is gone."""
        frame = _frame(report)
        with self._turn:
            self._sock.sendall(frame)

    def receive(self) -> tuple[Order, int | None]:
        """The next order and the file descriptor that came with it, which is the caller's to close. Raises `LineClosed`."""
        head, fds, _, _ = socket.recv_fds(self._sock, _LENGTH.size, 1)
        for fd in fds:
            os.set_inheritable(fd, False)  # recv_fds forgets its flags, MSG_CMSG_CLOEXEC among them
        head += self._exactly(_LENGTH.size - len(head)) if head else b""
        if not head:
            raise LineClosed
        (length,) = _LENGTH.unpack(head)
        order: Order = unpack(self._exactly(length), Order)  # type: ignore[arg-type]  # a union is not a type
        return order, fds[0] if fds else None

    def _exactly(self, n_bytes: int) -> bytearray:
        buffer = bytearray(n_bytes)
        view = memoryview(buffer)
        while view:
            got = self._sock.recv_into(view)
            if not got:
                raise LineClosed
            view = view[got:]
        return buffer

    def close(self) -> None:
        self._sock.close()
