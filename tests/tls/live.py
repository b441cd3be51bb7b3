"""The appliance as `appliance serve` runs it, in a thread: its real sockets, TLS and routes; no model is installed in it."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography import x509

from appliance.cli.serve import AnnouncingServer, listening_socket, plain_socket
from appliance.settings import Settings
from appliance.tls import Door, open_door

DEADLINE_S = 30.0


@dataclass(frozen=True)
class Live:
    port: int
    http_port: int
    door: Door
    settings: Settings

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def client(self, ca: Path | None = None, url: str | None = None) -> httpx.Client:
        """Trusts `ca` alone; without it, the built-in authority."""
        trust = ssl.create_default_context(cafile=ca or self.settings.own_authority_path)
        return httpx.Client(base_url=url or self.url, verify=trust, trust_env=False, timeout=10)

    def shown_serial(self) -> int:
        """Of the certificate that a new connection sees now."""
        pem = ssl.get_server_certificate(("127.0.0.1", self.port))
        return x509.load_pem_x509_certificate(pem.encode()).serial_number


@contextmanager
def live(settings: Settings) -> Iterator[Live]:
    door = open_door(settings)
    with listening_socket("127.0.0.1", 0) as listener, plain_socket(settings) as plain:
        server = AnnouncingServer(settings, listener, door, plain)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive())
            assert server.started, "it did not start"
            yield Live(listener.getsockname()[1], settings.http_port, door, settings)
        finally:
            server.should_exit = True
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


def wait_until(condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)
