"""What an administrator does with releases, for the command line and the API alike: import, activate, roll back; all audited.

The work of an import is done in a thread; the trial of each model runs on the event loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

from appliance.catalogue.releases import Channel, ReleaseRecord
from appliance.catalogue.sources import Progress, Silent
from appliance.errors import (
    ApplianceError,
    CanaryFailed,
    Cancelled,
    MetadataTampered,
    NoSpace,
    TooFewSignatures,
    UpdateExpired,
    UpdateOlder,
    WrongRoot,
)
from appliance.settings import Settings
from appliance.store.audit import Audit
from appliance.updates.bundle import Bundle
from appliance.updates.canary import try_out
from appliance.updates.importer import Trial, import_bundle
from appliance.updates.releases import Releases
from appliance.updates.roots import site_root, vendor_root

_REASONS: tuple[tuple[type[ApplianceError] | tuple[type[ApplianceError], ...], str], ...] = (
    ((WrongRoot, TooFewSignatures, MetadataTampered), "signature"),
    (UpdateExpired, "expired"),
    (UpdateOlder, "rollback"),
    (CanaryFailed, "canary"),
    (NoSpace, "space"),
)

Hearing = Callable[[Settings, Trial], Coroutine[Any, Any, None]]  # `canary.try_out`, or what stands for it


def anchor_of(channel: Channel, releases: Releases) -> bytes:
    """The root that a channel is trusted from. Raises SiteRootRefused when the site has none of its own."""
    return vendor_root() if channel is Channel.VENDOR else site_root(releases.models_dir)


async def import_release(
    bundle: Bundle,
    channel: Channel,
    *,
    settings: Settings,
    audit: Audit,
    actor: str,
    progress: Progress | None = None,
    activate: bool = True,
    hearing: Hearing = try_out,
) -> ReleaseRecord:
    """Raises what `import_bundle` raises. Cancelling it ends the copying within a megabyte, and a trial at once."""
    releases = Releases(settings.models_dir)
    watched = Interruptible(progress or Silent())
    hear = _Trials(settings, hearing)

    def work() -> ReleaseRecord:
        anchor = anchor_of(channel, releases)
        return import_bundle(bundle, releases, channel, anchor, try_out=hear, progress=watched, activate=activate)

    try:
        record = await _to_its_end(work, (watched.interrupt, hear.interrupt))
    except ApplianceError as error:
        await audit.record("models.refused", actor, reason=reason_of(error))
        raise
    await audit.record("models.imported", actor, release=record.name)
    if activate:
        await audit.record("models.activated", actor, release=record.name)
    return record


async def _to_its_end(work: Callable[[], ReleaseRecord], interrupts: Sequence[Callable[[], None]]) -> ReleaseRecord:
    """In a thread, which has let go of the bundle when this returns or raises, even when cancelled."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        for interrupt in interrupts:
            interrupt()
        await asyncio.wait({task})
        task.exception()
        raise


class _Trials:
    """Runs trials on the event loop, for the thread that waits for them."""

    def __init__(self, settings: Settings, hearing: Hearing) -> None:
        self._settings = settings
        self._hearing = hearing
        self._loop = asyncio.get_running_loop()
        self._running: Future[None] | None = None

    def __call__(self, trial: Trial) -> None:
        self._running = asyncio.run_coroutine_threadsafe(self._hearing(self._settings, trial), self._loop)
        try:
            self._running.result()
        except CancelledError:
            raise Cancelled from None

    def interrupt(self) -> None:
        if self._running:
            self._running.cancel()


async def activate_release(releases: Releases, name: str, audit: Audit, actor: str) -> ReleaseRecord:
    """Raises NoSuchRelease, ModelDamaged."""
    record = await asyncio.to_thread(releases.find, name)
    await asyncio.to_thread(releases.activate, record)
    await audit.record("models.activated", actor, release=record.name)
    return record


async def roll_back(releases: Releases, channel: Channel, audit: Audit, actor: str) -> ReleaseRecord | None:
    """Raises NothingToRollBack."""
    record = await asyncio.to_thread(releases.roll_back, channel)
    facts = {"release": record.name} if record else {}
    await audit.record("models.rolled_back", actor, reason="request", **facts)
    return record


def reason_of(error: ApplianceError) -> str:
    """The word for the audit log."""
    return next((word for classes, word in _REASONS if isinstance(error, classes)), "invalid")


class Interruptible:
    """Hands progress on, and is where a thread notices that nobody waits for it any more."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._over = threading.Event()

    def interrupt(self) -> None:
        self._over.set()

    def begin(self, what: str, total_bytes: int | None) -> None:
        self._check()
        self._progress.begin(what, total_bytes)

    def advance(self, n_bytes: int) -> None:
        self._check()
        self._progress.advance(n_bytes)

    def note(self, text: str) -> None:
        self._progress.note(text)

    def _check(self) -> None:
        if self._over.is_set():
            raise Cancelled
