"""`appliance serve`: the API and the page on one port, until Ctrl-C or SIGTERM; running jobs may end first."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import typer
import uvicorn

from appliance.api.access_log import AccessLog
from appliance.app import create_app, stop_jobs
from appliance.audio.sandbox import forbid_dumps
from appliance.catalogue import Catalogue, Shelf
from appliance.cli.configuration import page_address, read_settings
from appliance.cli.keys import opened_store
from appliance.cli.preflight import preflight
from appliance.cli.slow_clients import InPieces, PromptProtocol, let_go_of_the_absent
from appliance.cli.terminal import YELLOW, painted, say
from appliance.errors import StartRefused
from appliance.settings import Settings
from appliance.store import SYSTEM
from appliance.tls import Door, Redirect, open_door

log = logging.getLogger(__name__)

app = typer.Typer()

CONNECTIONS_END_S = 5
REDIRECTS_AT_ONCE = 200


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
    door = open_door(settings)
    with listening_socket(settings.host, settings.port) as listener, plain_socket(settings) as plain:
        run_until_stopped(AnnouncingServer(settings, listener, door, plain), listener)


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
    """False for the traceback of an error of ours, whose sentence and hint stand above it in the log, and for browsers that do not
    say goodbye when the appliance closes their idle connections."""
    said = record.getMessage()
    return "appliance.errors." not in said and not said.startswith("Cancel 0 running task(s)")


def listening_socket(host: str, port: int, option: str = "--port") -> socket.socket:
    """Bound before anything heavy starts, so that a taken port is said at once. Raises StartRefused."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    let_go_of_the_absent(listener)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartRefused(
            f"The appliance cannot listen on {host}:{port}: {error.strerror}.",
            f"Another program may use this port (an appliance that runs already?); choose another with {option}.",
        ) from error
    return listener


def plain_socket(settings: Settings) -> AbstractContextManager[socket.socket | None]:
    """Of the port that only sends people on to HTTPS; None where there is none. Raises StartRefused."""
    if settings.tls == "off" or not settings.http_port:
        return nullcontext()
    return listening_socket(settings.host, settings.http_port, "APPLIANCE_HTTP_PORT")


class AnnouncingServer(uvicorn.Server):
    """Says where it is to be found, once it really is. With it live the port of plain HTTP and the care for the certificate."""

    def __init__(self, settings: Settings, listener: socket.socket, door: Door, plain: socket.socket | None = None) -> None:
        self._settings = settings
        self._door = door
        self._plain = plain
        port = settings.public_port or listener.getsockname()[1]
        self._address = page_address(settings, port)
        self._redirects = redirect_server(door, port)
        self._app = create_app(settings, door)
        super().__init__(server_config(self._app, door))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if not self.started:
            return
        if self._plain:
            await self._redirects.startup([self._plain])
        self._watch = asyncio.create_task(self._door.watch())
        for line in await announcement(self._settings, self._address, self._door):
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
            await self._close_doors()
            await super().shutdown(sockets)

    async def _close_doors(self) -> None:
        if self.started:
            self._watch.cancel()
            if self._plain:
                await self._redirects.shutdown([self._plain])


def server_config(app: AccessLog, door: Door) -> uvicorn.Config:
    context = door.context
    return uvicorn.Config(
        InPieces(app),
        loop="uvloop",
        http=PromptProtocol,
        ws="none",
        access_log=False,  # the appliance writes its own, without query strings and headers (TRAPS 3)
        log_config=None,
        server_header=False,
        date_header=True,
        ssl_context_factory=(lambda *_: context) if context else None,
        proxy_headers=context is None,  # behind TLS of its own, nobody else speaks for a client
        # The jobs have ended by then; whoever still holds a connection open does not hold the stop up for ever.
        timeout_graceful_shutdown=CONNECTIONS_END_S,
    )


def redirect_server(door: Door, public_port: int) -> uvicorn.Server:
    """It shares the event loop and the end of the main one, and has nothing of its own to start."""
    config = uvicorn.Config(
        Redirect(door, public_port),
        http=PromptProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=REDIRECTS_AT_ONCE,
        timeout_graceful_shutdown=1,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    return server


async def announcement(settings: Settings, address: str, door: Door) -> list[str]:
    models = await asyncio.to_thread(model_lines, settings)
    lines = [
        "",
        f"The appliance is at {address}",
        *models,
        *await setup_lines(settings, address),
        *trust_lines(settings, address, door),
    ]
    return [*lines, "Ctrl-C stops it.", ""]


def trust_lines(settings: Settings, address: str, door: Door) -> list[str]:
    """How a browser comes to trust what it sees, until somebody has said that it does."""
    if door.context is None and settings.host not in ("127.0.0.1", "localhost", "::1"):
        return [painted("Others on this network can reach it, and what they send is not encrypted on the way to it.", YELLOW)]
    if door.authority is None or door.trust_confirmed:
        return []
    return [
        f"Browsers warn until they trust its authority; {address}/trust says how. Its fingerprint (SHA-256):",
        f"  {door.authority.fingerprint}",
    ]


def model_lines(settings: Settings) -> list[str]:
    shelf = Shelf(Catalogue.load(settings.catalogue_dir), settings.models_dir)
    names = [f"{model.id} (default)" if model.id == settings.default_model else model.id for model in shelf.installed()]
    if not names:
        return [painted("No model is installed yet: run 'appliance models fetch'.", YELLOW)]
    return [f"Models: {', '.join(names)}"]


async def setup_lines(settings: Settings, address: str) -> list[str]:
    """Until there is an administrator, each start has a new link that makes one."""
    async with opened_store(settings) as store:
        if not await store.people.needs_setup():
            return []
        link = await store.people.offer_setup(SYSTEM)
    return [
        painted("There is no administrator yet. This link makes one, once and within a day:", YELLOW),
        f"  {address}/#{link.purpose}/{link.token}",
        "'appliance people setup-link' prints another. Programs need no person: 'appliance keys create NAME'.",
    ]
