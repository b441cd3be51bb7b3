"""`appliance transcribe`: recordings in, documents out, with a progress bar; here or on a running appliance."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from appliance.cli.inputs import Task, find_recordings, plan_tasks
from appliance.cli.terminal import complain, say
from appliance.cli.wish import Transcriber, Wish
from appliance.errors import ApplianceError, InvalidRequest

app = typer.Typer()

INTERRUPTED = 130  # what shells report for Ctrl-C


class Format(StrEnum):
    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"
    CSV = "csv"


@app.command(help="Turn recordings into text, here or on a running appliance.")
def transcribe(  # noqa: PLR0917 (one for each option)
    recordings: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Files, folders, or quoted patterns like 'calls/**/*.wav'.")
    ],
    format: Annotated[Format, typer.Option("--format", "-f", help="What to write.")] = Format.TXT,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file or a folder; without it, one text goes to stdout.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over texts that are there already.")] = False,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Which model; 'appliance models list' names them.")] = None,
    language: Annotated[str | None, typer.Option("--language", "-l", help="A code such as en or de; without it, detected.")] = None,
    speakers: Annotated[int | None, typer.Option(min=1, max=50, help="How many people speak; says --diarize, too.")] = None,
    diarize: Annotated[bool | None, typer.Option("--diarize/--no-diarize", help="Tell the speakers apart.")] = None,
    hotwords: Annotated[str, typer.Option(help="Names and terms that will be said, with commas between them.")] = "",
    translate: Annotated[bool, typer.Option("--translate", help="Into English, whatever is spoken.")] = False,
    server: Annotated[
        str | None, typer.Option(help="Address of a running appliance; the transcripts stay on it, too.", envvar="APPLIANCE_SERVER")
    ] = None,
    key: Annotated[str, typer.Option(help="Its API key; better in the environment than here.", envvar="APPLIANCE_KEY")] = "",
    ca: Annotated[
        Path | None,
        typer.Option(help="The authority (PEM) behind its certificate; its /trust page hands it out.", envvar="APPLIANCE_CA_FILE"),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:0,1; only without --server.")] = None,
) -> None:
    if speakers and diarize is False:
        raise InvalidRequest("--speakers and --no-diarize contradict each other.", "Leave one of them out.")
    if server and device:
        raise InvalidRequest(
            "--device has no meaning with --server.", "The appliance has chosen its device; leave one of them out."
        )
    wish = Wish(
        model=model,
        language=None if language in (None, "auto") else language,
        diarize=bool(diarize or speakers),
        speakers=speakers,
        hotwords=tuple(word.strip() for word in hotwords.split(",") if word.strip()),
        translate=translate,
        format=format.value,
    )
    tasks = plan_tasks(find_recordings(recordings), output, wish.format, force=force)
    try:
        failures = asyncio.run(run_tasks(transcriber_for(server, key, ca, device), tasks, wish, force=force))
    except KeyboardInterrupt:
        say("Stopped. Texts that were finished are written; nothing else is kept.")
        raise typer.Exit(INTERRUPTED) from None
    if len(tasks) > 1:
        say(f"{len(tasks) - failures} of {len(tasks)} recordings done." + (f" {failures} failed, see above." if failures else ""))
    raise typer.Exit(1 if failures else 0)


def transcriber_for(server: str | None, key: str, ca: Path | None, device: str | None) -> AbstractAsyncContextManager[Transcriber]:
    """Only the side that is used is imported: the engine takes a second, the HTTP client half of one."""
    from appliance.cli.configuration import read_settings  # noqa: PLC0415

    if server:
        from appliance.cli.remote import authorities, remote_transcriber  # noqa: PLC0415

        return remote_transcriber(server, key, authorities(read_settings(), ca))
    from appliance.cli.local import local_transcriber  # noqa: PLC0415

    return local_transcriber(read_settings(device=device))


async def run_tasks(opening: AbstractAsyncContextManager[Transcriber], tasks: Sequence[Task], wish: Wish, *, force: bool) -> int:
    """How many failed. A recording that fails does not stop the others."""
    with progress_display() as display:
        async with opening as transcriber:
            room = asyncio.Semaphore(transcriber.at_once)
            outcomes = [run_task(transcriber, task, wish, room, display, force=force) for task in tasks]
            return sum(not done for done in await asyncio.gather(*outcomes))


async def run_task(
    transcriber: Transcriber, task: Task, wish: Wish, room: asyncio.Semaphore, display: Progress, *, force: bool
) -> bool:
    async with room:
        line = display.add_task(task.recording.name, total=1.0, doing="")

        def on_progress(doing: str, fraction: float | None) -> None:
            display.update(line, completed=fraction or 0.0, doing=doing)

        try:
            document = await transcriber.transcribe(task.recording, wish, on_progress)
            if task.target is None:
                display.stop()  # on a terminal the text would be written into the bar
            deliver(document, task.target, force=force)
        except ApplianceError as error:
            complain(error, task.recording.name)
            return False
        finally:
            display.remove_task(line)
        return True


def deliver(document: bytes, target: Path | None, *, force: bool) -> None:
    if target is None:
        sys.stdout.buffer.write(document if document.endswith(b"\n") else document + b"\n")
        sys.stdout.buffer.flush()
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb" if force else "xb") as file:
            file.write(document)
    except OSError as error:
        raise InvalidRequest(f"'{target}' cannot be written: {error.strerror}.", "Choose another place with --output.") from error
    say(f"Written: {target}")


def progress_display() -> Progress:
    """On stderr, and only where somebody watches; it leaves nothing behind."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TaskProgressColumn(),
        TextColumn("{task.fields[doing]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
