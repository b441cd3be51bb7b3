"""A served application on a loopback port: real store, queue, decoder, memory and HTTP; only the engine is a stand-in."""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
import threading
import time
import wave
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import uvicorn
from argon2 import PasswordHasher
from litestar import Litestar, get
from litestar.datastructures import State

from appliance.api.access_log import AccessLog
from appliance.api.auth import PUBLIC, require_access
from appliance.api.errors import HANDLERS
from appliance.api.headers import add_security_headers
from appliance.api.metrics_registry import Metrics
from appliance.api.openapi import openapi_config
from appliance.api.routes import routes
from appliance.api.services import Services
from appliance.audio.memory import MemoryBudget
from appliance.catalogue import Catalogue, Shelf
from appliance.catalogue.manifest import describe_file, write_manifest
from appliance.jobs import Jobs
from appliance.licensing import Licensing
from appliance.settings import Settings
from appliance.store import KeyRecord, Scope, Store
from appliance.updates.incoming import Incoming
from appliance.web import routes as web_routes
from tests.api.standins import HOLD, TwoSentences

ALL_SCOPES = (Scope.TRANSCRIBE, Scope.READ, Scope.WRITE)
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # spares each client of plain HTTP the reading of all public authorities
QUICK_HASHER = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)  # argon2 itself is tested in tests/store


T = TypeVar("T")
OpenLicensing = Callable[[Store, Settings], Awaitable[Licensing]]


@dataclass
class Api:
    """The running application, and the ways in that tests need beside HTTP."""

    url: str
    services: Services
    pool: TwoSentences
    app: Litestar
    loop: asyncio.AbstractEventLoop
    key: KeyRecord
    secret: str

    def client(self, secret: str | None = None) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {secret or self.secret}"}, timeout=30, verify=NO_TLS
        )

    def new_key(self, *scopes: Scope) -> tuple[KeyRecord, str]:
        return self.run(self.services.store.keys.create("test", scopes or ALL_SCOPES))

    @contextmanager
    def left_waiting(self, path: str, wav: bytes, **headers: str) -> Iterator[None]:
        """Sends a recording that is held in the engine; the client hangs up when the block ends."""
        request = httpx.Request("POST", self.url + path, data={"prompt": HOLD}, files={"file": ("a.wav", wav)})
        fields = {**request.headers, **headers, "Authorization": f"Bearer {self.secret}"}
        head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
        with socket.create_connection((request.url.host, request.url.port or 80), timeout=10) as connection:
            connection.sendall(head.encode() + request.read())
            assert self.pool.holding.acquire(timeout=10)
            yield

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """On the application's own event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)


def settings_for(folder: Path, **changes: Any) -> Settings:
    return Settings(data_dir=folder / "data", models_dir=folder / "models", memory_budget_bytes=64 * 2**20, **changes)


def install_models(settings: Settings, *model_ids: str) -> Shelf:
    """Puts small stand-in files on a real shelf: nothing here loads them."""
    for model_id in model_ids:
        folder = settings.models_dir / model_id
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        write_manifest(folder, model_id, ("a test",), (describe_file(folder / "config.json", "config.json"),))
    return Shelf(Catalogue.load(settings.catalogue_dir), settings.models_dir)


@get("/broken", opt=PUBLIC, include_in_schema=False)
async def broken() -> None:
    raise ZeroDivisionError("the colour of the secret is blue")


@get("/forgotten", include_in_schema=False)
async def forgotten() -> str:
    return "a route whose author did not say who may call it"


def create_app(services: Services) -> Litestar:
    return Litestar(
        route_handlers=[*routes(), *web_routes(), broken, forgotten],
        guards=[require_access],
        exception_handlers=HANDLERS,  # type: ignore[arg-type]
        before_send=[add_security_headers],
        openapi_config=openapi_config(),
        request_max_body_size=256 * 2**10,
        state=State({"services": services}),
        logging_config=None,
    )


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Polls what no event announces; bounded, and ends as soon as it is so."""
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


class AnnouncedServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


class Server(threading.Thread):
    """An event loop of its own, so that tests can use blocking clients."""

    def __init__(self, settings: Settings, shelf: Shelf, open_licensing: OpenLicensing) -> None:
        super().__init__(name="api under test", daemon=True)
        self.up = threading.Event()
        self.api: Api | None = None
        self._settings = settings
        self._shelf = shelf
        self._open_licensing = open_licensing
        self._server: uvicorn.Server | None = None

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._settings.data_dir.mkdir(parents=True, exist_ok=True)
        store = await Store.open(self._settings.database_path)
        store.passwords._hasher = QUICK_HASHER
        pool, budget = TwoSentences(), MemoryBudget(self._settings.memory_budget_bytes)
        licensing = await self._open_licensing(store, self._settings)
        jobs = Jobs(self._settings, store, pool, self._shelf, budget, permit=licensing)
        jobs.on_ended(licensing.note_job_ended)
        await jobs.start()
        try:
            services = Services(
                self._settings, jobs, store, self._shelf, budget, pool, Metrics(), licensing, Incoming(self._settings, store.audit)
            )
            await self._listen(services, pool)
        finally:
            await jobs.stop()
            await store.close()
            self.up.set()  # also when it failed

    async def _listen(self, services: Services, pool: TwoSentences) -> None:
        app = create_app(services)
        key, secret = await services.store.keys.create("test", ALL_SCOPES)
        config = uvicorn.Config(
            AccessLog(app, services.metrics.observe),
            port=0,
            lifespan="off",
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=1,
        )
        self._server = AnnouncedServer(config)
        serving = asyncio.ensure_future(self._server.serve())
        await self._server.listening.wait()
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.api = Api(f"http://127.0.0.1:{port}", services, pool, app, asyncio.get_running_loop(), key, secret)
        self.up.set()
        await serving

    def stop(self) -> None:
        if self._server:
            self._server.should_exit = True
        self.join(30)


def evaluation(store: Store, settings: Settings) -> Awaitable[Licensing]:
    """A new installation without a licence: everything is on."""
    return Licensing.open(store, settings.data_dir, gpus=())


def start(settings: Settings, *models: str, open_licensing: OpenLicensing = evaluation) -> tuple[Server, Api]:
    server = Server(settings, install_models(settings, *models), open_licensing)
    server.start()
    assert server.up.wait(30), "the application did not start"
    assert server.api is not None
    return server, server.api


@pytest.fixture(scope="session")
def shared_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    settings = settings_for(tmp_path_factory.mktemp("api"))
    server, api = start(settings, "whisper-base", "whisper-tiny.en", "speaker-diarization")
    yield api
    server.stop()


@pytest.fixture
def api(shared_api: Api) -> Iterator[Api]:
    """The shared application, seen with a fresh key: one test never meets another's transcripts."""
    shared_api.pool.forget()
    key, secret = shared_api.new_key()
    yield replace(shared_api, key=key, secret=secret)
    shared_api.pool.release()
    assert until(lambda: shared_api.services.budget.used_bytes == 0), "memory of a recording was not given back"


@pytest.fixture
def client(api: Api) -> Iterator[httpx.Client]:
    with api.client() as client:
        yield client


def tone(seconds: float = 2.0) -> bytes:
    """A WAV of silence with a little movement; what is in it does not matter here."""
    sink = io.BytesIO()
    with wave.open(sink, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(b"\x00\x01\x00\xff" * int(seconds * 8_000))
    return sink.getvalue()


@pytest.fixture(scope="session")
def wav() -> bytes:
    return tone()
