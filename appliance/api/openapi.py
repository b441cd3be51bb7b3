"""The OpenAPI document, and a page that shows it: made here, with nothing loaded from anywhere (TRAPS 11), and no script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from html import escape
from typing import Any

from litestar import Request, Router
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from appliance import __version__
from appliance.api.auth import PUBLIC
from appliance.api.session_guard import SECURE_COOKIE

PATH = "/openapi"
DESCRIPTION = (
    "Native interface (STT.ai's clients), OpenAI's audio interface, health and metrics. Programs send `Authorization: Bearer "
    "<key>`; people make keys on the page, and an operator with `appliance keys create`. Browsers send the cookie of a session, "
    "and with every change the header `X-CSRF-Token` that `GET /api/v1/session` tells. Somebody else's transcript is answered as "
    "if there were none."
)

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
summary { cursor: pointer; padding: .3rem 0 }
code, .method { font-family: ui-monospace, monospace }
.method { display: inline-block; min-width: 4.5rem; font-weight: 600 }
table { border-collapse: collapse; margin: .5rem 0 1rem }
td { border-top: 1px solid #8884; padding: .25rem .75rem .25rem 0; vertical-align: top }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
PAGE_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def openapi_config() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="The appliance",
        version=__version__,
        description=DESCRIPTION,
        render_plugins=[ReferencePage(path="/"), Document(path="/openapi.json")],
        openapi_router=Router(
            PATH,
            route_handlers=[],
            include_in_schema=False,
            opt=PUBLIC,
            response_headers={"Content-Security-Policy": PAGE_POLICY},  # everybody else's would forbid the page its style
        ),
        components=Components(
            security_schemes={
                "key": SecurityScheme(type="http", scheme="bearer"),
                "session": SecurityScheme(type="apiKey", name=SECURE_COOKIE, security_scheme_in="cookie"),
            }
        ),
        security=[{"key": []}, {"session": []}],
        use_handler_docstrings=True,
    )


# --- the document -----------------------------------------------------------------------------------------------------

_SENTENCE = {"type": "string"}
_NATIVE_ERROR = {
    "type": "object",
    "required": ["error", "code", "hint"],
    "properties": {"error": _SENTENCE, "code": _SENTENCE, "hint": _SENTENCE, "param": _SENTENCE},
    "additionalProperties": False,
}
_OPENAI_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {"message": _SENTENCE, "type": _SENTENCE, "param": {"type": ["string", "null"]}, "code": _SENTENCE},
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
}
ERRORS = {"NativeError": _NATIVE_ERROR, "OpenAIError": _OPENAI_ERROR}


class Document(JsonRenderPlugin):
    """With what every operation answers when it refuses, which Litestar leaves out; and 204 without the content it makes up."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return self.render_json(request, with_errors(openapi_schema))


def with_errors(document: dict[str, Any]) -> dict[str, Any]:
    components = document.get("components", {})
    paths = {
        path: {name: _with_error(path, part) if "responses" in part else part for name, part in item.items()}
        for path, item in document["paths"].items()
    }
    return document | {"paths": paths, "components": components | {"schemas": components.get("schemas", {}) | ERRORS}}


def _with_error(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    schema = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in _dialects(path)]}
    refusal = {
        "description": "A refusal: a sentence, a code that stays the same, and what to do.",
        "content": {"application/json": {"schema": schema}},
    }
    answers = {status: _without_content(answer) if status == "204" else answer for status, answer in operation["responses"].items()}
    return operation | {"responses": answers | {"default": refusal}}


def _without_content(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in answer.items() if name != "content"}


def _dialects(path: str) -> tuple[str, ...]:
    if path.startswith("/v1/audio/"):
        return ("OpenAIError",)
    return ("NativeError", "OpenAIError") if path.startswith("/v1/models") else ("NativeError",)


# --- the page ---------------------------------------------------------------------------------------------------------


class ReferencePage(OpenAPIRenderPlugin):
    """Plain HTML written from the document itself."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return "".join(render_page(openapi_schema)).encode()


def render_page(document: dict[str, Any]) -> Iterator[str]:
    title = escape(document["info"]["title"])
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}: interface</title>'
    yield f'<meta http-equiv="Content-Security-Policy" content="{PAGE_POLICY}">'
    yield f"<style>{_STYLE}</style></head><body><h1>{title}: interface</h1><p>{_prose(document['info']['description'])}</p>"
    yield f'<p>Version {escape(document["info"]["version"])}. <a href="{PATH}/openapi.json">The same as JSON</a></p>'
    for tag, operations in _by_tag(document).items():
        yield f"<h2>{escape(tag)}</h2>"
        for path, method, operation in operations:
            yield from _operation(path, method, operation)
    yield "</body></html>"


def _by_tag(document: dict[str, Any]) -> dict[str, list[tuple[str, str, dict[str, Any]]]]:
    sections: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in ("get", "post", "patch", "put", "delete"):
                tag = next(iter(operation.get("tags", [])), "Other")
                sections.setdefault(tag, []).append((path, method, operation))
    return sections


def _operation(path: str, method: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f'<details><summary><span class="method">{method.upper()}</span> <code>{escape(path)}</code> '
    yield f"{escape(operation.get('summary', ''))}</summary><p>{_prose(operation.get('description', ''))}</p>"
    yield from _table("Parameters", [(p["name"], p["in"], p.get("description", "")) for p in operation.get("parameters", [])])
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        properties = content.get("schema", {}).get("properties", {})
        yield from _table(f"Body: {media_type}", [(n, _kind(s), s.get("description", "")) for n, s in properties.items()])
    yield "</details>"


def _table(caption: str, rows: list[tuple[str, str, str]]) -> Iterator[str]:
    if rows:
        cells = (f"<tr><td><code>{escape(n)}</code><td>{escape(kind)}<td>{_prose(text)}</tr>" for n, kind, text in rows)
        yield f"<h4>{escape(caption)}</h4><table>{''.join(cells)}</table>"


def _kind(schema: dict[str, Any]) -> str:
    return " | ".join(map(str, schema["enum"])) if "enum" in schema else str(schema.get("type", ""))


def _prose(text: str) -> str:
    """Text with `code` in backticks, as HTML."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if position % 2 else part for position, part in enumerate(parts))
