"""The engine as the API process sees it: give it audio and a request, await the result.

Each device has a recognition worker and a diarization worker. A call goes to the least loaded worker that is ready and
waits while there is none. Keeping processes alive is `supervisor.py`'s work, repeating a call after `WorkerDied` the jobs'.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from appliance.domain import Transcript
from appliance.engine.gpu import Device, DeviceChoice
from appliance.engine.protocol import Diarization, DiarizeRequest, OnEvent, RecognizeRequest, Role, Sealed
from appliance.engine.supervisor import Patience, SupervisedWorker, WorkerDied, WorkerState, WorkerStatus
from appliance.engine.wire import WorkerConfig
from appliance.errors import DeviceUnavailable, StartRefused
from appliance.settings import Settings

__all__ = ["WorkerDied", "WorkerPool", "WorkerState", "WorkerStatus"]

log = logging.getLogger(__name__)

BACKENDS = {Role.RECOGNIZE: "appliance.engine.backends:recognition", Role.DIARIZE: "appliance.engine.backends:diarization"}
_BROKEN = (WorkerState.UNFIT, WorkerState.FAILING)


class WorkerPool:
    """Lives on one event loop. `backends` puts other engines behind the same interface, "module:factory" by role."""

    def __init__(
        self,
        settings: Settings,
        devices: DeviceChoice,
        *,
        backends: dict[Role, str] | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.devices = devices
        self._backends = BACKENDS | (backends or {})
        self._settings = settings
        patience = patience or Patience(start_s=settings.worker_start_timeout_s, silence_s=settings.worker_silence_timeout_s)
        self._patience = patience
        self._changed = asyncio.Event()
        self._workers = {role: [self._worker(role, device, patience) for device in devices.devices] for role in Role}
        self._reserved: set[SupervisedWorker] = set()  # for a call that runs alone

    def _worker(self, role: Role, device: Device, patience: Patience) -> SupervisedWorker:
        config = WorkerConfig(
            role=role,
            device=device.kind,
            compute_type=self._settings.compute_type,
            threads=self._settings.cpu_threads if device.kind == "cpu" else 0,
            batch_size=self._settings.batch_size,
            memory_bytes=device.memory_bytes,
            backend=self._backends[role],
        )
        return SupervisedWorker(config, device.label, device.uuid, patience, self._ring)

    async def start(self) -> None:
        """Start recognition and wait until it is ready; diarization starts with the first call for it (TRAPS 31).

        Raises `StartRefused` when a device that was chosen does not work: never a silent fallback.
        """
        workers = self._workers[Role.RECOGNIZE]
        for worker in workers:
            worker.start()
        await self.settled()
        if broken := [w for w in workers if not w.accepts]:
            problem, hint = broken[0].problem or "the engine did not start", broken[0].hint
            await self.stop()
            raise StartRefused(problem, hint or "The log says more; 'appliance doctor' checks the machine.")

    async def stop(self) -> None:
        """End every process; calls in their hands get `WorkerDied`."""
        await asyncio.gather(*(worker.stop() for workers in self._workers.values() for worker in workers))

    def prepare(self, role: Role) -> None:
        """Start the workers of a role that will be needed soon."""
        for worker in self._workers[role]:
            worker.start()

    async def settled(self) -> None:
        """Until every worker that was started is ready, or will not be."""
        settled = (WorkerState.STOPPED, WorkerState.READY, *_BROKEN)
        await self._until(lambda: all(worker.state in settled for workers in self._workers.values() for worker in workers))

    async def recognize(self, request: RecognizeRequest, pcm_fd: int, on_event: OnEvent, *, alone: bool = False) -> Transcript:
        """Cancelling the task ends the work within one batch. `alone`: no other call is in the worker meanwhile.

        Raises `WorkerDied`, `DeviceUnavailable` (at once where no worker can ever work, after `Patience.failing_s` where they
        fail at every start), or the error of the recording.
        """
        async with self._chosen(Role.RECOGNIZE, alone=alone) as worker:
            return await worker.recognize(request, pcm_fd, on_event, Transcript)

    async def recognize_sealed(self, request: RecognizeRequest, pcm_fd: int, on_event: OnEvent, *, alone: bool = False) -> Sealed:
        """As `recognize`, for a request with `seal_to`: what was said is not readable here."""
        async with self._chosen(Role.RECOGNIZE, alone=alone) as worker:
            return await worker.recognize(request, pcm_fd, on_event, Sealed)

    async def diarize(self, request: DiarizeRequest, pcm_fd: int, on_event: OnEvent, *, alone: bool = False) -> Diarization:
        """As `recognize`; one recording at a time in each worker, the others wait in it."""
        async with self._chosen(Role.DIARIZE, alone=alone) as worker:
            return await worker.diarize(request, pcm_fd, on_event, Diarization)

    async def warm(self, model_dir: Path, role: Role = Role.RECOGNIZE) -> None:
        """Load a model in every worker of the role that is alive, starting them first if need be."""
        self.prepare(role)
        workers = self._workers[role]
        await self._until(lambda: all(w.accepts or w.state in _BROKEN for w in workers))
        self._refuse_if_all(role, _BROKEN)
        await asyncio.gather(*(worker.warm(model_dir) for worker in workers if worker.accepts))

    def is_cold(self, model_dir: Path) -> bool:
        """A recognition worker is ready that was never told to load it: its process is younger than the last `warm`."""
        return any(
            status.warm != model_dir
            for status in self.status()
            if status.role is Role.RECOGNIZE and status.state is WorkerState.READY
        )

    def check_usable(self) -> None:
        """Raises `DeviceUnavailable` while no recognition worker works, nor seems about to: nothing new should be accepted."""
        self._refuse_if_all(Role.RECOGNIZE, _BROKEN)

    def status(self) -> tuple[WorkerStatus, ...]:
        return tuple(worker.status() for workers in self._workers.values() for worker in workers)

    # --- choosing -----------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _chosen(self, role: Role, *, alone: bool) -> AsyncIterator[SupervisedWorker]:
        """The least loaded worker of a role, once there is one that is ready."""
        self.prepare(role)
        while True:
            worker = await self._next_free(role)
            async with self._emptied(worker) if alone else contextlib.nullcontext():
                if worker.accepts:
                    yield worker
                    return

    async def _next_free(self, role: Role) -> SupervisedWorker:
        """Workers that fail at every start are waited for only so long, and those that can never work not at all."""
        give_up_at = math.inf
        while (worker := self._pick(role)) is None:
            # Without speakers a recording still has its words: they do not wait for an engine that fails at every start.
            self._refuse_if_all(role, (WorkerState.UNFIT,) if role is Role.RECOGNIZE else _BROKEN)
            if any(worker.accepts for worker in self._workers[role]):
                give_up_at = math.inf
            elif self._are_all(role, _BROKEN):
                give_up_at = min(give_up_at, time.monotonic() + self._patience.failing_s)
            if time.monotonic() >= give_up_at:
                raise self._unavailable(role)
            await self._next_change(give_up_at)
        return worker

    @contextlib.asynccontextmanager
    async def _emptied(self, worker: SupervisedWorker) -> AsyncIterator[None]:
        """Send the worker nothing new, wait until it has nothing (dying counts: its successor is empty), and keep it so."""
        self._reserved.add(worker)
        try:
            await self._until(lambda: worker.calls == 0 and (worker.accepts or worker.state in _BROKEN))
            yield
        finally:
            self._reserved.discard(worker)
            self._ring()

    def _pick(self, role: Role) -> SupervisedWorker | None:
        free = [worker for worker in self._workers[role] if worker.accepts and worker not in self._reserved]
        return min(free, key=lambda worker: worker.calls, default=None)

    def _are_all(self, role: Role, states: tuple[WorkerState, ...]) -> bool:
        return all(worker.state in states for worker in self._workers[role])

    def _refuse_if_all(self, role: Role, states: tuple[WorkerState, ...]) -> None:
        if self._are_all(role, states):
            raise self._unavailable(role)

    def _unavailable(self, role: Role) -> DeviceUnavailable:
        worker = self._workers[role][0]
        return DeviceUnavailable(worker.problem or "The engine does not start.", worker.hint or "The log says more.")

    def _ring(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _next_change(self, until: float = math.inf) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if until == math.inf else until - time.monotonic()):
                await self._changed.wait()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._next_change()
