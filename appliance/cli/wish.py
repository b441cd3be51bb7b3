"""What somebody wants done with a recording, and who can do it: this machine, or an appliance elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from appliance.domain import JobState, Progress, Stage, Value

OnProgress = Callable[[str, float | None], None]  # what is being done, and the fraction done where it is known

STAGES = {
    Stage.DECODE: "reading",
    Stage.DETECT: "finding speech",
    Stage.RECOGNIZE: "writing",
    Stage.DIARIZE: "telling speakers apart",
    Stage.SAVE: "saving",
}


class Wish(Value, frozen=True):
    model: str | None = None  # None: the default one
    language: str | None = None  # None: detect
    diarize: bool = False
    speakers: int | None = None  # None: detect
    hotwords: tuple[str, ...] = ()
    translate: bool = False
    format: str = "txt"


class Transcriber(Protocol):
    at_once: int  # how many recordings it is worth giving it at the same time

    async def transcribe(self, recording: Path, wish: Wish, on_progress: OnProgress) -> bytes:
        """The document. Cancelling the call cancels the work. Raises ApplianceError."""
        ...


def report(progress: Progress, on_progress: OnProgress) -> None:
    if progress.state is JobState.QUEUED:
        place = progress.queue_position
        on_progress("waiting" if place is None else f"waiting, number {place} in line", None)
    else:
        on_progress(STAGES[progress.stage] if progress.stage else "starting", progress.fraction)
