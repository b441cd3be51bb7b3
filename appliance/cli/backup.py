"""`appliance backup`: encrypted copies of the data folder, made while the appliance runs, checked, and restored."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from appliance.backup import Contents, create_backup, read_identities, read_recipients, restore_backup, verify_backup
from appliance.backup.keys import make_pair
from appliance.cli.configuration import read_settings
from appliance.cli.keys import opened_store
from appliance.cli.terminal import say, size_words
from appliance.errors import BackupRefused, InvalidField
from appliance.settings import Settings
from appliance.store import Tombstone, stored_tombstones

app = typer.Typer(no_args_is_help=True, help="Encrypted backups: make, check and restore them.")

Identity = Annotated[Path, typer.Option("--identity", "-i", help="The file with the secret key that 'backup keygen' wrote.")]


@app.command(help="Make a pair of keys for backups: the secret one goes to FILE, the public one to stdout.")
def keygen(file: Annotated[Path, typer.Argument(help="Where the secret key goes. Keep it away from this server.")]) -> None:
    public, lines = make_pair()
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidField("file", f"cannot be '{file}': {error.strerror}") from error
    with os.fdopen(fd, "w") as sink:
        sink.write(lines)
    say(f"The secret key is in {file}. Without it no backup can be restored; with it anybody can read them all.")
    say("The public key, for --recipient or the setting backup_recipients:")
    print(public)


@app.command(help="Write an encrypted copy of database and key files; the appliance may be running.")
def create(
    target: Annotated[Path, typer.Argument(help="The file to write, or a folder: then the name is made of the time.")],
    recipient: Annotated[
        list[str] | None,
        typer.Option(help="A public key 'age1…'; several times for several. Without: the setting backup_recipients."),
    ] = None,
) -> None:
    settings = read_settings()
    _existing(settings)
    recipients = read_recipients(recipient or settings.backup_recipients)
    file = _named(target, ".age")
    contents = create_backup(settings.database_path, file, recipients)
    asyncio.run(_record(settings, "backup.created", contents))
    say(f"{file}: {_described(contents)}, encrypted for {len(recipients)} {'key' if len(recipients) == 1 else 'keys'}.")
    print(file)


@app.command(help="Decrypt a backup in memory and check everything in it.")
def verify(file: Annotated[Path, typer.Argument(help="The backup.")], identity: Identity) -> None:
    contents = verify_backup(file, read_identities(identity))
    say(f"{file} is whole: {_described(contents)}, made at {contents.created_at:%Y-%m-%d %H:%M} UTC by {contents.appliance}.")


@app.command(
    help="Put a backup in the place of the data folder's content; what was erased since stays erased. Stop the appliance first."
)
def restore(
    file: Annotated[Path, typer.Argument(help="The backup.")],
    identity: Identity,
    force: Annotated[bool, typer.Option("--force", help="Replace the database that is there.")] = False,
    tombstones: Annotated[
        Path | None, typer.Option(help="What 'backup tombstones' wrote: for when the database that knew it is lost.")
    ] = None,
) -> None:
    settings = read_settings()
    stones = _read_tombstones(tombstones) if tombstones else ()
    contents, restored = restore_backup(file, settings.database_path, read_identities(identity), stones, force=force)
    say(f"Restored: {_described(contents)}, as of {contents.created_at:%Y-%m-%d %H:%M} UTC.")
    say(f"{restored.transcripts} transcripts are there; {restored.forgotten} had been erased since, and stay erased.")
    if not restored.journals_continued:
        say("The audit log ends where the backup ends: there was no later one here that continues it.")
    say("Everybody has to sign in again.")


@app.command(
    help="List what was erased, as JSON lines without any content: kept elsewhere, it lets a backup forget even after a loss."
)
def tombstones(
    target: Annotated[Path | None, typer.Argument(help="The file to write, or a folder. Without: stdout.")] = None,
) -> None:
    lines = b"".join(msgspec.json.encode(stone) + b"\n" for stone in stored_tombstones(_existing(read_settings())))
    if target is None:
        print(lines.decode(), end="")
        return
    file = _named(target, "-tombstones.jsonl")
    try:
        file.write_bytes(lines)
    except OSError as error:
        raise InvalidField("target", f"cannot be written: {error.strerror}") from error
    print(file)


def _named(target: Path, ending: str) -> Path:
    """In a folder: `appliance-20261122T020000Z.age`."""
    return target / f"appliance-{datetime.now(UTC):%Y%m%dT%H%M%SZ}{ending}" if target.is_dir() else target


def _existing(settings: Settings) -> Path:
    if not settings.database_path.exists():
        raise BackupRefused(f"There is no database in {settings.data_dir}.", "Check APPLIANCE_DATA_DIR.")
    return settings.database_path


def _read_tombstones(file: Path) -> list[Tombstone]:
    try:
        return [msgspec.json.decode(line, type=Tombstone) for line in file.read_bytes().splitlines()]
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidField("tombstones", f"cannot be read from '{file}' ({error})") from error


async def _record(settings: Settings, event: str, contents: Contents) -> None:
    async with opened_store(settings) as store:
        await store.audit.record(event, "console", bytes=contents.database_bytes, files=len(contents.files))


def _described(contents: Contents) -> str:
    return f"a database of {size_words(contents.database_bytes)} and {len(contents.files)} files"
