"""`appliance bench`: how many seconds this machine needs for a second of speech, measured on the whole path.

The built-in clip is 54 seconds of real speech, LJSpeech 1.1 (public domain), sentences LJ001-0001 to 0008, as Opus.
"""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from appliance.cli.configuration import read_settings
from appliance.cli.local import local_transcriber
from appliance.cli.terminal import duration_words, say
from appliance.cli.wish import Wish
from appliance.domain import Value
from appliance.engine.gpu import DeviceChoice
from appliance.jobs import Finished, Timings
from appliance.settings import Settings

app = typer.Typer()

CLIP = Path(__file__).parent / "bench_speech.opus"
CLIP_IS = "the built-in clip of read speech (LJSpeech, public domain)"


class Measurement(Value, frozen=True):
    """Of the best run: the others were disturbed by something else on this machine."""

    clip: str
    model: str
    device: str
    machine: str
    audio_s: float
    real_time_factor: float  # seconds of work per second of speech: smaller is faster
    runs: tuple[float, ...]  # the real-time factor of each
    timings: Timings
    words: int


@app.command(help="Measure how fast this machine transcribes.")
def bench(  # noqa: PLR0917 (one for each option)
    recording: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", exists=True, dir_okay=False, help="Your own recording.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Without it, the default model.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:0,1.")] = None,
    diarize: Annotated[bool, typer.Option("--diarize", help="With the speakers told apart.")] = False,
    runs: Annotated[int, typer.Option(min=1, max=20, help="How often; the best counts.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    settings = read_settings(device=device)
    measurement = asyncio.run(_measure(settings, recording or CLIP, Wish(model=model, diarize=diarize), runs))
    print(msgspec.json.encode(measurement).decode() if as_json else describe(measurement))


async def _measure(settings: Settings, clip: Path, wish: Wish, runs: int) -> Measurement:
    async with local_transcriber(settings) as transcriber:
        say(f"{transcriber.devices.reason} Loading the model ...")
        await transcriber.run(clip, wish, _unwatched)  # loads the model; not counted
        finished = []
        for n in range(runs):
            say(f"Run {n + 1} of {runs} ...")
            finished.append(await transcriber.run(clip, wish, _unwatched))
        return summarise(finished, transcriber.devices, clip)


def _unwatched(doing: str, fraction: float | None) -> None:
    """A progress bar would be measured, too."""


def summarise(finished: Sequence[Finished], devices: DeviceChoice, clip: Path) -> Measurement:
    best = min(finished, key=lambda each: each.timings.total_s)
    transcript = best.record.transcript
    assert transcript is not None
    return Measurement(
        clip=CLIP_IS if clip == CLIP else clip.name,
        model=transcript.model,
        device=", ".join(device.name for device in devices.devices),
        machine=f"{os.cpu_count()} CPU cores, {platform.machine()}",
        audio_s=round(best.timings.audio_s, 2),
        real_time_factor=round(factor(best.timings), 4),
        runs=tuple(round(factor(each.timings), 4) for each in finished),
        timings=best.timings,
        words=len(transcript.text.split()),
    )


def factor(timings: Timings) -> float:
    return timings.total_s / timings.audio_s


def describe(measured: Measurement) -> str:
    times = 1 / measured.real_time_factor
    stages = {
        "reading": measured.timings.decode_s,
        "recognition": measured.timings.recognize_s,
        "speakers": measured.timings.diarize_s,
    }
    known = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in stages.items() if seconds is not None)
    return "\n".join(
        (
            f"{measured.model} on {measured.device} ({measured.machine}): real-time factor {measured.real_time_factor:.3f},",
            f"that is {times:.1f} times as fast as speech: an hour takes about {duration_words(3600 * measured.real_time_factor)}.",
            f"Measured on {measured.clip}, {measured.audio_s:.1f} s, {measured.words} words; best of {len(measured.runs)} "
            f"({', '.join(f'{run:.3f}' for run in measured.runs)}).",
            f"In it: {known}; together {measured.timings.total_s:.2f} s.",
        )
    )
