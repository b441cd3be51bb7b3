from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.catalogue import Catalogue, Model, Shelf
from tests.catalogue.stand_ins import FILES, WHEELS, Recorder, StandIn, a_model, serve


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch: pytest.MonkeyPatch, authorities: Path) -> None:
    """A machine that knows one public authority (reading all real ones takes 0.1 s each time), and no mirror or account."""
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities / "public.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(authorities / "none"))


@pytest.fixture
def model() -> Model:
    return a_model()


@pytest.fixture
def shelf(tmp_path: Path, model: Model) -> Shelf:
    return Shelf(Catalogue({model.id: model}), tmp_path / "models")


@pytest.fixture
def progress() -> Recorder:
    return Recorder()


@pytest.fixture
def server() -> Iterator[StandIn]:
    """A hub and a registry that both have the model."""
    with serve(stocked()) as running:
        yield running


def stocked() -> StandIn:
    stand_in = StandIn()
    stand_in.put_on_hub("site/tiny", FILES)
    for name, content in WHEELS.items():
        stand_in.put_in_registry(name, content)
    return stand_in


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The model's files in a folder, as on a memory stick."""
    stick = tmp_path / "stick"
    stick.mkdir()
    for name, content in FILES.items():
        (stick / name).write_bytes(content)
    return stick


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `public.pem`, the only authority the machine knows, and `own.pem`, that of an organisation (both with keys)."""
    where = tmp_path_factory.mktemp("authorities")
    for name in ("public", "own"):
        _certify(where / f"{name}.pem", "keyUsage=critical,keyCertSign,cRLSign")
    return where


@pytest.fixture(scope="session")
def authority(authorities: Path) -> tuple[Path, Path]:
    """(the organisation's own authority, a certificate of this machine signed by it, with its key), both PEM."""
    ca, leaf = authorities / "own.pem", authorities / "server.pem"
    names = ("subjectAltName=DNS:localhost,IP:127.0.0.1", "basicConstraints=critical,CA:FALSE")
    _certify(leaf, *names, signer=ca)
    return ca, leaf


def _certify(target: Path, *extensions: str, signer: Path | None = None) -> None:
    """Write a new certificate with its key, signed by itself or by another that was written so."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={target.stem}", "-keyout", f"{target}.key", "-out", str(target)]
    for extension in extensions:
        command += ["-addext", extension]
    if signer:
        command += ["-CA", str(signer), "-CAkey", str(signer)]
    subprocess.run(command, check=True, capture_output=True)
    target.write_bytes(target.read_bytes() + Path(f"{target}.key").read_bytes())
