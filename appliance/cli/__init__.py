"""The command line: thin, and quick to answer because a command's module is imported only when that command runs.

Every `ApplianceError` that leaves a command becomes a sentence and a hint here; `--debug` shows where it came from.
"""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from appliance import __version__
from appliance.cli.terminal import complain
from appliance.errors import ApplianceError, InvalidRequest

# Name → what `appliance --help` says of it. `appliance.cli.<name>` exports the command as `app: typer.Typer`; it is imported
# on use, because engine, store and HTTP client together would make every `--help` wait for seconds.
COMMANDS = {
    "serve": "Run the appliance: the API and the web page on one port.",
    "transcribe": "Turn recordings into text, here or on a running appliance.",
    "models": "Which models exist, which are here, and whether they are sound.",
    "people": "Who may sign in: invite, disable, help; also when nobody can.",
    "keys": "Who may call the API.",
    "licence": "What the licence allows, until when, and a new one.",
    "trust": "The certificate of this appliance, and who vouches for it.",
    "webhooks": "Targets that answered 410 Gone: list them, and switch one on again.",
    "audit": "What was done here, by whom and when: export it, and check that nobody changed it.",
    "backup": "Encrypted backups: make, check and restore them.",
    "decrypt": "Open the envelope of a private transcript, with its password.",
    "doctor": "Check this machine: a plain verdict and a remedy for each point.",
    "support-bundle": "Write what support needs to know, without text or audio, to a file you can read first.",
    "bench": "Measure how fast this machine transcribes.",
    "settings": "Show every setting, its value here and what it means.",
}


class LazyCommands(TyperGroup):
    """Lists commands without importing them; imports the one that is called."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401
        stubs = {name: TyperCommand(name, help=summary) for name, summary in COMMANDS.items()}
        super().__init__(**{**attributes, "commands": stubs})

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:  # noqa: ANN401
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else command, rest


def load(name: str) -> Any:  # noqa: ANN401 (Typer keeps its own copy of Click private)
    module = importlib.import_module(f"appliance.cli.{name.replace('-', '_')}")
    module.app.rich_markup_mode = None
    command = typer.main.get_command(module.app)
    command.name = name
    return command


app = typer.Typer(
    cls=LazyCommands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help: importing what frames it takes three times as long as everything else
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"appliance {__version__}")
        raise typer.Exit


@app.callback(help="Who said what, when: speech to text on your own machine, without a recording ever leaving it.")
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    context.obj = {"debug": debug}


def main() -> None:
    """The console script. Exit status: 0 done, 1 failed, 2 asked wrongly, 130 stopped by Ctrl-C."""
    try:
        app()
    except ApplianceError as error:
        complain(error)
        if "--debug" in sys.argv:
            raise
        sys.exit(2 if isinstance(error, InvalidRequest) else 1)
