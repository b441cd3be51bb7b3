"""The imports that administrators start through the API: one at a time, with a state that their page can ask for.

An upload goes through a pipe straight into the importer; it is never a file of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from enum import StrEnum

from msgspec.structs import replace

from appliance.audio.arrival import steadily
from appliance.catalogue.releases import Channel, ReleaseRecord
from appliance.domain import Failure, Value
from appliance.errors import ApplianceError, Cancelled, InvalidField, UpdateRunning
from appliance.settings import Settings
from appliance.store.audit import Audit
from appliance.updates.bundle import METADATA, Bundle, TarBundle, open_bundle
from appliance.updates.canary import try_out
from appliance.updates.operations import Hearing, import_release
from appliance.updates.releases import Releases
from licence import Notice

log = logging.getLogger(__name__)


class ImportState(StrEnum):
    IDLE = "idle"  # none since the start
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"  # the release in use is the one it was


class ImportStatus(Value, frozen=True):
    """Of the running import, or of the last one."""

    state: ImportState = ImportState.IDLE
    channel: Channel | None = None
    step: str = ""  # for people: "copying 1a5afae06a4d"
    step_done_bytes: int = 0
    step_total_bytes: int | None = None
    done_bytes: int = 0  # of all steps
    release: str | None = None  # what came of it
    notice: Notice | None = None  # what else is to be said of that
    failure: Failure | None = None
    started_at: datetime | None = None


class FoundBundle(Value, frozen=True):
    name: str
    size_bytes: int | None  # None for a folder


class Incoming:
    """Lives on one event loop."""

    def __init__(self, settings: Settings, audit: Audit, hearing: Hearing = try_out) -> None:
        self.releases = Releases(settings.models_dir)
        self.audit = audit
        self._hearing = hearing
        self._settings = settings
        self._status = ImportStatus()
        self._task: asyncio.Task[ReleaseRecord] | None = None

    @property
    def status(self) -> ImportStatus:
        return self._status

    def found(self) -> tuple[FoundBundle, ...]:
        """What lies in the folder of bundles."""
        folder = self._settings.bundle_dir
        if folder is None or not folder.is_dir():
            return ()
        tars = [FoundBundle(path.name, path.stat().st_size) for path in folder.glob("*.tar") if path.is_file()]
        folders = [FoundBundle(path.parent.name, None) for path in folder.glob(f"*/{METADATA}")]
        return tuple(sorted([*tars, *folders], key=lambda found: found.name))

    def begin_found(self, name: str, channel: Channel, actor: str, *, activate: bool) -> asyncio.Task[ReleaseRecord]:
        """Import one of `found`. Raises InvalidField, UpdateRunning."""
        folder = self._settings.bundle_dir
        if folder is None or name not in [found.name for found in self.found()]:
            raise InvalidField("bundle", "is not one of the bundles that were found", "GET /api/v1/releases lists them.")
        self._check_free()
        return self._begin(open_bundle(folder / name), channel, actor, activate=activate)

    async def receive(
        self, chunks: AsyncIterator[bytes], channel: Channel, actor: str, *, activate: bool
    ) -> asyncio.Task[ReleaseRecord]:
        """Import a tar that is arriving; returns when all of it has, or raises as soon as it is refused."""
        self._check_free()
        reading, writing = os.pipe2(os.O_CLOEXEC)
        task = self._begin(_open_pipe(reading), channel, actor, activate=activate)
        try:
            async for chunk in steadily(chunks, self._settings.upload_stall_timeout_s):
                if task.done():
                    break
                await asyncio.to_thread(_write_all, writing, chunk)
        except BrokenPipeError:  # the importer wants no more: it is done, or has refused
            pass
        finally:
            os.close(writing)
        if task.done():
            task.result()
        return task

    async def stop(self) -> None:
        if self._task and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    def _check_free(self) -> None:
        if self._task and not self._task.done():
            raise UpdateRunning

    def _begin(
        self, opened: AbstractContextManager[Bundle], channel: Channel, actor: str, *, activate: bool
    ) -> asyncio.Task[ReleaseRecord]:
        self._status = ImportStatus(ImportState.RUNNING, channel, started_at=datetime.now(UTC))
        self._task = asyncio.create_task(self._run(opened, channel, actor, activate=activate))
        self._task.add_done_callback(_seen)
        return self._task

    async def _run(self, opened: AbstractContextManager[Bundle], channel: Channel, actor: str, *, activate: bool) -> ReleaseRecord:
        try:
            with opened as bundle:
                record = await import_release(
                    bundle,
                    channel,
                    settings=self._settings,
                    audit=self.audit,
                    actor=actor,
                    progress=_Watch(self),
                    activate=activate,
                    hearing=self._hearing,
                )
        except ApplianceError as error:
            self._refuse(error)
            raise
        except asyncio.CancelledError:
            self._refuse(Cancelled())
            raise
        except Exception as error:  # the import ends here
            log.exception("an import of models ended with an unexpected error")
            unexpected = ApplianceError("An unexpected error ended the import.", "The log of the appliance says why.")
            self._refuse(unexpected)
            raise unexpected from error
        self._status = replace(self._status, state=ImportState.DONE, release=record.name, step="")
        return record

    def _refuse(self, error: ApplianceError) -> None:
        failure = Failure(error.code, error.message, error.hint, error.status)
        self._status = replace(self._status, state=ImportState.REFUSED, failure=failure)

    def note_step(self, what: str, total_bytes: int | None) -> None:
        self._status = replace(self._status, step=what, step_done_bytes=0, step_total_bytes=total_bytes)

    def note_bytes(self, n_bytes: int) -> None:
        status = self._status
        self._status = replace(status, step_done_bytes=status.step_done_bytes + n_bytes, done_bytes=status.done_bytes + n_bytes)


class _Watch:
    """Called from the importer's thread; a status is replaced whole, so that nobody reads half of one."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming

    def begin(self, what: str, total_bytes: int | None) -> None:
        self._incoming.note_step(what, total_bytes)

    def advance(self, n_bytes: int) -> None:
        self._incoming.note_bytes(n_bytes)

    def note(self, text: str) -> None:
        log.info("%s", text)


@contextlib.contextmanager
def _open_pipe(descriptor: int) -> Iterator[Bundle]:
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        yield TarBundle(file)


def _write_all(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


def _seen(task: asyncio.Task[ReleaseRecord]) -> None:
    """Its error stands in the status; nobody may be waiting for the task itself."""
    if not task.cancelled():
        task.exception()
