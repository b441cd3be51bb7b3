"""`appliance webhooks`: targets that answered 410 Gone, and a way back for them; the appliance may be running."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
import typer

from appliance.cli.configuration import read_settings
from appliance.cli.keys import opened_store, print_rows, shown_day
from appliance.cli.terminal import say
from appliance.settings import Settings
from appliance.store import SwitchedOff

app = typer.Typer(no_args_is_help=True, help="Targets that answered 410 Gone, and are told nothing any more.")


@app.command("list", help="List the targets that are switched off.")
def list_targets(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    targets = asyncio.run(_list(read_settings()))
    if as_json:
        print(msgspec.json.encode(targets).decode())
    elif targets:
        print_rows([("TARGET", "ANSWERED 410"), *((target.url, shown_day(target.at)) for target in targets)])
    else:
        say("No webhook target is switched off.")


@app.command(help="Switch a target on again: recordings may name it, and it is told how they end.")
def allow(url: Annotated[str, typer.Argument(help="As 'list' shows it.")]) -> None:
    asyncio.run(_allow(read_settings(), url))
    say("The target is switched on again. What ended meanwhile is not told any more.")


async def _list(settings: Settings) -> tuple[SwitchedOff, ...]:
    async with opened_store(settings) as store:
        return await store.webhooks.switched_off()


async def _allow(settings: Settings, url: str) -> None:
    async with opened_store(settings) as store:
        await store.webhooks.allow(url)
