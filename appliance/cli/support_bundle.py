"""`appliance support-bundle`: what a vendor needs to help, in one file that can be read before it is sent.

No text, no audio, no names of files, people or keys: rows are counted, settings are shown only where they are known to be harmless.
"""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from appliance import __version__
from appliance.catalogue import Catalogue, Shelf
from appliance.cli.checks import available_memory_bytes
from appliance.cli.configuration import read_settings
from appliance.cli.doctor import nothing_logged
from appliance.cli.findings import Finding
from appliance.cli.gpu_checks import in_container
from appliance.cli.site_checks import FOR_SUPPORT
from appliance.cli.terminal import say
from appliance.domain import Value
from appliance.settings import Settings
from appliance.store.figures import DatabaseFigures, read_figures

app = typer.Typer()

LIBRARIES = ("av", "ctranslate2", "faster-whisper", "litestar", "onnxruntime", "pyannote.audio", "pysqlite3", "torch", "uvicorn")
# Text that says nothing about the site. Numbers and switches are always shown; a new text setting is hidden until it stands here.
HARMLESS = frozenset({"data_dir", "models_dir", "default_model", "diarization_model", "device", "compute_type", "tls", "log_level"})
ENVIRONMENT = (
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "CUDA_CACHE_PATH",
    "HF_HUB_OFFLINE",
    "PYANNOTE_METRICS_ENABLED",
)


class SupportBundle(Value, frozen=True):
    made_at: datetime
    appliance: str
    python: str
    kernel: str
    in_container: bool
    processors: int
    memory_available_bytes: int
    libraries: dict[str, str]
    environment: dict[str, str]
    settings: dict[str, str]
    findings: tuple[Finding, ...]
    models: dict[str, str]  # id → state
    database: DatabaseFigures | None
    data_files: dict[str, int]  # names that the appliance gave → bytes


@app.command("support-bundle", help="Write what support needs to know, without text or audio, to a file you can read first.")
def support_bundle(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write it; without: standard output.")] = None,
) -> None:
    content = msgspec.json.format(msgspec.json.encode(gather(read_settings())), indent=2) + b"\n"
    if output is None:
        print(content.decode(), end="")
        return
    output.write_bytes(content)
    say(f"Written to {output}: no text, no audio, no names. Read it before you send it.")


def gather(settings: Settings) -> SupportBundle:
    with nothing_logged():
        findings = tuple(finding for check in FOR_SUPPORT for finding in check(settings))
    shelf = Shelf(Catalogue.load(settings.catalogue_dir), settings.models_dir)
    return SupportBundle(
        made_at=datetime.now(UTC),
        appliance=__version__,
        python=platform.python_version(),
        kernel=platform.release(),
        in_container=in_container(),
        processors=len(os.sched_getaffinity(0)),
        memory_available_bytes=available_memory_bytes(),
        libraries={name: version(name) for name in LIBRARIES},
        environment={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        settings={name: shown(name, getattr(settings, name)) for name in Settings.model_fields},
        findings=findings,
        models={model.id: shelf.state(model.id).value for model in shelf.installed()},
        database=read_figures(settings.database_path),
        data_files=sizes(settings.data_dir),
    )


def shown(name: str, value: object) -> str:
    """A setting as support may see it; what could name a person, a server or a secret is only said to be set."""
    if value is None or value in ("", (), {}):
        return "not set"
    if isinstance(value, bool | int | float) or name in HARMLESS:
        return str(value)
    return "set, not shown"


def sizes(folder: Path) -> dict[str, int]:
    """Of the files right in the data folder, and of each folder in it as a whole."""
    if not folder.is_dir():
        return {}
    return {path.name: _bytes_in(path) for path in sorted(folder.iterdir())}


def _bytes_in(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())
