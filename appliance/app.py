"""Wires the appliance together: the only place that does. Reads as the list of what happens at start and at stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from litestar import Litestar

from appliance import __version__
from appliance.api.access_log import AccessLog
from appliance.api.auth import require_access
from appliance.api.errors import HANDLERS
from appliance.api.headers import add_security_headers
from appliance.api.metrics_registry import Metrics
from appliance.api.openapi import openapi_config
from appliance.api.routes import routes as api_routes
from appliance.api.services import Services
from appliance.audio.memory import MemoryBudget
from appliance.catalogue import Catalogue, Model, Shelf
from appliance.engine.gpu import choose_device
from appliance.engine.pool import WorkerPool
from appliance.engine.protocol import Role
from appliance.errors import ApplianceError
from appliance.identity import identity_sources
from appliance.jobs import Jobs
from appliance.licensing import Licensing
from appliance.settings import Settings
from appliance.store import SYSTEM, Store, held_alone
from appliance.tls import Door, Front
from appliance.updates.first_use import keep_warm
from appliance.updates.incoming import Incoming
from appliance.web import routes as web_routes

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 256 * 2**10  # of everything but recordings, which have a limit of their own


def create_app(settings: Settings, door: Door | None = None) -> AccessLog:
    """The application as an ASGI server runs it. Starting raises `StartRefused` with what the operator should do.

    Without a door, whoever reaches it is answered, whatever Host they ask for.
    """
    metrics = Metrics()
    app = Litestar(
        route_handlers=[*api_routes(), *web_routes()],
        guards=[require_access],
        exception_handlers=HANDLERS,  # type: ignore[arg-type]  # Litestar's own alias wants Exception, not its subclasses
        before_send=[add_security_headers],
        openapi_config=openapi_config(),
        request_max_body_size=MAX_BODY_BYTES,
        lifespan=[_lifespan(settings, metrics, door)],
        logging_config=None,
    )
    return AccessLog(Front(app, door) if door else app, metrics.observe)


async def stop_jobs(app: AccessLog) -> None:
    """Take no more recordings, and see those that run to their end (`Jobs.stop`); whoever asks is still answered meanwhile."""
    application = app.wrapped.wrapped if isinstance(app.wrapped, Front) else app.wrapped
    assert isinstance(application, Litestar)
    services = application.state.services
    assert isinstance(services, Services)
    await services.jobs.stop()


def _lifespan(settings: Settings, metrics: Metrics, door: Door | None) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        try:
            with held_alone(settings.database_path):
                async with _running(settings, metrics, door) as services:
                    app.state.services = services
                    yield
        except ApplianceError as error:
            log.error("%s %s", error.message, error.hint)
            raise

    return lifespan


@asynccontextmanager
async def _running(settings: Settings, metrics: Metrics, door: Door | None) -> AsyncIterator[Services]:
    """Everything that lives as long as the appliance; stopped in the opposite order."""
    shelf = Shelf(Catalogue.load(settings.catalogue_dir), settings.models_dir)
    budget = MemoryBudget(settings.memory_budget_bytes, lambda: jobs.retry_after_s())  # noqa: PLW0108  # made below
    devices = choose_device(settings.device)
    identities = identity_sources(settings)
    store = await Store.open(settings.database_path)
    try:
        licensing = await Licensing.open(store, settings.data_dir, settings.licence_file)
        pool = WorkerPool(settings, licensing.permitted(devices))
        try:
            await pool.start()
            jobs = Jobs(settings, store, pool, shelf, budget, permit=licensing)
            jobs.on_ended(licensing.note_job_ended)
            await jobs.start()
            await licensing.start()
            incoming = Incoming(settings, store.audit)
            warming = asyncio.create_task(_keep_warm(settings, shelf, pool, store))
            try:
                async with _on_record(store, settings, door):
                    yield Services(
                        settings, jobs, store, shelf, budget, pool, metrics, licensing, incoming, door, identities=identities
                    )
            finally:
                warming.cancel()
                await incoming.stop()
                await jobs.stop()
        finally:
            await pool.stop()
            await licensing.stop()
    finally:
        identities.close()
        await store.close()


@asynccontextmanager
async def _on_record(store: Store, settings: Settings, door: Door | None) -> AsyncIterator[None]:
    """Start, stop and new certificates stand in the audit log; meanwhile transcripts go when the time to keep them is over."""
    await store.audit.record("appliance.started", SYSTEM, version=__version__)
    if door:
        await door.tell(lambda change: store.audit.record(f"certificate.{change}", SYSTEM))
    keeping = asyncio.create_task(store.retention.keep_to_rules(settings.retention_days))
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await store.audit.record("appliance.stopped", SYSTEM)
        log.info(
            "The audit log ends at %s; kept elsewhere, this shows later whether its end was cut off.", await store.audit.head()
        )


async def _keep_warm(settings: Settings, shelf: Shelf, pool: WorkerPool, store: Store) -> None:
    """Load the default model before the first recording comes, and that of each new release; `/readyz` says 503 until then."""

    def default() -> Model:
        return shelf.resolve(settings.default_model, settings.default_model, settings.model_aliases)

    await keep_warm(shelf, store.audit, default, _Workers(pool))


@dataclass(frozen=True)
class _Workers:
    pool: WorkerPool

    async def load(self, model_dir: Path) -> None:
        await self.pool.warm(model_dir)
        if self.pool.devices.kind == "cuda":  # on a small machine the import would take the cores from the first recording
            self.pool.prepare(Role.DIARIZE)

    def is_cold(self, model_dir: Path) -> bool:
        return self.pool.is_cold(model_dir)
