"""What the handlers need from the rest of the appliance, wired once in `app.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from litestar.connection import ASGIConnection, Request
from litestar.datastructures import State

from appliance.api.metrics_registry import Metrics
from appliance.api.throttle import Throttle
from appliance.audio.memory import MemoryBudget
from appliance.catalogue import Shelf
from appliance.engine.pool import WorkerPool
from appliance.identity import IdentitySources
from appliance.jobs import Jobs
from appliance.licensing import Licensing
from appliance.settings import Settings
from appliance.store import Store
from appliance.tls import Door
from appliance.updates.incoming import Incoming

ApiRequest = Request[Any, Any, State]


@dataclass(frozen=True)
class Services:
    """Handed over as `app.state.services`; nothing in `api` makes any of these itself."""

    settings: Settings
    jobs: Jobs
    store: Store
    shelf: Shelf
    budget: MemoryBudget
    pool: WorkerPool
    metrics: Metrics
    licensing: Licensing
    incoming: Incoming
    door: Door | None = None  # None: what stands in front of the application is somebody else's
    throttle: Throttle = field(default_factory=Throttle)
    identities: IdentitySources = field(default_factory=IdentitySources)


def services_of(connection: ASGIConnection[Any, Any, Any, State]) -> Services:
    services = connection.app.state.services
    assert isinstance(services, Services)
    return services
