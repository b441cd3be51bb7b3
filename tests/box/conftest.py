"""A bundle made by airgap_bundle.sh itself, once; each test breaks a copy of it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from appliance import __version__

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGE = f"appliance:{__version__}"
OLD_IMAGE = "appliance:0.0.9"
LAYERS = {"a" * 64: b"base " * 2000, "b" * 64: b"packages " * 2000, "c" * 64: b"code"}
NEEDED = ("zstd", "ssh-keygen", "sha256sum", "numfmt", "split")

for program in NEEDED:
    if shutil.which(program) is None:
        pytest.skip(f"'{program}' is not installed here", allow_module_level=True)


@dataclass
class Engine:
    """The stand-in's memory, and the environment in which `docker` means it."""

    folder: Path
    path: str
    home: Path
    more: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": self.path, "ENGINE": str(self.folder), "HOME": str(self.home), **self.more}

    @property
    def calls(self) -> str:
        file = self.folder / "calls"
        return file.read_text() if file.exists() else ""

    def fail_once(self, call: str) -> None:
        (self.folder / f"fail-{call}").touch()

    def answer(self, name: str, script: str) -> None:
        """A program of this name that stands in for the machine's own."""
        put_script(Path(self.path.partition(":")[0]) / name, script)

    def inside(self, script: str) -> None:
        """What the appliance does in the container, instead of what `inside.sh` does."""
        put_script(self.folder / "inside", script)

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, command)),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )


@dataclass
class Bundle:
    folder: Path
    fingerprint: str

    def file(self, name: str) -> Path:
        return next(self.folder.glob(f"{name}*"))


def put_script(file: Path, script: str) -> None:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def make_engine(folder: Path) -> Engine:
    """An engine that has both images; the older one lacks the last layer."""
    programs = folder / "programs"
    programs.mkdir(parents=True)
    (programs / "docker").symlink_to(Path(__file__).parent / "engine.sh")
    engine = folder / "engine"
    engine.mkdir()
    (engine / "archive.tar").write_bytes(archive())
    names = [f"sha256:{name}\n" for name in LAYERS]
    (engine / "new.layers").write_text("".join(names))
    for image, layers in ((IMAGE, names), (OLD_IMAGE, names[:-1])):
        (engine / image).touch()
        (engine / f"{image}.layers").write_text("".join(layers))
    return Engine(engine, f"{programs}:{os.environ['PATH']}", folder)


def archive() -> bytes:
    """What `docker save` writes, as far as its layout goes."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name, content in {
            **{f"blobs/sha256/{name}": content for name, content in LAYERS.items()},
            "manifest.json": b"[]",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return sink.getvalue()


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return make_engine(tmp_path / "machine")


def make_bundle(engine: Engine, to: Path, *options: str) -> subprocess.CompletedProcess[str]:
    weights = engine.home / "weights" / "whisper-base"
    weights.mkdir(parents=True, exist_ok=True)
    (weights / "model.bin").write_bytes(b"weights " * 4000)
    return engine.run(
        ROOT / "scripts/airgap_bundle.sh",
        "--no-build",
        "--models",
        weights.parent,
        "--key",
        engine.home / "key",
        "--to",
        to,
        *options,
    )


def fingerprint_of(engine: Engine) -> str:
    return engine.run("ssh-keygen", "-lf", engine.home / "key.pub").stdout.split()[1]


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    engine = make_engine(tmp_path_factory.mktemp("vendor") / "machine")
    to = engine.home / "bundle"
    made = make_bundle(engine, to, "--split", "20000")
    assert made.returncode == 0, made.stderr
    return Bundle(to, fingerprint_of(engine))


@pytest.fixture
def bundle(original: Bundle, tmp_path: Path) -> Bundle:
    return Bundle(Path(shutil.copytree(original.folder, tmp_path / "stick")), original.fingerprint)


@dataclass
class Server:
    """Where the bundle is installed: an engine without images, and a folder."""

    engine: Engine
    to: Path

    def install(self, bundle: Bundle, *options: str) -> subprocess.CompletedProcess[str]:
        return self.engine.run(bundle.folder / "install.sh", "--to", self.to, "--profile", "cpu", *options)

    def trusting(self, bundle: Bundle, *options: str) -> subprocess.CompletedProcess[str]:
        return self.install(bundle, "--fingerprint", bundle.fingerprint, *options)


@pytest.fixture
def server(engine: Engine, tmp_path: Path) -> Server:
    for image in (IMAGE, OLD_IMAGE):
        (engine.folder / image).unlink()
    return Server(engine, tmp_path / "opt")
