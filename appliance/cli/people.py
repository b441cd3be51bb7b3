"""`appliance people`: who may sign in, in the database itself; the appliance may be running. Works when nobody can sign in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import msgspec
import typer

from appliance.cli.configuration import page_address, read_settings
from appliance.cli.keys import opened_store, print_rows, shown_day
from appliance.cli.terminal import say
from appliance.store import Link, Person, PersonEdit, PersonRole, PersonState, Store

app = typer.Typer(no_args_is_help=True, help="Who may sign in.")

T = TypeVar("T")
CONSOLE = "console"  # the actor in the audit log
Email = Annotated[str, typer.Argument(help="The e-mail address they sign in with, or their id.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("list", help="List everybody, the invited and the disabled too.")
def list_people(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    people = with_store(lambda store: store.people.list())
    if as_json:
        print(msgspec.json.encode(people).decode())
    elif people:
        print_rows([("NAME", "E-MAIL", "ROLE", "STATE", "SIGNED IN", "ID"), *map(_row, people)])
    else:
        say("There is nobody yet. Make the first administrator with 'appliance people setup-link'.")


@app.command("setup-link", help="Print a link that makes an administrator, once and within a day. An earlier one ends.")
def setup_link() -> None:
    print_link(with_store(lambda store: store.people.offer_setup(CONSOLE)))


@app.command(help="Print a link with which somebody joins, once and within a week. No mail is sent.")
def invite(
    email: Annotated[str, typer.Argument(help="Their e-mail address: the name they sign in with.")],
    name: Annotated[str, typer.Option(help="Their name.")] = "",
    admin: Annotated[bool, typer.Option("--admin", help="As an administrator.")] = False,
) -> None:
    role = PersonRole.ADMIN if admin else PersonRole.MEMBER
    offer = with_store(lambda store: store.people.invite(email, name or email.partition("@")[0], role, CONSOLE))
    print_link(offer.link)


@app.command(help="Keep somebody out: their sessions and keys are dead at once, what they own stays.")
def disable(email: Email) -> None:
    _change(email, PersonEdit(state=PersonState.DISABLED))
    say("Disabled.")


@app.command(help="Let somebody in again.")
def enable(email: Email) -> None:
    _change(email, PersonEdit(state=PersonState.ACTIVE))
    say("Enabled.")


@app.command(help="Make somebody an administrator, or a member again.")
def role(email: Email, role: Annotated[PersonRole, typer.Argument(help="admin or member.")]) -> None:
    _change(email, PersonEdit(role=role))
    say(f"Now {role}. They sign in again.")


@app.command("reset-password", help="Print a link for a new password, once and within a day. The old one works until then.")
def reset_password(email: Email) -> None:
    async def work(store: Store) -> Link:
        return (await store.people.offer_reset((await find(store, email)).id, CONSOLE)).link

    print_link(with_store(work))


@app.command("remove-second-factor", help="For somebody whose authenticator is lost. Their sessions end.")
def remove_second_factor(email: Email) -> None:
    async def work(store: Store) -> None:
        await store.second_factors.remove((await find(store, email)).id, CONSOLE)

    with_store(work)
    say("Removed. They sign in with the password alone, and can add another.")


@app.command(help="Erase somebody's account and all their own transcripts, for good.")
def erase(email: Email, yes: Yes = False) -> None:
    if not yes:
        typer.confirm(f"Erase {email} with everything that is theirs alone? It cannot be brought back", abort=True)

    async def work(store: Store) -> bool:
        return await store.people.erase((await find(store, email)).id, CONSOLE)

    say("Erased." if with_store(work) else "Out of sight; erased as soon as a reader of the database lets go.")


async def find(store: Store, email_or_id: str) -> Person:
    """Raises `NotFound`."""
    get = store.people.get if email_or_id.startswith("person_") else store.people.find
    return await get(email_or_id)


def with_store(work: Callable[[Store], Awaitable[T]]) -> T:
    async def opened() -> T:
        async with opened_store(read_settings()) as store:
            return await work(store)

    return asyncio.run(opened())


def print_link(link: Link) -> None:
    """The link alone on stdout; who it is handed to is the operator's to choose."""
    say(f"Works once, until {link.expires_at:%Y-%m-%d %H:%M} UTC. Whoever has it can use it.")
    print(f"{page_address(read_settings())}/#{link.purpose}/{link.token}", flush=True)


def _change(email: str, edit: PersonEdit) -> None:
    async def work(store: Store) -> None:
        await store.people.change((await find(store, email)).id, edit, CONSOLE)

    with_store(work)


def _row(person: Person) -> tuple[str, ...]:
    return (person.name, person.email, person.role, person.state, shown_day(person.last_sign_in_at), person.id)
