"""`appliance audit`: the audit log and the usage journal, exported and verified; an export needs no database for that."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.configuration import read_settings
from appliance.cli.keys import opened_store
from appliance.cli.terminal import say
from appliance.errors import InvalidField
from appliance.store import ChainName, Head, Journal, Store, verify

app = typer.Typer(no_args_is_help=True, help="What was done here, by whom and when; without any text.")

Which = Annotated[ChainName, typer.Option("--chain", help="The audit log, or the journal of usage.")]


@app.command(
    help="Print the newest entry's number and hash. Kept elsewhere, it shows later that nothing up to it was changed or cut off."
)
def head(chain: Which = ChainName.AUDIT) -> None:
    print(asyncio.run(_head(chain)))


@app.command(help="Write all entries to stdout, as JSON lines.")
def export(
    chain: Which = ChainName.AUDIT,
    after: Annotated[int, typer.Option(help="Only entries after this number.", min=0)] = 0,
) -> None:
    asyncio.run(_export(chain, after))


@app.command(
    "verify", help="Check that no entry was changed, removed or put in: of an exported FILE, or without one of the database."
)
def verify_chain(
    file: Annotated[Path | None, typer.Argument(help="An export; '-' for stdin.")] = None,
    heads: Annotated[
        list[str] | None, typer.Option("--head", help="What 'audit head' printed earlier; several times for several.")
    ] = None,
    chain: Which = ChainName.AUDIT,
) -> None:
    known = [Head.parse(text, chain) for text in heads or ()]
    if foreign := [head for head in known if head.chain != chain]:
        raise InvalidField("head", f"is of the chain '{foreign[0].chain}'", f"Give --chain {foreign[0].chain}.")
    with_database = file is None
    found = verify(asyncio.run(_lines(chain)) if with_database else _read(file), chain, known)
    say(f"{found.head.sequence - max(found.first, 1) + 1} entries follow from one another, the last is:")
    print(found.head)
    if not known:
        say("Whether entries are missing at the end can only be told with --head and a head that was noted earlier.")


async def _head(chain: ChainName) -> Head:
    async with opened_store(read_settings()) as store:
        return await _journal(store, chain).head()


async def _export(chain: ChainName, after: int) -> None:
    async with opened_store(read_settings()) as store:
        await store.audit.record(f"{chain}.exported", "console", after=after)
        async for part in _journal(store, chain).lines(after):
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()


async def _lines(chain: ChainName) -> list[bytes]:
    async with opened_store(read_settings()) as store:
        parts = [part async for part in _journal(store, chain).lines()]
    return b"".join(parts).splitlines(keepends=True)


def _journal(store: Store, chain: ChainName) -> Journal:
    return store.usage if chain is ChainName.USAGE else store.audit


def _read(file: Path | None) -> Iterator[bytes]:
    if file is None or str(file) == "-":
        yield from sys.stdin.buffer
        return
    try:
        with file.open("rb") as lines:
            yield from lines
    except OSError as error:
        raise InvalidField("file", f"cannot be read: {error.strerror}") from error
