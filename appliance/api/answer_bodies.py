"""How answers that are no JSON, or not only, stand in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, OpenAPIType, Operation, Schema

EVENTS = "text/event-stream"
SEALED = "application/vnd.appliance.sealed-transcript"
SUBTITLES = ("text/plain", "application/x-subrip", "text/vtt")
DOCUMENTS = ("application/json", "text/csv", *SUBTITLES)

TEXT = Schema(type=OpenAPIType.STRING)
EVENT = Schema(type=OpenAPIType.OBJECT, properties={"event": TEXT, "data": TEXT, "id": TEXT}, description="One after the other.")


def also_answers(operation: Operation, media_types: Iterable[str]) -> None:
    """Beside what the handler's type says."""
    answer = (operation.responses or {}).get("200")
    if isinstance(answer, OpenAPIResponse):
        texts = {kind: OpenAPIMediaType(schema=EVENT if kind == EVENTS else TEXT) for kind in media_types}
        answer.content = (answer.content or {}) | texts


@dataclass
class DocumentAnswer(Operation):
    def __post_init__(self) -> None:
        also_answers(self, DOCUMENTS)


@dataclass
class EventsAnswer(Operation):
    def __post_init__(self) -> None:
        also_answers(self, [EVENTS])


@dataclass
class SealedAnswer(Operation):
    def __post_init__(self) -> None:
        also_answers(self, [SEALED])
