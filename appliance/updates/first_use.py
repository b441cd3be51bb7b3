"""Loads the default model at the start, in a worker that was restarted, and whenever a release is switched, whoever switched it.

A release that does not load the first time is rolled back by itself; one that has loaded once is not blamed for later faults.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from appliance.catalogue import Model, Shelf
from appliance.catalogue.releases import ReleaseRecord
from appliance.engine.pool import WorkerDied
from appliance.errors import ApplianceError, DeviceUnavailable, NoSuchRelease, UnknownModel
from appliance.store.audit import Audit
from appliance.updates.releases import Releases

log = logging.getLogger(__name__)

LOOK_S = 2.0  # between two looks whether another release is in use, or a worker new


class Workers(Protocol):
    async def load(self, model_dir: Path) -> None: ...

    def is_cold(self, model_dir: Path) -> bool:
        """One of them has not loaded it since it started."""


async def keep_warm(shelf: Shelf, audit: Audit, default: Callable[[], Model], workers: Workers, look_s: float = LOOK_S) -> None:
    """Until cancelled. `default` names the model to have ready. One that did not load waits for the next switch."""
    releases = Releases(shelf.models_dir)
    seen: object = None
    loaded: Path | None = None
    while True:
        catalogue = await asyncio.to_thread(lambda: shelf.catalogue)
        if catalogue is not seen or (loaded and workers.is_cold(loaded)):
            seen, loaded = catalogue, None
            try:
                loaded = await first_use(shelf, releases, audit, default, workers)
            except ApplianceError as error:  # the disk is full, or the database held: it is looked at again at the next switch
                log.error("What became of a release could not be written down. %s %s", error.message, error.hint)
        else:
            await asyncio.sleep(look_s)


async def first_use(shelf: Shelf, releases: Releases, audit: Audit, default: Callable[[], Model], workers: Workers) -> Path | None:
    """The folder that was loaded; None when it could not be, which is judged."""
    record: ReleaseRecord | None = None
    try:
        model = await asyncio.to_thread(default)
        record = await asyncio.to_thread(_release_of, shelf, releases, model.id)
        folder = await asyncio.to_thread(shelf.path, model.id)
        await workers.load(folder)
    except (ApplianceError, WorkerDied) as error:
        await _judge(error, record, releases, audit)
        return None
    if record:
        await asyncio.to_thread(releases.prove, record)
    return folder


async def _judge(error: ApplianceError | WorkerDied, record: ReleaseRecord | None, releases: Releases, audit: Audit) -> None:
    reason = f"{error.message} {error.hint}" if isinstance(error, ApplianceError) else f"The engine died of it: {error.reason}."
    is_new = record is not None and not releases.is_proven(record)
    if record and is_new and not isinstance(error, DeviceUnavailable | UnknownModel):
        if await asyncio.to_thread(releases.give_up, record):
            log.error("The release %s does not load and is rolled back. %s", record.name, reason)
            await audit.record("models.rolled_back", "system", reason="invalid", release=record.name)
        return
    log.error("The default model is not ready. %s", reason)


def _release_of(shelf: Shelf, releases: Releases, model_id: str) -> ReleaseRecord | None:
    name = shelf.release_of(model_id)
    try:
        return releases.find(name) if name else None
    except NoSuchRelease:  # switched and collected meanwhile
        return None
