"""One worker process and its successors: started, watched, killed when it hangs, started again when it dies.

A call ends in one of three ways: the worker's result, the worker's error, or `WorkerDied`, after which the caller may
try again. Which worker a call goes to is decided in `pool.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from appliance.domain import Value
from appliance.engine import wire
from appliance.engine.offline import offline_environment
from appliance.engine.protocol import CPU_WORKER_ENVIRONMENT, DiarizeRequest, EngineEvent, OnEvent, RecognizeRequest, Role

log = logging.getLogger(__name__)

T = TypeVar("T")

_LARGEST_DIVISOR = 8  # of batches, for a device that keeps failing


class WorkerDied(Exception):
    """The process ended while it worked on this call; another is being started."""

    def __init__(self, reason: str, *, out_of_memory: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.out_of_memory = out_of_memory


class WorkerState(StrEnum):
    STOPPED = "stopped"  # not wanted yet, or no longer
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"  # it died, the next one waits for its turn
    FAILING = "failing"  # died again and again before it was ready; still tried now and then
    UNFIT = "unfit"  # cannot work on this machine; never tried again


class WorkerStatus(Value, frozen=True):
    """For the metrics and the doctor."""

    role: Role
    device: str
    state: WorkerState
    pid: int | None
    calls: int  # in its hands now
    restarts: int
    out_of_memory: int
    batches: int
    windows: int
    batch_s: float
    models: tuple[str, ...]  # loaded now
    warm: Path | None = None  # the model that this process was told to have ready, and did: it may have made room since
    batch_sizes: tuple[tuple[int, int], ...] = ()  # (windows in a batch, how many such batches), ordered
    problem: str | None = None  # why it is not ready, or why it last died
    hint: str | None = None


class Patience(Value, frozen=True):
    """How long what may take, in seconds."""

    start_s: float  # until a new process is ready
    silence_s: float  # without a step of work, while it has some
    cancel_s: float = 30.0  # for a withdrawn call to end in the worker, so that its audio is let go of
    stop_s: float = 5.0  # for the process to end once its line is closed
    settled_s: float = 60.0  # alive this long: the next death counts as the first again
    longest_pause_s: float = 30.0
    failing_s: float = 300.0  # that a call waits for workers that fail at every start


class _Call:
    def __init__(self, on_event: OnEvent) -> None:
        self.on_event = on_event
        self.result: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()

    def end(self, outcome: msgspec.Raw | BaseException) -> None:
        if self.result.done():
            return
        if isinstance(outcome, BaseException):
            self.result.set_exception(outcome)
            self.result.exception()  # seen: the caller may have gone meanwhile
        else:
            self.result.set_result(outcome)


class _Process:
    """One process from start to end. Its line closes with it."""

    def __init__(self, process: asyncio.subprocess.Process, line: wire.ParentLine) -> None:
        self.process = process
        self.line = line
        self.calls: dict[int, _Call] = {}
        self.stats = wire.Stats(steps=0)
        self.last_step = time.monotonic()
        self.last_words: wire.Breaking | wire.Unfit | None = None
        self.hung = False
        self.warm: Path | None = None

    def stepped(self) -> None:
        self.last_step = time.monotonic()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it is gone already
            self.process.kill()

    async def end(self, patience_s: float) -> int:
        """Close the line and wait; kill what does not go. Returns the exit status, negative for a signal."""
        self.line.close()
        for last_resort in (self.kill, lambda: None):
            try:
                return await asyncio.wait_for(self.process.wait(), patience_s)
            except TimeoutError:
                last_resort()
        # Stuck in the driver, where not even SIGKILL reaches it: the jobs must not wait for that.
        log.error("process %d does not end, though it was killed; the machine may need a restart", self.process.pid)
        return -signal.SIGKILL


class SupervisedWorker:
    """Lives on one event loop. `on_change` is called whenever `accepts` or `calls` may have changed."""

    def __init__(
        self, config: wire.WorkerConfig, device: str, gpu_uuid: str | None, patience: Patience, on_change: Callable[[], None]
    ) -> None:
        self.config = config
        self.device = device  # for people: "cpu", "cuda:GPU-…"
        self.state = WorkerState.STOPPED
        self.problem: str | None = None
        self.hint: str | None = None
        self.restarts = 0
        self._gpu_uuid = gpu_uuid
        self._patience = patience
        self._on_change = on_change
        self._numbers = itertools.count(1)
        self._present: _Process | None = None
        self._past = wire.Stats(steps=0)  # of the processes that are gone
        self._deaths = 0  # in a row
        self._broken_device = False  # the last one died by it
        self._wanted = asyncio.Event()  # somebody waits for it: no longer pause
        self._supervision: asyncio.Task[None] | None = None

    # --- for the pool -------------------------------------------------------------------------------------------------

    @property
    def accepts(self) -> bool:
        return self.state is WorkerState.READY

    @property
    def calls(self) -> int:
        return len(self._present.calls) if self._present else 0

    def start(self) -> None:
        """Begin to keep a process alive. Calling it again only makes one that fails at its start be tried anew at once."""
        if self._supervision is None:
            self._become(WorkerState.STARTING)
            self._supervision = asyncio.create_task(self._supervise(), name=f"{self.config.role.value} worker")
        elif self.state is WorkerState.FAILING:
            self._become(WorkerState.RESTARTING)
            self._wanted.set()

    async def stop(self) -> None:
        """End the process; calls in its hands get `WorkerDied`."""
        supervision, self._supervision = self._supervision, None
        if supervision:
            supervision.cancel()
            await asyncio.wait({supervision})
        self._become(WorkerState.STOPPED)

    def status(self) -> WorkerStatus:
        present = self._present
        now = _added(self._past, present.stats) if present else self._past
        return WorkerStatus(
            role=self.config.role,
            device=self.device,
            state=self.state,
            pid=present.process.pid if present else None,
            calls=self.calls,
            restarts=self.restarts,
            out_of_memory=now.out_of_memory,
            batches=now.batches,
            windows=now.windows,
            batch_s=now.batch_s,
            batch_sizes=now.batch_sizes,
            models=present.stats.models if present else (),
            warm=present.warm if present else None,
            problem=self.problem,
            hint=self.hint,
        )

    async def recognize(self, request: RecognizeRequest, pcm_fd: int, on_event: OnEvent, kind: type[T]) -> T:
        return await self._call(lambda n: wire.Recognize(n, request), pcm_fd, on_event, kind)

    async def diarize(self, request: DiarizeRequest, pcm_fd: int, on_event: OnEvent, kind: type[T]) -> T:
        return await self._call(lambda n: wire.Diarize(n, request), pcm_fd, on_event, kind)

    async def warm(self, model_dir: Path) -> None:
        process = self._present
        await self._call(lambda n: wire.Warm(n, model_dir), None, _ignore, type(None))
        if process:
            process.warm = model_dir

    # --- calls --------------------------------------------------------------------------------------------------------

    async def _call(self, order: Callable[[int], Value], fd: int | None, on_event: OnEvent, kind: type[T]) -> T:
        """Raises `WorkerDied`, or the `ApplianceError` of the worker. Cancelling the task withdraws the call."""
        process = self._present
        if process is None or not self.accepts:
            raise WorkerDied("it was not ready")
        number, call = next(self._numbers), _Call(on_event)
        if not process.calls:
            process.stepped()  # idleness was no silence
        process.calls[number] = call
        self._on_change()
        try:
            return await self._answer(process, order(number), fd, call, kind)
        except asyncio.CancelledError:
            await self._withdraw(process, number, call)
            raise
        finally:
            del process.calls[number]
            self._on_change()

    async def _answer(self, process: _Process, order: Value, fd: int | None, call: _Call, kind: type[T]) -> T:
        try:
            await process.line.send(order, fd)
        except wire.LineClosed:
            await asyncio.wait({call.result})  # the supervisor knows why, and says so at once
        await asyncio.wait({call.result})  # unlike `await call.result`, being cancelled here leaves it alone
        return wire.unpack(call.result.result(), kind)

    async def _withdraw(self, process: _Process, number: int, call: _Call) -> None:
        """The audio may be wiped only when the worker has let go of it: within one batch."""
        call.on_event = _ignore
        try:
            await process.line.send(wire.Withdraw(number))
        except wire.LineClosed:
            return
        _, still_working = await asyncio.wait({call.result}, timeout=self._patience.cancel_s)
        if still_working:
            log.warning(
                "the %s worker has not let go of a cancelled job after %.0f s", self.config.role.value, self._patience.cancel_s
            )

    # --- supervision --------------------------------------------------------------------------------------------------

    async def _supervise(self) -> None:
        while not self._is_unfit():
            born, self._broken_device = time.monotonic(), False
            try:
                await self._live()
            except OSError as error:  # no memory or no process left to start it
                self.problem = f"it could not be started: {error}"
                self._become(WorkerState.RESTARTING)
            if self._is_unfit():
                return
            self.restarts += 1
            self._deaths = 1 if time.monotonic() - born > self._patience.settled_s else self._deaths + 1
            if self._broken_device:
                self._halve_batches()
            if self._deaths > 1:
                await self._pause(min(0.25 * 2**self._deaths, self._patience.longest_pause_s))

    def _halve_batches(self) -> None:
        """CUDA may say anything when its memory is full (TRAPS 16): its successors decode less at once."""
        self.config = msgspec.structs.replace(self.config, batch_divisor=min(self.config.batch_divisor * 2, _LARGEST_DIVISOR))

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        self._wanted.clear()

    def _is_unfit(self) -> bool:
        return self.state is WorkerState.UNFIT

    async def _live(self) -> None:
        """From the start of one process to its end, whatever ends it."""
        process = await self._spawn()
        was_ready = False
        try:
            async with asyncio.timeout(self._patience.start_s):
                was_ready = await self._become_ready(process)
            if was_ready:
                await self._until_gone(self._read(process), self._watch(process))
        except TimeoutError:
            process.hung = True
        finally:
            await asyncio.shield(asyncio.ensure_future(self._bury(process, was_ready=was_ready)))

    async def _spawn(self) -> _Process:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                config = msgspec.json.encode(self.config).decode()
                command = (sys.executable, "-m", "appliance.engine.worker", str(theirs.fileno()), str(os.getpid()), config)
                process = await asyncio.create_subprocess_exec(
                    *command, stdin=asyncio.subprocess.DEVNULL, pass_fds=(theirs.fileno(),), env=self._environment()
                )
            except BaseException:
                ours.close()
                raise
        self._present = _Process(process, wire.ParentLine(ours))
        self._on_change()
        return self._present

    def _environment(self) -> dict[str, str]:
        environment = offline_environment(dict(os.environ))
        if self.config.threads:
            environment["OMP_NUM_THREADS"] = str(self.config.threads)
        if self.config.role is Role.RECOGNIZE and self.config.device == "cpu":
            environment |= CPU_WORKER_ENVIRONMENT
        # The worker sees its own GPU or MIG slice only, as number 0; on the CPU none at all.
        return environment | {"CUDA_VISIBLE_DEVICES": self._gpu_uuid or "", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

    async def _become_ready(self, process: _Process) -> bool:
        try:
            report = await process.line.receive()
        except wire.LineClosed:
            return False
        if isinstance(report, wire.Unfit):
            process.last_words = report
            return False
        self.problem = self.hint = None
        self._become(WorkerState.READY)
        log.info("the %s worker is ready on %s (process %d)", self.config.role.value, self.device, process.process.pid)
        return True

    async def _until_gone(self, *watchers: Coroutine[Any, Any, None]) -> None:
        tasks = [asyncio.create_task(watcher) for watcher in watchers]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                log.error("the line to the %s worker broke: %r", self.config.role.value, error)

    async def _read(self, process: _Process) -> None:
        while True:
            try:
                report = await process.line.receive()
            except wire.LineClosed:
                return
            self._take(process, report)

    def _take(self, process: _Process, report: wire.Report) -> None:
        if isinstance(report, wire.Stats):
            if report.steps != process.stats.steps:
                process.stepped()
            process.stats = report
            return
        process.stepped()
        match report:
            case wire.Told(call, event):
                if known := process.calls.get(call):
                    known.on_event(event)
            case wire.Done(call, result):
                if known := process.calls.get(call):
                    known.end(result)
            case wire.Failed(call):
                if known := process.calls.get(call):
                    known.end(wire.as_error(report))
            case wire.Breaking():
                process.last_words = report

    async def _watch(self, process: _Process) -> None:
        """Returns when the process has work and makes no step for too long: the device hangs."""
        silence_s = self._patience.silence_s
        while True:
            quiet_s = time.monotonic() - process.last_step if process.calls else 0.0
            if quiet_s >= silence_s:
                process.hung = True
                process.kill()
                return
            await asyncio.sleep(min(silence_s - quiet_s, silence_s / 4))

    async def _bury(self, process: _Process, *, was_ready: bool) -> None:
        """Find out how it ended, tell the callers, and say what is next."""
        if process.hung:
            process.kill()
        stopping = self._supervision is None
        status = await process.end(self._patience.stop_s)
        self._past = _added(self._past, process.stats)
        self._present = None
        self._broken_device = isinstance(process.last_words, wire.Breaking)
        reason, out_of_memory = self._cause(process, status, stopping=stopping)
        if not stopping:
            self.problem = reason
            log.error("the %s worker (process %d) is gone: %s", self.config.role.value, process.process.pid, reason)
            self._become(self._state_after(process, was_ready=was_ready))
        for call in tuple(process.calls.values()):
            call.end(WorkerDied(reason, out_of_memory=out_of_memory))

    def _cause(self, process: _Process, status: int, *, stopping: bool) -> tuple[str, bool]:
        words = process.last_words
        if stopping:
            return "the appliance stops", False
        if isinstance(words, wire.Unfit):
            self.hint = words.hint
            return words.message, False
        if isinstance(words, wire.Breaking):
            return f"the device failed ({words.message})", words.out_of_memory
        if process.hung:
            return "it hung and was killed", False
        return f"it was killed by signal {-status}" if status < 0 else f"it ended with status {status}", False

    def _state_after(self, process: _Process, *, was_ready: bool) -> WorkerState:
        if isinstance(process.last_words, wire.Unfit):
            return WorkerState.UNFIT
        return WorkerState.FAILING if not was_ready and self._deaths >= 2 else WorkerState.RESTARTING

    def _become(self, state: WorkerState) -> None:
        self.state = state
        self._on_change()


def _added(past: wire.Stats, present: wire.Stats) -> wire.Stats:
    return wire.Stats(
        steps=past.steps + present.steps,
        batches=past.batches + present.batches,
        windows=past.windows + present.windows,
        batch_s=past.batch_s + present.batch_s,
        out_of_memory=past.out_of_memory + present.out_of_memory,
        batch_sizes=tuple(sorted((Counter(dict(past.batch_sizes)) + Counter(dict(present.batch_sizes))).items())),
        models=present.models,
    )


def _ignore(event: EngineEvent) -> None:
    pass
