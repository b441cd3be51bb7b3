"""From an error to an HTTP answer: the only place that does it, in the shape of the caller's dialect.

Native: `{"error", "code", "hint"}` (and `param`, `reference` where there is one). OpenAI: `{"error": {"message", "type",
"param", "code"}}`, all four always. An error nobody expected tells the caller a reference and nothing else.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Any

from litestar import Response
from litestar.exceptions import HTTPException

from appliance.api.services import ApiRequest
from appliance.errors import (
    ApplianceError,
    BodyTooLarge,
    BodyTooSlow,
    ClientGone,
    InvalidRequest,
    MethodNotAllowed,
    ModelDamaged,
    ModelNotInstalled,
    NotFound,
    Unauthorized,
)

log = logging.getLogger(__name__)

Json = dict[str, Any]
_LEFT = "client disconnected prematurely"  # Litestar has no class for it, and calls it an error of the server
OPENAI = {"dialect": "openai"}  # for a route's `opt`
SHARED = {"dialect": "shared"}  # one route for both clients; OpenAI's own packages say who they are

_OPENAI_ERROR_TYPES = {401: "authentication_error", 402: "insufficient_quota", 403: "permission_error", 429: "rate_limit_error"}


def native_error(error: ApplianceError) -> Json:
    body: Json = {"error": error.message, "code": error.code, "hint": error.hint}
    return body | ({"param": error.param} if error.param else {})


def openai_error(error: ApplianceError) -> Json:
    """The hint is part of the message: this dialect has no other place for it."""
    kind = _OPENAI_ERROR_TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    message = f"{error.message} {error.hint}".strip()
    return {"error": {"message": message, "type": kind, "param": error.param, "code": error.code}}


def speaks_openai(request: ApiRequest) -> bool:
    handler: Any = request.scope.get("route_handler")  # absent when no route was found
    dialect = handler.opt.get("dialect") if handler else None
    if dialect == "shared":
        return "x-stainless-lang" in request.headers
    return bool(dialect == "openai" or request.scope["path"].startswith("/v1/audio/"))


def answer_error(request: ApiRequest, error: ApplianceError) -> Response[Json]:
    write = openai_error if speaks_openai(request) else native_error
    return Response(write(error), status_code=error.status, headers=_headers(error), media_type="application/json")


def _headers(error: ApplianceError) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, BodyTooSlow):
        headers["Connection"] = "close"  # whatever of it comes yet is of no use to anybody
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    hopeless = error.retry_after_s is None and error.status in (409, 500, 507)
    if hopeless or isinstance(error, ModelDamaged | ModelNotInstalled):
        headers["x-should-retry"] = "false"  # OpenAI's packages would send the whole recording again, to the same end
    return headers


def answer_http_exception(request: ApiRequest, exception: HTTPException) -> Response[Json]:
    """What Litestar itself refuses: an unknown address or method, a parameter that does not parse, a large body."""
    if exception.detail == _LEFT:
        return answer_error(request, ClientGone())
    if exception.status_code >= 500:
        return answer_unexpected(request, exception)
    response = answer_error(request, _translate(request, exception))
    if "allow" in (exception.headers or {}):
        response.headers["Allow"] = (exception.headers or {})["allow"]
    return response


def _translate(request: ApiRequest, exception: HTTPException) -> ApplianceError:
    match exception.status_code:
        case 404:
            return NotFound("resource at this address")
        case 405:
            return MethodNotAllowed(request.method, (exception.headers or {}).get("allow", ""))
        case 413:
            return BodyTooLarge()
    return InvalidRequest(_detail(exception))


def _detail(exception: HTTPException) -> str:
    problems = exception.extra if isinstance(exception.extra, list) else []
    return " ".join(f"{problem.get('key')}: {problem.get('message')}." for problem in problems) or f"{exception.detail}."


def answer_unexpected(request: ApiRequest, exception: Exception) -> Response[Json]:
    reference = secrets.token_hex(4)
    log.error("%s %s failed (reference %s)", request.method, request.scope.get("path_template", "?"), reference, exc_info=exception)
    error = ApplianceError(
        f"Something went wrong inside the appliance (reference {reference}).",
        "Tell the administrator the reference; the log has the details under it.",
    )
    return answer_error(request, error)


HANDLERS: dict[type[Exception], Callable[[ApiRequest, Any], Response[Json]]] = {
    ApplianceError: answer_error,
    HTTPException: answer_http_exception,
    Exception: answer_unexpected,
}
