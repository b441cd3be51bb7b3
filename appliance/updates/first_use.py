"""Loads the default model at the start and whenever a release is switched, whoever switched it.

A release that does not load the first time is rolled back by itself; one that has loaded once is not blamed for later faults.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from appliance.catalogue import Model, Shelf
from appliance.catalogue.releases import ReleaseRecord
from appliance.engine.pool import WorkerDied
from appliance.errors import ApplianceError, DeviceUnavailable, NoSuchRelease, UnknownModel
from appliance.store.audit import Audit
from appliance.updates.releases import Releases

log = logging.getLogger(__name__)

LOOK_S = 2.0  # between two looks whether another release is in use


async def keep_warm(
    shelf: Shelf, audit: Audit, default: Callable[[], Model], load: Callable[[Path], Awaitable[None]], look_s: float = LOOK_S
) -> None:
    """Until cancelled. `default` names the model to have ready; `load` brings it into the workers."""
    releases = Releases(shelf.models_dir)
    seen: object = None
    while True:
        catalogue = await asyncio.to_thread(lambda: shelf.catalogue)
        if catalogue is not seen:
            seen = catalogue
            try:
                await first_use(shelf, releases, audit, default, load)
            except ApplianceError as error:  # the disk is full, or the database held: it is looked at again at the next switch
                log.error("What became of a release could not be written down. %s %s", error.message, error.hint)
        else:
            await asyncio.sleep(look_s)


async def first_use(
    shelf: Shelf, releases: Releases, audit: Audit, default: Callable[[], Model], load: Callable[[Path], Awaitable[None]]
) -> None:
    record: ReleaseRecord | None = None
    try:
        model = await asyncio.to_thread(default)
        record = await asyncio.to_thread(_release_of, shelf, releases, model.id)
        await load(await asyncio.to_thread(shelf.path, model.id))
    except (ApplianceError, WorkerDied) as error:
        await _judge(error, record, releases, audit)
    else:
        if record:
            await asyncio.to_thread(releases.prove, record)


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
