"""`appliance licence`: shows and installs licences, in the data folder itself; the appliance may be running and notices at once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from appliance.cli.configuration import read_settings
from appliance.cli.keys import opened_store
from appliance.cli.terminal import GREEN, YELLOW, painted, say
from appliance.errors import InvalidField
from appliance.licensing import Licensing
from appliance.licensing.files import MAX_LICENCE_BYTES
from licence import Licence, Limits, Standing, State

app = typer.Typer(no_args_is_help=True, help="What the licence allows, until when, and a new one.")

MEANING = {
    State.VALID: "valid: everything works",
    State.EXPIRING: "ends soon: everything works",
    State.EVALUATION: "evaluation: everything works",
    State.GRACE: "time of grace: everything still works",
    State.RESTRICTED: "restricted: no new recordings and no new people; all that is there stays usable",
}


@app.command(help="Show the state of the licence, and what the vendor needs to know of this machine.")
def show(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    asyncio.run(_show(as_json=as_json))


@app.command(help="Install a licence, also from a stick. It is kept only when it verifies and is no older than the present one.")
def install(file: Annotated[Path, typer.Argument(help="The licence file.")]) -> None:
    asyncio.run(_install(read_file(file)))


def read_file(file: Path) -> bytes:
    """Raises InvalidField."""
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_LICENCE_BYTES)
    except OSError as error:
        raise InvalidField("file", f"'{file}' cannot be read: {error.strerror}", "Give the path of the licence file.") from error


async def _show(*, as_json: bool) -> None:
    async with _opened() as licensing:
        standing = licensing.standing()
        if as_json:
            seen = {"standing": standing, "install_id": licensing.install_id, "gpu_uuids": licensing.gpu_uuids}
            print(msgspec.json.encode(seen).decode())
            return
        for line in lines(standing, licensing):
            print(line)
    _explain(standing)


async def _install(raw: bytes) -> None:
    async with _opened() as licensing:
        standing = await licensing.install(raw, "console")
    say(painted("The licence is installed. A running appliance uses it from now on.", GREEN))
    say(f"State: {MEANING[standing.state]}.")
    _explain(standing)


@asynccontextmanager
async def _opened() -> AsyncIterator[Licensing]:
    settings = read_settings()
    async with opened_store(settings) as store:
        yield await Licensing.open(store, settings.data_dir, settings.licence_file)


def _explain(standing: Standing) -> None:
    for notice in standing.notices:
        say(painted(notice.sentence, YELLOW))
        if notice.hint:
            say(f"  {notice.hint}")


def lines(standing: Standing, licensing: Licensing) -> Iterator[str]:
    yield f"state          {MEANING[standing.state]}"
    if standing.until is not None:
        yield f"works until    {_day(standing.until)}"
    if standing.days_left is not None:
        yield f"days left      {math.ceil(standing.days_left)}"
    if standing.licence is not None:
        yield from _of_licence(standing.licence)
    yield from _of_limits(standing.limits, licensing)
    yield f"install id     {licensing.install_id}"
    for uuid in licensing.gpu_uuids:
        yield f"GPU            {uuid}"


def _of_licence(licence: Licence) -> Iterator[str]:
    yield f"licence        {licence.id}, serial {licence.serial}, {licence.edition}"
    yield f"customer       {licence.customer}"
    yield f"term           {_day(licence.not_before)} to {'no end' if licence.expires_at is None else _day(licence.expires_at)}"
    if licence.support_until is not None:
        yield f"support until  {_day(licence.support_until)}"
    if licence.features:
        yield f"features       {', '.join(licence.features)}"
    if licence.bind is not None:
        yield f"bound to       {licence.bind.need} of: {', '.join(licence.bind.any_of)}"


def _of_limits(limits: Limits, licensing: Licensing) -> Iterator[str]:
    hours = "no limit" if limits.hours_a_month is None else f"{limits.hours_a_month:g}"
    yield f"hours          {licensing.hours_used:.1f} used this month, {hours} a month"
    for name, limit in (("seats", limits.seats), ("GPUs", limits.gpus), ("jobs at once", limits.concurrent_jobs)):
        yield f"{name:<14} {'no limit' if limit is None else limit}"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
