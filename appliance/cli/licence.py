"""`appliance licence`: shows and installs licences, in the data folder itself; the appliance may be running and notices at once.

Showing changes nothing there, and works where nothing can be written.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from appliance.catalogue.releases import Channel, read_record, read_switch, release_folder
from appliance.cli.configuration import read_settings
from appliance.cli.keys import opened_store
from appliance.cli.terminal import GREEN, YELLOW, painted, say
from appliance.errors import InvalidField
from appliance.licensing import Licensing, SiteLicence, look_at_licence, release_notice
from appliance.licensing.files import MAX_LICENCE_BYTES
from appliance.settings import Settings
from licence import Licence, Limits, Notice, State

app = typer.Typer(no_args_is_help=True, help="What the licence allows, until when, and a new one.")

MEANING = {
    State.VALID: "valid: everything works",
    State.EXPIRING: "ends soon: everything works",
    State.EVALUATION: "evaluation: everything works",
    State.GRACE: "time of grace: everything still works",
    State.RESTRICTED: "restricted: no new recordings and no new people; all that is there stays usable",
}

NOT_BEGUN = "There is none yet. With the first start the installation gets its id, and the evaluation begins, with everything on."


@app.command(help="Show the state of the licence, and what the vendor needs to know of this machine.")
def show(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    settings = read_settings()
    site = site_licence(settings)
    notices = release_notices(settings, site) if site else []
    if as_json:
        seen = (
            {"standing": site.standing(), "install_id": site.install_id, "gpu_uuids": site.gpu_uuids, "models": notices}
            if site
            else None
        )
        print(msgspec.json.encode(seen).decode())
    elif site is None:
        print(NOT_BEGUN)
    else:
        for line in lines(site):
            print(line)
        explain((*site.standing().notices, *notices))


def site_licence(settings: Settings) -> SiteLicence | None:
    """None before the first start. Raises StartRefused, StoreBusy."""
    return look_at_licence(settings.database_path, settings.data_dir, settings.licence_file)


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


async def _install(raw: bytes) -> None:
    settings = read_settings()
    async with opened_store(settings) as store:
        licensing = await Licensing.open(store, settings.data_dir, settings.licence_file)
        standing = await licensing.install(raw, "console")
    say(painted("The licence is installed. A running appliance uses it from now on.", GREEN))
    say(f"State: {MEANING[standing.state]}.")
    explain(standing.notices)


def release_notices(settings: Settings, site: SiteLicence) -> list[Notice]:
    """Of the models of the vendor's that are in use."""
    switch = read_switch(settings.models_dir, Channel.VENDOR)
    record = read_record(release_folder(settings.models_dir, Channel.VENDOR, switch.active))
    notice = release_notice(site.standing().licence, record) if record else None
    return [notice] if notice else []


def explain(notices: Iterable[Notice]) -> None:
    for notice in notices:
        say(painted(notice.sentence, YELLOW))
        if notice.hint:
            say(f"  {notice.hint}")


def lines(site: SiteLicence) -> Iterator[str]:
    standing = site.standing()
    yield f"state          {MEANING[standing.state]}"
    if standing.until is not None:
        yield f"works until    {_day(standing.until)}"
    if standing.days_left is not None:
        yield f"days left      {math.ceil(standing.days_left)}"
    if standing.licence is not None:
        yield from _of_licence(standing.licence)
    yield from _of_limits(standing.limits, site)
    yield f"install id     {site.install_id}"
    for uuid in site.gpu_uuids:
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


def _of_limits(limits: Limits, site: SiteLicence) -> Iterator[str]:
    hours = "no limit" if limits.hours_a_month is None else f"{limits.hours_a_month:g}"
    yield f"hours          {site.hours_used:.1f} used this month, {hours} a month"
    for name, limit in (("seats", limits.seats), ("GPUs", limits.gpus), ("jobs at once", limits.concurrent_jobs)):
        yield f"{name:<14} {'no limit' if limit is None else limit}"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
