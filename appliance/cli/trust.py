"""`appliance trust`: the certificate of this appliance, the authority behind it, and how computers come to trust it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.configuration import read_settings
from appliance.cli.terminal import YELLOW, painted, say
from appliance.errors import InvalidRequest, NoAuthority, TlsIsOff
from appliance.settings import Settings
from appliance.tls import Authority, BuiltIn, Door, built_in, open_door

app = typer.Typer(no_args_is_help=True, help="The certificate of this appliance, and who vouches for it.")

SOON = "A running appliance sees it within ten seconds."


@app.command(help="What browsers see, and the fingerprint to compare.")
def show() -> None:
    settings = read_settings()
    door = opened(settings)
    for line in [*authority_lines(door), *certificate_lines(door)]:
        print(line)
    for line in advice(settings, door):
        say(line)


@app.command(help="The authority's certificate, for other computers to trust; its key stays here.")
def export(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write it; without it, stdout.")] = None,
    der: Annotated[bool, typer.Option("--der", help="Binary, as Windows and phones like it, instead of PEM.")] = False,
) -> None:
    authority = authority_of(opened(read_settings()))
    content = authority.der if der else authority.pem
    if out is None:
        sys.stdout.buffer.write(content)
        return
    try:
        out.write_bytes(content)
    except OSError as error:
        raise InvalidRequest(f"'{out}' cannot be written: {error.strerror}.", "Choose another place with --out.") from error
    say(f"Written: {out}")
    say(f"Fingerprint (SHA-256): {authority.fingerprint}")


@app.command(help="Say that people's computers trust it: browsers then insist on HTTPS for a year, not for five minutes.")
def confirm() -> None:
    door = opened(read_settings())
    door.confirm_trust()
    say(f"Confirmed. {SOON}")


@app.command(help="Make a new certificate now; with --authority a new authority as well.")
def renew(
    authority: Annotated[
        bool, typer.Option("--authority", help="A new authority, too: every computer must then trust that one.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    own, now = own_authority(read_settings()), datetime.now(UTC)
    if not authority:
        say(f"The new certificate is valid until {own.renew(now).not_after:%Y-%m-%d}. {SOON}")
        return
    if not yes:
        typer.confirm("Every computer that trusts the present authority must then trust the new one. Go on?", abort=True, err=True)
    say(f"The new authority's fingerprint (SHA-256): {own.renew_authority(now).fingerprint}")
    say(SOON)


@app.command(help="The names and addresses that the certificate is good for, and those it cannot be.")
def names() -> None:
    coverage = own_authority(read_settings()).coverage(datetime.now(UTC))
    for name in (*coverage.covered.dns, *coverage.covered.ips):
        print(name)
    for name in (*coverage.beyond.dns, *coverage.beyond.ips):
        print(f"{name}  (beyond the authority)")
    if coverage.beyond:
        say("The authority is older than the names beyond it; 'appliance trust renew --authority' makes one that knows them.")
    say("More names: APPLIANCE_TLS_NAMES.")


def opened(settings: Settings) -> Door:
    """Raises TlsIsOff."""
    if settings.tls == "off":
        raise TlsIsOff
    return open_door(settings)


def authority_of(door: Door) -> Authority:
    if door.authority is None:
        raise NoAuthority
    return door.authority


def own_authority(settings: Settings) -> BuiltIn:
    if settings.tls == "off":
        raise TlsIsOff
    if settings.tls != "builtin":
        raise NoAuthority
    return built_in(settings)


def authority_lines(door: Door) -> list[str]:
    if door.authority is None:
        return []
    return [
        f"Authority:    {door.authority.name}",
        f"Valid until:  {door.authority.not_after:%Y-%m-%d}",
        f"SHA-256:      {door.authority.fingerprint}",
        "",
    ]


def certificate_lines(door: Door) -> list[str]:
    shown = door.shown
    assert shown is not None
    return [
        f"Certificate:  for {', '.join(shown.names)}",
        f"Valid until:  {shown.not_after:%Y-%m-%d %H:%M} UTC",
        f"SHA-256:      {shown.fingerprint_sha256}",
    ]


def advice(settings: Settings, door: Door) -> list[str]:
    if door.trust_confirmed:
        return ["", "Confirmed: browsers are told to insist on HTTPS for a year."]
    port = settings.public_port or settings.port
    how = [f"Other computers learn to trust it at https://…:{port}/trust"] if door.authority else []
    return ["", *how, painted("When they all do, say so with 'appliance trust confirm'.", YELLOW)]
