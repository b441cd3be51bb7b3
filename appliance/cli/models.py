"""`appliance models`: list, fetch, verify and remove models; releases are in `releases.py`.

Only `fetch` uses the network, and only without `--from`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TransferSpeedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from appliance.catalogue import Catalogue, Model, Shelf, State
from appliance.catalogue.fetch import fetch, open_sources
from appliance.catalogue.sources import Progress
from appliance.cli import releases
from appliance.cli.configuration import read_settings
from appliance.errors import ModelDamaged, UnknownModel
from appliance.settings import Settings

app = typer.Typer(help="List, fetch, verify and remove models; import signed updates, and go back.", no_args_is_help=True)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

Names = Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help="Ids or short names, as 'models list' shows them.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """Show every model of the catalogue, and whether it is installed."""
    settings, shelf = _open()
    rows = [_describe(model, shelf, settings) for model in shelf.catalogue.models.values()]
    if as_json:
        out.print_json(json.dumps(rows))
    else:
        out.print(_table(rows))
        out.print(f"* default     installed below {shelf.models_dir}", soft_wrap=True)
        out.print("Install another with: appliance models fetch MODEL")


@app.command("fetch")
def fetch_models(  # noqa: PLR0917 - one per option
    names: Names = None,
    everything: Annotated[bool, typer.Option("--all", help="Every model of the catalogue.")] = False,
    optional: Annotated[bool, typer.Option("--optional", help="Also files a model works without.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="Take the files from this folder; use no network.")
    ] = None,
    mirror: Annotated[str | None, typer.Option(metavar="URL", help="A mirror of the Hugging Face hub.")] = None,
    ca_file: Annotated[Path | None, typer.Option("--ca", metavar="FILE", help="Certificates of your own authority (PEM).")] = None,
    as_json: AsJson = False,
) -> None:
    """Install or repair models; without a name, the default model and speaker diarization.

    Every file is checked against its SHA-256. A download that breaks off is continued by the next attempt.
    """
    settings, shelf = _open()
    names = names or [settings.default_model, settings.diarization_model]
    models = list(shelf.catalogue.models.values()) if everything else [_find(shelf, name) for name in names]
    done = []
    for model in models:
        sources = open_sources(
            model, folder=folder, mirror=mirror or settings.hub_endpoint or None, ca_file=ca_file or settings.ca_file
        )
        with _watched() as progress:
            changed = fetch(model, shelf, progress=progress, sources=sources, optional=optional)
        done.append({"id": model.id, "changed": changed, "path": str(shelf.folder(model.id))})
        if not as_json:
            _say_fetched(model, shelf, changed)
    if as_json:
        out.print_json(json.dumps(done))


@app.command("verify")
def verify_models(names: Names = None, as_json: AsJson = False) -> None:
    """Read installed models in full and compare every checksum; exits with 1 when one is damaged."""
    _settings, shelf = _open()
    models = [_find(shelf, name) for name in names] if names else list(shelf.installed())
    verdicts = [_verdict(model, shelf) for model in models]
    if as_json:
        out.print_json(json.dumps(verdicts))
    elif not verdicts:
        out.print("No model is installed. 'appliance models fetch' installs the default ones.")
    else:
        for verdict in verdicts:
            out.print(f"{verdict['id']}: {verdict['problem'] or 'sound'}", soft_wrap=True)
    if any(verdict["problem"] for verdict in verdicts):
        raise typer.Exit(1)


@app.command("remove")
def remove_models(
    names: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Ids or short names.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete installed models from this machine."""
    _settings, shelf = _open()
    models = [_find(shelf, name) for name in names]
    if not yes:
        typer.confirm(f"Delete {', '.join(model.id for model in models)}?", abort=True)
    for model in models:
        out.print(f"{model.id}: removed, {format_size(shelf.remove(model.id))} free again")


def format_size(n_bytes: int) -> str:
    """Decimal units, as download pages use them: '134 kB', '145 MB', '3.1 GB'."""
    if n_bytes >= 1e9:
        return f"{n_bytes / 1e9:.1f} GB"
    if n_bytes >= 1e6:
        return f"{n_bytes / 1e6:.0f} MB"
    return f"{n_bytes / 1e3:.0f} kB" if n_bytes >= 1e3 else f"{n_bytes} bytes"


