"""A worker process: it owns one device for one role, takes orders from the API process, and ends when that is gone.

`python -m appliance.engine.worker FD PARENT_PID CONFIG` is run by `supervisor.py`, never by a person. The main thread reads
orders, each job has a thread of its own, and one more tells how the work goes on. What is computed is the backend's
business; a device in an unknown state ends the process, since nothing else cures it (TRAPS 16).
"""

from __future__ import annotations

import importlib
import logging
import mmap
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np

from appliance.audio.sandbox import die_with_parent, forbid_dumps
from appliance.crypto.sealing import WORKER_INFO, seal
from appliance.engine import wire
from appliance.engine.batcher import DeviceLost
from appliance.engine.offline import forbid_network
from appliance.engine.protocol import (
    Diarization,
    DiarizeRequest,
    EngineEvent,
    OnEvent,
    RecognizeRequest,
    Role,
    Sealed,
    SegmentsDecided,
    StopCheck,
)
from appliance.errors import ApplianceError, Cancelled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from appliance.audio.pcm import PcmLayout
    from appliance.domain import Transcript, Value

log = logging.getLogger(__name__)

PULSE_S = 0.5
TURN_S = 0.25  # between two looks whether a call that waits for its turn is still wanted
_DEVICE_WORDS = ("cuda", "cublas", "cudnn", "nvrtc", "device-side")


class Backend(Protocol):
    """What a worker can host: a recognizer or a diarizer behind one face."""

    one_at_a_time: bool  # the backend is not thread-safe: jobs take turns

    def run(
        self, request: RecognizeRequest | DiarizeRequest, samples: NDArray[np.int16], on_event: OnEvent, check: StopCheck
    ) -> Transcript | Diarization:
        """`samples` has the shape (samples, channels) and is read-only."""

    def warm(self, model_dir: Path) -> None:
        """Load the model now."""

    def stats(self) -> wire.Stats:
        """`steps` counts what only grows while the device really works."""


BackendFactory = Callable[[wire.WorkerConfig], Backend]


class Worker:
    """The threads of the process and what they share."""

    def __init__(self, line: wire.WorkerLine, role: Role, backend: Backend) -> None:
        self._line = line
        self._backend = backend
        self._checks_are_steps = role is Role.DIARIZE  # a recognition job checks while it only waits for its batch
        self._withdrawn: dict[int, threading.Event] = {}
        self._turn = threading.Lock()
        self._events = 0

    def serve(self) -> None:
        """Take orders until the API process closes the line."""
        threading.Thread(target=self._tell_pulse, name="pulse", daemon=True).start()
        try:
            while True:
                self._take(*self._line.receive())
        except (wire.LineClosed, ConnectionError):
            return

    def _take(self, order: wire.Order, fd: int | None) -> None:
        if isinstance(order, wire.Withdraw):
            if withdrawn := self._withdrawn.get(order.call):
                withdrawn.set()
            return
        self._withdrawn[order.call] = threading.Event()
        threading.Thread(target=self._work, args=(order, fd), name=f"call-{order.call}", daemon=True).start()

    def _work(self, order: wire.Recognize | wire.Diarize | wire.Warm, fd: int | None) -> None:
        report = self._outcome(order, fd)
        self._withdrawn.pop(order.call, None)
        self._send(report)
        if isinstance(report, wire.Breaking):
            log.error("the device failed, the worker ends: %s", report.message)
            os._exit(1)

    def _outcome(self, order: wire.Recognize | wire.Diarize | wire.Warm, fd: int | None) -> wire.Done | wire.Failed | wire.Breaking:
        """Every way a call can end, as the report about it. The audio is unmapped before that is sent."""
        try:
            return wire.Done(order.call, msgspec.Raw(wire.pack(self._result(order, fd))))
        except ApplianceError as error:
            return wire.failed(order.call, error)
        except Exception as error:  # the job ends here; its text and audio stay out of the log
            if is_device_error(error):
                out_of_memory = isinstance(error, MemoryError) or "out of memory" in str(error).lower()
                return wire.Breaking(out_of_memory, str(error)[:500] or type(error).__name__)
            log.exception("call %d failed", order.call)
            return wire.failed(
                order.call, ApplianceError("The speech engine met an unexpected error.", "The log of the appliance says more.")
            )

    def _result(self, order: wire.Recognize | wire.Diarize | wire.Warm, fd: int | None) -> Transcript | Sealed | Diarization | None:
        if isinstance(order, wire.Warm):
            self._backend.warm(order.model_dir)
            return None
        with mapped(fd, order.request.pcm) as samples:
            result = self._run(order.call, order.request, samples)
        if isinstance(order, wire.Recognize) and order.request.seal_to:
            return Sealed(seal(wire.pack(result), order.request.seal_to, WORKER_INFO))
        return result

    def _run(self, call: int, request: RecognizeRequest | DiarizeRequest, samples: NDArray[np.int16]) -> Transcript | Diarization:
        silent = isinstance(request, RecognizeRequest) and request.seal_to != b""

        def on_event(event: EngineEvent) -> None:
            self._events += 1
            if not (silent and isinstance(event, SegmentsDecided)):
                self._send(wire.Told(call, event))

        withdrawn = self._withdrawn[call]
        with self._its_turn(withdrawn) if self._backend.one_at_a_time else nullcontext():
            return self._backend.run(request, samples, on_event, self._check(withdrawn))

    @contextmanager
    def _its_turn(self, withdrawn: threading.Event) -> Iterator[None]:
        """Raises `Cancelled` when the call is withdrawn before its turn. Waiting is no step: a hang of the one before must show."""
        while not self._turn.acquire(timeout=TURN_S):
            if withdrawn.is_set():
                raise Cancelled
        try:
            yield
        finally:
            self._turn.release()

    def _check(self, withdrawn: threading.Event) -> StopCheck:
        def check() -> None:
            if self._checks_are_steps:
                self._events += 1
            if withdrawn.is_set():
                raise Cancelled

        return check

    def _tell_pulse(self) -> None:
        told = None
        while True:
            stats = self._backend.stats()
            stats = msgspec.structs.replace(stats, steps=stats.steps + self._events)
            if stats != told:
                self._send(told := stats)
            threading.Event().wait(PULSE_S)

    def _send(self, report: Value) -> None:
        try:
            self._line.send(report)
        except OSError:
            os._exit(0)  # nobody is left to work for


