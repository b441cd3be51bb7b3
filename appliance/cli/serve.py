"""`appliance serve`: the API and the page on one port, until Ctrl-C or SIGTERM; running jobs may end first."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from datetime import UTC, datetime
from typing import Annotated

import typer
import uvicorn

from appliance.api.access_log import AccessLog
from appliance.app import create_app, stop_jobs
from appliance.audio.sandbox import forbid_dumps
from appliance.catalogue import Catalogue, Shelf
from appliance.cli.configuration import read_settings
from appliance.cli.keys import opened_keys
from appliance.cli.preflight import preflight
from appliance.cli.terminal import YELLOW, painted, say
from appliance.errors import StartRefused
from appliance.settings import Settings

log = logging.getLogger(__name__)

app = typer.Typer()

CONNECTIONS_END_S = 5


@app.command(help="Run the appliance: the API and the web page on one port.")
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; 0.0.0.0 for the whole network.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:0,1.")] = None,
) -> None:
    forbid_dumps()  # uploads pass through this process, too (TRAPS 5)
    settings = read_settings(host=host, port=port, device=device)
    start_logging(settings)
    preflight(settings)
    with listening_socket(settings) as listener:
        run_until_stopped(AnnouncingServer(settings, listener), listener)


def run_until_stopped(server: AnnouncingServer, listener: socket.socket) -> None:
    """Ctrl-C and SIGTERM end it well; a start that fails has been explained in the log, and ends with status 1."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what uvicorn raises again once it has stopped
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        say("Stopped.")
    except SystemExit:
        raise typer.Exit(1) from None


def start_logging(settings: Settings) -> None:
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for client in ("httpx", "httpcore"):  # they would log the addresses of webhooks, which may hold tokens
        logging.getLogger(client).setLevel(max(logging.WARNING, level))
    if settings.log_level != "debug":
        web_server = logging.getLogger("uvicorn.error")
        web_server.setLevel(max(logging.WARNING, web_server.getEffectiveLevel()))
        web_server.addFilter(is_news)


def is_news(record: logging.LogRecord) -> bool:
    """False for the traceback of an error of ours: its sentence and its hint stand above it in the log."""
    return "appliance.errors." not in record.getMessage()


def listening_socket(settings: Settings) -> socket.socket:
    """Bound before anything heavy starts, so that a taken port is said at once. Raises StartRefused."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise StartRefused(
            f"The appliance cannot listen on {settings.host}:{settings.port}: {error.strerror}.",
            "Another program may use this port (an appliance that runs already?); choose another with --port.",
        ) from error
    return listener


class AnnouncingServer(uvicorn.Server):
    """Says where it is to be found, once it really is."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._address = f"http://{_shown_host(settings.host)}:{listener.getsockname()[1]}"
        self._app = create_app(settings)
        super().__init__(server_config(settings, self._app))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            for line in await announcement(self._settings, self._address):
                say(line)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Jobs end first, while their clients still get an answer and others a 503; a second Ctrl-C cuts that short."""
        ending = asyncio.create_task(stop_jobs(self._app))
        try:
            while not (ending.done() or self.force_exit):
                await asyncio.wait({ending}, timeout=0.1)
            if not ending.cancel():
                await ending
        finally:
            await super().shutdown(sockets)


def server_config(settings: Settings, app: AccessLog) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        ws="none",
        access_log=False,  # the appliance writes its own, without query strings and headers (TRAPS 3)
        log_config=None,
        server_header=False,
        date_header=True,
        # The jobs have ended by then; whoever still holds a connection open does not hold the stop up for ever.
        timeout_graceful_shutdown=CONNECTIONS_END_S,
    )


async def announcement(settings: Settings, address: str) -> list[str]:
    lines = ["", f"The appliance is at {address}", *await asyncio.to_thread(model_lines, settings), *await key_lines(settings)]
    if settings.host not in ("127.0.0.1", "localhost", "::1"):
        lines.append(painted("Others on this network can reach it, and what they send is not encrypted on the way.", YELLOW))
    return [*lines, "Ctrl-C stops it.", ""]


def model_lines(settings: Settings) -> list[str]:
    shelf = Shelf(Catalogue.load(settings.catalogue_dir), settings.models_dir)
    names = [f"{model.id} (default)" if model.id == settings.default_model else model.id for model in shelf.installed()]
    if not names:
        return [painted("No model is installed yet: run 'appliance models fetch'.", YELLOW)]
    return [f"Models: {', '.join(names)}"]


async def key_lines(settings: Settings) -> list[str]:
    async with opened_keys(settings) as keys:
        valid = [key for key in await keys.list() if key.is_valid(datetime.now(UTC))]
    if valid:
        return []
    return ["There is no valid API key yet, and nothing opens without one: run 'appliance keys create NAME'."]


def _shown_host(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 (only shown)
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
