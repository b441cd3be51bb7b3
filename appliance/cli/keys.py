"""`appliance keys`: makes, lists and revokes the keys of the API, in the database itself; the appliance may be running."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
import typer

from appliance.cli.configuration import page_address, read_settings
from appliance.cli.terminal import say
from appliance.errors import InvalidField
from appliance.settings import Settings
from appliance.store import KeyRecord, Scope, Store

app = typer.Typer(no_args_is_help=True, help="Who may call the API.")

EVERYDAY = [Scope.TRANSCRIBE, Scope.READ, Scope.WRITE]
UNITS_H = {"h": 1, "d": 24, "w": 24 * 7}


@app.command(help="Make a key. It is written to stdout, once; nobody can show it again.")
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is, or what for.")],
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it may do; give it several times. Without: transcribe, read and write.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends by itself: 12h, 90d, 26w, or a date like 2027-01-31.")] = None,
    person: Annotated[
        str | None,
        typer.Option(help="E-mail address of whom it acts as; it never may more than they. Without: nobody's."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the key.")] = False,
) -> None:
    settings = read_settings()
    ends_at = expiry(expires, datetime.now(UTC)) if expires else None
    record, secret = asyncio.run(_create(settings, name, scope or EVERYDAY, ends_at, person))
    if not quiet:
        say(f"The key of '{record.name}' may {', '.join(sorted(record.scopes))}. Keep it now: it is shown only this once.")
    print(secret, flush=True)
    if not quiet:
        say(f"The page with it: {page_address(settings)}/#key={secret}")


@app.command("list", help="List all keys, revoked ones too. The keys themselves are not stored.")
def list_keys(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    records = asyncio.run(_list(read_settings()))
    if as_json:
        print(msgspec.json.encode(records).decode())
    elif records:
        print_table(records)
    else:
        say("There is no key yet. Make one with 'appliance keys create NAME'.")


@app.command(help="Take a key's rights away, at once and for good.")
def revoke(key: Annotated[str, typer.Argument(help="Its id, its first characters, or its name.")]) -> None:
    record = asyncio.run(_revoke(read_settings(), key))
    say(f"The key '{record.name}' ({record.prefix}…) is revoked.")


def expiry(text: str, now: datetime) -> datetime:
    """ "90d" from now, or the end of a day; always in the future. Raises InvalidField."""
    try:
        ends_at = _moment(text, now)
    except (ValueError, OverflowError):  # a date that is none, or beyond the calendar
        raise InvalidField("expires", f"cannot be '{text}'", "Write 12h, 90d, 26w, or a date like 2027-01-31.") from None
    if ends_at <= now:
        raise InvalidField("expires", f"cannot be '{text}': such a key would have expired already", "Name a time to come.")
    return ends_at


def _moment(text: str, now: datetime) -> datetime:
    if term := re.fullmatch("([0-9]{1,9})([hdw])", text):
        return now + timedelta(hours=int(term[1]) * UNITS_H[term[2]])
    return datetime.fromisoformat(text).replace(hour=23, minute=59, second=59, tzinfo=UTC)


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[Store]:
    store = await Store.open(settings.database_path)
    try:
        yield store
    finally:
        await store.close()


async def _create(
    settings: Settings, name: str, scopes: list[Scope], ends_at: datetime | None, email: str | None
) -> tuple[KeyRecord, str]:
    async with opened_store(settings) as store:
        person = None if email is None else await store.people.find(email)
        if person is not None and not person.scopes.issuperset(scopes):
            raise InvalidField("scope", "is more than this person may", f"They may {', '.join(sorted(person.scopes))}.")
        record, secret = await store.keys.create(name, scopes, ends_at, None if person is None else person.id)
        await store.audit.record("key.created", "console", record.id, admin=Scope.ADMIN in record.scopes)
        return record, secret


async def _list(settings: Settings) -> tuple[KeyRecord, ...]:
    async with opened_store(settings) as store:
        return await store.keys.list()


async def _revoke(settings: Settings, key: str) -> KeyRecord:
    async with opened_store(settings) as store:
        record = await store.keys.revoke(identify(key, await store.keys.list()))
        await store.audit.record("key.revoked", "console", record.id)
        return record


def identify(key: str, records: tuple[KeyRecord, ...]) -> str:
    """A name becomes the id of the one valid key of that name; anything else is left to the store."""
    named = [record for record in records if record.name == key and record.revoked_at is None]
    if len(named) > 1:
        prefixes = ", ".join(record.prefix for record in named)
        raise InvalidField("key", f"'{key}' is the name of {len(named)} keys", f"Say which by its first characters: {prefixes}.")
    return named[0].id if named else key


def print_table(records: tuple[KeyRecord, ...]) -> None:
    print_rows([("KEY", "NAME", "MAY", "MADE", "LAST USED", "STATE"), *map(_row, records)])


def _row(record: KeyRecord) -> tuple[str, ...]:
    scopes, made, used = ",".join(sorted(record.scopes)), shown_day(record.created_at), shown_day(record.last_used_at)
    return f"{record.prefix}…", record.name, scopes, made, used, _state(record)


def print_rows(rows: list[tuple[str, ...]]) -> None:
    """The first is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def shown_day(moment: datetime | None) -> str:
    return moment.strftime("%Y-%m-%d") if moment else "never"


def _state(record: KeyRecord) -> str:
    if record.revoked_at:
        return f"revoked {shown_day(record.revoked_at)}"
    if record.expires_at is None:
        return "valid"
    return f"{'expired' if record.expires_at < datetime.now(UTC) else 'valid until'} {shown_day(record.expires_at)}"
