"""Waiting for a job on behalf of a client that may leave in the meantime."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from appliance.api.services import ApiRequest, Services
from appliance.errors import ClientGone
from appliance.jobs import Finished, Job

T = TypeVar("T")


async def wait_for_result(request: ApiRequest, services: Services, job: Job) -> Finished:
    """The job's result, however long it takes. Raises the job's error, `ClientGone`."""
    return await while_connected(request, services, job, services.jobs.wait(job))


async def while_connected(request: ApiRequest, services: Services, job: Job, work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns. The body must have been read.

    When the client leaves first, `ClientGone` is raised, and a job whose result nobody else waits for or can fetch is cancelled.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(client_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        if not working.done():
            await services.jobs.leave(job)
        for task in (working, leaving):
            task.cancel()
        await asyncio.wait({working, leaving})


async def client_left(request: ApiRequest) -> None:
    """Returns when the client closes the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
