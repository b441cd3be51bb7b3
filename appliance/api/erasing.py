"""Erasing everything of an owner: first what still runs, then what is stored; and how erasures are answered."""

from __future__ import annotations

from typing import Any, Literal

from litestar import Response
from litestar.openapi.datastructures import ResponseSpec

from appliance.api.services import Services
from appliance.domain import Value


class Erasing(Value, frozen=True):
    status: Literal["erasing"]


# For the description of a route that answers with `erasure_answer`.
ERASURE_ANSWERS = {
    202: ResponseSpec(Erasing, description="As soon as a reader of the database lets go", generate_examples=False),
    204: ResponseSpec(None, description="No word of it is left in any file", generate_examples=False),
}


async def erase_everything_of(services: Services, owner: str, actor: str, reason: str = "request") -> bool:
    """True: no word of it is left in any file. `reason` "account" or "workspace": the owner goes for good, too."""
    await services.jobs.cancel_of(owner)
    return await services.store.erasures.erase_owner(owner, actor, reason)


def erasure_answer(erased: bool) -> Response[Any]:
    """204 once no word is left; 202 while a reader of the database delays the end, which then comes by itself."""
    return Response(None, status_code=204) if erased else Response(Erasing("erasing"), status_code=202)
