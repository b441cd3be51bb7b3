"""How JSON bodies stand in the OpenAPI document: made from the very structs that read them, so that the two cannot differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema


def json_body(shape: type[msgspec.Struct]) -> type[Operation]:
    """For a route's `operation_class`."""
    document = msgspec.json.schema(shape)
    body = RequestBody(
        content={"application/json": OpenAPIMediaType(schema=_schema(document, document.get("$defs", {})))}, required=True
    )

    @dataclass
    class JsonBody(Operation):
        def __post_init__(self) -> None:
            self.request_body = body

    return JsonBody


def _schema(part: dict[str, Any], definitions: dict[str, Any]) -> Schema:
    if "$ref" in part:
        return _schema(definitions[part["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in part:
        return Schema(any_of=[_schema(one, definitions) for one in part["anyOf"]], description=part.get("description"))
    return Schema(
        type=None if "type" not in part else OpenAPIType(part["type"]),
        enum=part.get("enum"),
        description=part.get("description"),
        items=None if "items" not in part else _schema(part["items"], definitions),
        properties={name: _schema(one, definitions) for name, one in part.get("properties", {}).items()} or None,
        required=part.get("required") or None,
        additional_properties=part.get("additionalProperties"),
        format=part.get("format"),
        minimum=part.get("minimum"),
        maximum=part.get("maximum"),
    )
