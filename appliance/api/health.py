"""Is it alive, is it ready: for people's clients, container health checks and load balancers. Public, and says nothing private."""

from __future__ import annotations

import asyncio
from typing import Literal

from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec

from appliance import __version__
from appliance.api.auth import PUBLIC
from appliance.api.services import ApiRequest, Services, services_of
from appliance.api.site_models import is_warm, resolve_model
from appliance.domain import Value
from appliance.errors import ApplianceError


class Health(Value, frozen=True):
    status: Literal["ok"]
    version: str
    ready: bool


class Liveness(Value, frozen=True):
    status: Literal["ok"]


class Readiness(Value, frozen=True):
    ready: bool
    reason: str


@get("/health", opt=PUBLIC, tags=["Operation"], summary="The process serves; whether it is ready stands beside it")
async def health(request: ApiRequest) -> Health:
    return Health("ok", __version__, not await unready_because(services_of(request)))


@get("/healthz", opt=PUBLIC, tags=["Operation"], summary="200 while the process lives")
async def liveness() -> Liveness:
    return Liveness("ok")


@get(
    "/readyz",
    opt=PUBLIC,
    responses={503: ResponseSpec(Readiness, description="Not yet, or not any more", generate_examples=False)},
    tags=["Operation"],
    summary="200 when recordings are taken and the default model is warm, else 503",
)
async def readiness(request: ApiRequest) -> Response[Readiness]:
    reason = await unready_because(services_of(request))
    if reason:
        return Response(Readiness(ready=False, reason=reason), status_code=503, headers={"Retry-After": "5"})
    return Response(Readiness(ready=True, reason=""), status_code=200)


async def unready_because(services: Services) -> str:
    """Empty when it is ready."""
    if services.jobs.draining:
        return "shutting down"
    try:
        model = await asyncio.to_thread(resolve_model, services, None)
    except ApplianceError as error:
        return error.message
    return "" if is_warm(services, model.id) else "the default model is not loaded yet"
