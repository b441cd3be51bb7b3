"""JSON bodies, read strictly: an unknown key or a wrong type is refused by name."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from appliance.api.services import ApiRequest
from appliance.api.whole_body import read_body
from appliance.errors import InvalidField, InvalidRequest, UnknownField, UnsupportedBody

T = TypeVar("T", bound=msgspec.Struct)

_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
_MISSING = re.compile(r"missing required field `([^`]*)`")
_PLACE = re.compile(r"^(.*) - at `\$\.?([^`]*)`$")


async def read_json(request: ApiRequest, shape: type[T]) -> T:
    """Raises `UnsupportedBody`, `BodyTooSlow`, `UnknownField`, `InvalidField`, `InvalidRequest`.

    `shape` must forbid unknown fields.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedBody(kind or "unknown", "Send JSON, with 'Content-Type: application/json'.")
    try:
        return msgspec.json.decode(await read_body(request), type=shape)
    except msgspec.ValidationError as error:
        raise _explain(str(error), shape) from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The body is not JSON: {error}.") from error


def _explain(problem: str, shape: type[msgspec.Struct]) -> InvalidRequest:
    if unknown := _UNKNOWN.search(problem):
        return UnknownField(unknown[1], [field.encode_name for field in msgspec.structs.fields(shape)])
    if missing := _MISSING.search(problem):
        return InvalidField(missing[1], "is missing")
    if place := _PLACE.match(problem):
        return InvalidField(place[2] or "body", f"is wrong: {place[1][0].lower()}{place[1][1:]}")
    return InvalidRequest(f"The body is not what this call takes: {problem}.")
