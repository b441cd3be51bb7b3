"""A stand-in for the engine behind the worker's own interface, for tests whose subject is not the engine.

It does what `script.json` in the request's model folder says, and says in its text which audio it was given. Behaviour that
must happen a few times only ("die twice, then work") is counted in a file of that folder, since the process is gone after.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from appliance import errors
from appliance.domain import Segment, Stage, Transcript, Turn, Value
from appliance.engine.protocol import (
    Diarization,
    DiarizeRequest,
    EngineProgress,
    OnEvent,
    RecognizeRequest,
    SegmentsDecided,
    StopCheck,
)
from appliance.engine.wire import Stats, WorkerConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Script(Value, frozen=True):
    """How the work goes."""

    steps: int = 3
    step_s: float = 0.0
    at_step: int = 1  # when the misfortune happens
    misfortune: str | None = None  # "die", "hang", "device_error", "out_of_memory", "error", "bug"
    times: int = 1_000_000  # how often it happens
    only_samples: int | None = None  # and only to recordings of this length
    text: str = "fake"


def write_script(folder: Path, **script: Any) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "script.json").write_bytes(msgspec.json.encode(Script(**script)))
    return folder


def _happens(folder: Path, script: Script, samples: int) -> bool:
    if script.only_samples not in (None, samples):
        return False
    counter = folder / "happened"
    before = len(counter.read_bytes()) if counter.exists() else 0
    if before >= script.times:
        return False
    with counter.open("ab") as file:
        file.write(b".")
    return True


def _befall(misfortune: str | None) -> None:
    match misfortune:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(600)
        case "device_error":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        case "out_of_memory":
            raise RuntimeError("CUDA failed with error out of memory")
        case "error":
            raise errors.LanguageUnsupported("xx", "fake")
        case "bug":
            raise KeyError("a bug")


class FakeEngine:
    def __init__(self, config: WorkerConfig) -> None:
        self.one_at_a_time = config.role == "diarize"
        self._steps = 0
        self._models: list[str] = []

    def run(
        self, request: RecognizeRequest | DiarizeRequest, samples: NDArray[np.int16], on_event: OnEvent, check: StopCheck
    ) -> Transcript | Diarization:
        script = msgspec.json.decode((request.model_dir / "script.json").read_bytes(), type=Script)
        self._models = [request.model_dir.name]
        stage = Stage.RECOGNIZE if isinstance(request, RecognizeRequest) else Stage.DIARIZE
        for step in range(script.steps):
            if step == script.at_step and script.misfortune and _happens(request.model_dir, script, len(samples)):
                _befall(script.misfortune)
            check()
            time.sleep(script.step_s)
            self._steps += 1
            on_event(EngineProgress(request.job_id, stage, (step + 1) / script.steps))
            if stage is Stage.RECOGNIZE:
                on_event(SegmentsDecided(request.job_id, (_segment(step, script.text),)))
        if isinstance(request, DiarizeRequest):
            turns = tuple(Turn(float(n), n + 1.0, f"SPEAKER_{n % 2:02d}") for n in range(script.steps))
            return Diarization(turns, turns)
        return _transcript(request, script, zlib.crc32(samples.tobytes()))

    def warm(self, model_dir: Path) -> None:
        if not model_dir.exists():
            raise errors.ModelNotInstalled(model_dir.name)
        self._models = [model_dir.name]

    def stats(self) -> Stats:
        return Stats(steps=self._steps, batches=self._steps, batch_sizes=((1, self._steps),), models=tuple(self._models))


def _segment(n: int, text: str) -> Segment:
    return Segment(id=n, start=float(n), end=n + 1.0, text=f"{text} {n}")


def _transcript(request: RecognizeRequest, script: Script, checksum: int) -> Transcript:
    return Transcript(
        text=f"{script.text} {checksum}",
        language="en",
        language_probability=1.0,
        languages=("en",),
        duration=request.pcm.duration,
        model=request.model,
        segments=tuple(_segment(n, script.text) for n in range(script.steps)),
    )


engine: Callable[[WorkerConfig], FakeEngine] = FakeEngine


class Halved(FakeEngine):
    """Says how much smaller its batches are to be."""

    def __init__(self, config: WorkerConfig) -> None:
        super().__init__(config)
        self._divisor = config.batch_divisor

    def run(
        self, request: RecognizeRequest | DiarizeRequest, samples: NDArray[np.int16], on_event: OnEvent, check: StopCheck
    ) -> Transcript | Diarization:
        heard = super().run(request, samples, on_event, check)
        return msgspec.structs.replace(heard, text=str(self._divisor)) if isinstance(heard, Transcript) else heard


def without_driver(config: WorkerConfig) -> FakeEngine:
    raise errors.DeviceUnavailable("The NVIDIA driver is too old for this engine.", "Install a newer one.")


def without_library(config: WorkerConfig) -> FakeEngine:
    raise ImportError("libcublas.so.12: cannot open shared object file")


def dies_at_start(config: WorkerConfig) -> FakeEngine:
    os._exit(3)


class Nosy(FakeEngine):
    """Answers with what this process may do, for the tests of its confinement."""

    def run(
        self, request: RecognizeRequest | DiarizeRequest, samples: NDArray[np.int16], on_event: OnEvent, check: StopCheck
    ) -> Transcript | Diarization:
        found = {"environment": dict(os.environ), **_confinement(samples)}
        script = Script(text=msgspec.json.encode(found).decode())
        assert isinstance(request, RecognizeRequest)
        return _transcript(request, script, 0)


def _confinement(samples: NDArray[np.int16]) -> dict[str, object]:
    return {
        "writable": samples.flags.writeable,
        "core_limit": _core_limit(),
        "dumpable": _dumpable(),
        "sockets": [_socket_error(family) for family in ("AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX")],
    }


def _core_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_CORE)[0]


def _dumpable() -> int:
    return int(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))


def _socket_error(family: str) -> str | None:
    try:
        socket.socket(getattr(socket, family), socket.SOCK_DGRAM).close()
    except OSError as error:
        return type(error).__name__
    return None