def _open() -> tuple[Settings, Shelf]:
    settings = read_settings()
    return settings, Shelf(Catalogue.load(settings.catalogue_dir), settings.models_dir)


def _find(shelf: Shelf, name: str) -> Model:
    model = shelf.catalogue.find(name)
    if model is None:
        unknown = UnknownModel(name, tuple(shelf.catalogue.models))
        unknown.hint = "'appliance models list' shows them all."
        raise unknown
    return model


# --- list -------------------------------------------------------------------------------------------------------------


def _describe(model: Model, shelf: Shelf, settings: Settings) -> dict[str, Any]:
    default = model in (shelf.catalogue.find(settings.default_model), shelf.catalogue.find(settings.diarization_model))
    return {
        "id": model.id,
        "name": model.name,
        "description": model.description,
        "kind": model.kind,
        "state": shelf.state(model.id).value,
        "default": default,
        "aliases": model.aliases,
        "languages": model.languages,
        "translation": model.translation,
        "word_timestamps": model.word_timestamps,
        "licence": model.licence,
        "attribution": model.attribution,
        "download_bytes": model.download_bytes,
        "memory_bytes": model.memory_bytes,
        "path": str(shelf.folder(model.id)),
    }


_STATE_STYLES = {State.INSTALLED: "green", State.UNPROVEN: "green", State.ABSENT: "dim", State.DAMAGED: "bold red"}


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Model", no_wrap=True)
    table.add_column("State", no_wrap=True)
    table.add_column("Size", justify="right", no_wrap=True)
    table.add_column("Languages", no_wrap=True)
    table.add_column("Licence")
    for row in rows:
        state = f"[{_STATE_STYLES[State(row['state'])]}]{row['state']}[/]"
        name = row["id"] + (" *" if row["default"] else "")
        table.add_row(name, state, format_size(row["download_bytes"]), _languages(row["languages"]), row["licence"])
    return table


def _languages(codes: tuple[str, ...]) -> str:
    if not codes:
        return "any"
    return ", ".join(codes) if len(codes) <= 2 else str(len(codes))


# --- fetch and verify -------------------------------------------------------------------------------------------------


def _say_fetched(model: Model, shelf: Shelf, changed: bool) -> None:
    out.print(f"{model.id}: {'installed' if changed else 'already installed, and sound'}")
    manifest = shelf.manifest(model.id)
    have = {file.name for file in manifest.files} if manifest else set()
    lacking = [file.name for file in model.files if file.optional and file.name not in have]
    if lacking:
        out.print(
            f"  Without {', '.join(lacking)}, which it works without. To add them: "
            f"appliance models fetch {model.id} --optional (from the hub), or --from FOLDER.",
            soft_wrap=True,
        )


def _verdict(model: Model, shelf: Shelf) -> dict[str, str]:
    try:
        with _watched() as progress:
            manifest = shelf.manifest(model.id)
            progress.begin(f"checking {model.id}", sum(file.size_bytes for file in manifest.files) if manifest else None)
            shelf.verify(model.id, progress.advance)
    except ModelDamaged as damage:
        return {"id": model.id, "problem": f"{damage.message} {damage.hint}"}
    return {"id": model.id, "problem": ""}


@contextmanager
def _watched() -> Iterator[Progress]:
    """A bar per step on a terminal; one line per step elsewhere."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, console=err, transient=True) as bars:
        yield TerminalBar(bars)


class TerminalBar:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._step: TaskID | None = None

    def begin(self, what: str, total_bytes: int | None) -> None:
        if self._step is not None:
            self._bars.remove_task(self._step)
        self._step = self._bars.add_task(what, total=total_bytes)

    def advance(self, n_bytes: int) -> None:
        if self._step is not None:
            self._bars.advance(self._step, n_bytes)

    def note(self, text: str) -> None:
        self._bars.console.print(text, soft_wrap=True)


class Lines:
    """For logs: what is being done, without how far it is."""

    def begin(self, what: str, total_bytes: int | None) -> None:
        err.print(what + (f" ({format_size(total_bytes)})" if total_bytes else ""), soft_wrap=True)

    def advance(self, n_bytes: int) -> None: ...

    def note(self, text: str) -> None:
        err.print(text, soft_wrap=True)


releases.add_to(app, _watched)