@contextmanager
def mapped(fd: int | None, layout: PcmLayout) -> Iterator[NDArray[np.int16]]:
    """The audio behind a descriptor as a read-only array (samples, channels); unmapped and closed afterwards."""
    if fd is None:
        raise ValueError("an order came without its audio")
    try:
        if layout.size_bytes == 0:  # nothing cannot be mapped
            yield np.zeros((0, layout.channels), np.int16)
            return
        memory = mmap.mmap(fd, layout.size_bytes, mmap.MAP_SHARED, mmap.PROT_READ)
    finally:
        os.close(fd)
    # Unmapped by the reference count: when the backend has let go of its last view, whatever way the job ended.
    yield np.frombuffer(memory, np.dtype("<i2")).reshape(layout.samples, layout.channels)


def is_device_error(error: BaseException) -> bool:
    """Whether the device is now in an unknown state. CTranslate2 and torch say so only in words."""
    if isinstance(error, DeviceLost | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _DEVICE_WORDS)


def load_backend(config: wire.WorkerConfig) -> Backend:
    """Raises whatever importing the engine's libraries raises."""
    module, _, factory = config.backend.partition(":")
    make: BackendFactory = getattr(importlib.import_module(module), factory)
    return make(config)


def _open_backend(line: wire.WorkerLine, config: wire.WorkerConfig) -> Backend | None:
    """Tell whether this process can work here at all."""
    try:
        backend = load_backend(config)
    except ApplianceError as error:
        line.send(wire.Unfit(error.message, error.hint))
    except Exception as error:  # the program ends here, with a reason the operator can read
        log.exception("the %s engine cannot work here", config.role.value)
        hint = "Run 'appliance doctor': it checks the driver, the libraries and the models."
        line.send(wire.Unfit(f"The {config.role.value} engine cannot start on '{config.device}': {error}.", hint))
    else:
        line.send(wire.Ready(os.getpid(), f"{config.backend} on {config.device}"))
        return backend
    return None


def main(arguments: list[str]) -> int:
    fd, parent_pid, config_text = int(arguments[0]), int(arguments[1]), arguments[2]
    config = msgspec.json.decode(config_text, type=wire.WorkerConfig)
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s %(levelname)s {config.role.value} worker: %(message)s")
    for stop in (signal.SIGINT, signal.SIGTERM):  # meant for the API process, which drains first and then closes the line
        signal.signal(stop, signal.SIG_IGN)
    die_with_parent(parent_pid)
    forbid_dumps()
    if not forbid_network():
        log.warning("the kernel does not let the worker give up the network")
    tempfile.tempdir = "/proc/self"  # libraries ask where temporary files go; nothing can be written there
    line = wire.WorkerLine(socket.socket(fileno=fd))
    if backend := _open_backend(line, config):
        Worker(line, config.role, backend).serve()
    sys.stderr.flush()
    os._exit(0)  # not through atexit: a driver that hangs must not hold the process


if __name__ == "__main__":
    main(sys.argv[1:])
