"""A real OpenID Connect provider (`oidc-provider-mock`) in a process of its own, over HTTP or HTTPS.

It keeps to the rules until a test tells it which one to break. PKCE, which it leaves out, is checked in `provider_process`.
"""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx


@dataclass(frozen=True)
class Provider:
    issuer: str
    folder: Path
    process: subprocess.Popen[bytes]

    def bend(self, **how: Any) -> None:
        """What it does wrong from now on; nothing: it keeps to the rules again."""
        httpx.post(f"{self.issuer}/bend", json=how, verify=self.trust, timeout=20).raise_for_status()

    def rotate_keys(self) -> None:
        httpx.post(f"{self.issuer}/rotate", verify=self.trust, timeout=20).raise_for_status()

    def requests(self) -> list[str]:
        """The paths it was asked for."""
        found: list[str] = httpx.get(f"{self.issuer}/requests", verify=self.trust, timeout=20).json()
        return found

    def agree(self, url: str, person: str = "ayse", action: str = "authorize") -> dict[str, str]:
        """What a person does there; returns the query of the callback the browser is sent to."""
        answer = httpx.post(url, data={"sub": person, "action": action}, verify=self.trust, timeout=20)
        assert answer.status_code in (302, 303), answer.text
        return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}

    @property
    def trust(self) -> Any:
        return ssl.create_default_context(cafile=self.folder / "ca.pem") if self.issuer.startswith("https") else True


@contextmanager
def provider(folder: Path) -> Iterator[Provider]:
    with (folder / "provider.log").open("wb") as sink:
        command = [sys.executable, "-W", "ignore", "-m", "tests.identity.provider_process", str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink)
    assert process.stdout is not None
    try:
        issuer = process.stdout.readline().decode().strip()
        assert issuer, (folder / "provider.log").read_text()
        yield Provider(issuer, folder, process)
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
