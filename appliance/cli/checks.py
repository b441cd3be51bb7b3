"""What `appliance doctor` looks at: one function per point, each a plain verdict and, where something is wrong, a remedy.

Nothing native is loaded into this process: libraries and the sandbox are tried in a child, as the workers use them.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sqlite_utils.utils import sqlite3  # the one the store uses

from appliance.catalogue import Catalogue, Shelf
from appliance.cli.findings import Finding, Verdict
from appliance.cli.gpu_checks import judge_cuda_cache, judge_driver, judge_gpu, judge_left_out, judge_uvm, why_no_gpu
from appliance.cli.terminal import size_words
from appliance.engine.gpu import DeviceChoice, choose_device, survey
from appliance.errors import ApplianceError, StartRefused
from appliance.settings import Settings
from appliance.store.database import OLDEST_SQLITE, check_sqlite_version

CHILD_TIMEOUT_S = 120.0
SPARE_BYTES = 2**30  # for everything that is neither model nor recording
FEW_DISK_BYTES = 2**30
ENOUGH_FILES = 4096
# Limit and use of this container's memory, in cgroups of version 2 and of version 1.
CGROUP_MEMORY = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
UNLIMITED_V1_BYTES = 2**62  # version 1 writes a huge number where there is no limit


Check = Callable[[Settings], Iterator[Finding]]


def check_device(settings: Settings) -> Iterator[Finding]:
    try:
        choice = choose_device(settings.device)
    except StartRefused as error:
        says, remedy = why_no_gpu(os.environ) or ("", error.hint)
        yield Finding(point="device", verdict=Verdict.BLOCKS, says=f"{error.message} {says}".rstrip(), remedy=remedy)
        return
    remedy = "Update the driver, or set APPLIANCE_DEVICE=cpu to say that this is meant." if choice.fell_back else ""
    verdict = Verdict.WARNING if choice.fell_back else Verdict.FINE
    yield Finding(point="device", verdict=verdict, says=choice.reason, remedy=remedy)
    if choice.kind == "cuda":
        yield from _gpus(settings, choice)


def _gpus(settings: Settings, choice: DeviceChoice) -> Iterator[Finding]:
    found, needed_bytes = survey(), _needed_bytes(settings)
    yield judge_driver(found, len(choice.devices))
    yield from judge_left_out(found)
    yield from filter(None, [judge_uvm()])
    chosen = {device.uuid for device in choice.devices}
    for gpu in found.gpus:
        if gpu.uuid in chosen:
            yield from judge_gpu(gpu, found, needed_bytes)
            yield from filter(None, [judge_cuda_cache(gpu, os.environ)])


def _needed_bytes(settings: Settings) -> int:
    """Of device memory, by the models that a recording with speakers uses; 0 for what the catalogue does not know."""
    catalogue = Catalogue.load(settings.catalogue_dir)
    models = map(catalogue.find, (settings.default_model, settings.diarization_model))
    return sum(model.memory_bytes for model in models if model)


def check_libraries(_settings: Settings) -> Iterator[Finding]:
    needed = {"ctranslate2": (4, 8, 1), "torch": (2, 10), "av": (14,), "onnxruntime": (1, 23), "pyannote.audio": (4,)}
    missing, old, there = [], [], []
    for name, oldest in needed.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            missing.append(name)
            continue
        there.append(f"{name} {installed}")
        if _numbers(installed) < oldest:  # TRAPS 15
            old.append(f"{name} {installed} (at least {'.'.join(map(str, oldest))})")
    if missing or old:
        says = f"Missing: {', '.join(missing) or 'none'}; too old: {', '.join(old) or 'none'}."
        yield Finding(
            point="libraries", verdict=Verdict.BLOCKS, says=says, remedy="Install again with 'uv sync', or use the image."
        )
        return
    yield _loadable(", ".join(there))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("+", maxsplit=1)[0].split(".") if part.isdigit())


def _loadable(there: str) -> Finding:
    problem = _try_in_child("import av, ctranslate2, onnxruntime")
    if problem:
        remedy = "A library of the system is missing or does not fit; the last line names it."
        return Finding(point="libraries", verdict=Verdict.BLOCKS, says=f"They do not load: {problem}", remedy=remedy)
    return Finding(point="libraries", verdict=Verdict.FINE, says=f"{there}; they load.")


def _try_in_child(code: str) -> str:
    """Empty when the code ran; else the last line of what went wrong."""
    status, problem = _run_in_child(code)
    return "" if status == 0 else problem


def _run_in_child(code: str) -> tuple[int, str]:
    """Exit status, and the last line it wrote to stderr."""
    command = [sys.executable, "-c", code]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_TIMEOUT_S, check=False)  # noqa: S603 (our own code)
    except subprocess.TimeoutExpired:
        return -1, f"no answer within {CHILD_TIMEOUT_S:.0f} s"
    return run.returncode, (run.stderr.strip().splitlines() or [f"ended with status {run.returncode}"])[-1]


def check_memory(settings: Settings) -> Iterator[Finding]:
    free = available_memory_bytes()
    wanted = settings.memory_budget_bytes + SPARE_BYTES
    says = f"{size_words(free)} available; up to {size_words(settings.memory_budget_bytes)} are for recordings."
    if free < 2 * SPARE_BYTES:
        remedy = "Give the machine or the container at least 4 GiB."
        yield Finding(point="memory", verdict=Verdict.BLOCKS, says=says, remedy=remedy)
    elif free < wanted:
        remedy = "Set APPLIANCE_MEMORY_BUDGET_BYTES lower, or free memory; else the system may end the appliance when it is full."
        yield Finding(point="memory", verdict=Verdict.WARNING, says=says, remedy=remedy)
    else:
        yield Finding(point="memory", verdict=Verdict.FINE, says=says)


def available_memory_bytes(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """What is left on the machine, or in the container where that is less."""
    lines = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
    available = int(lines["MemAvailable"].split()[0]) * 1024
    for limit_file, used_file in CGROUP_MEMORY:
        limit = _number_in(cgroup / limit_file)
        if limit is not None:
            available = min(available, limit - (_number_in(cgroup / used_file) or 0))
    return available


def _number_in(file: Path) -> int | None:
    text = file.read_text().strip() if file.is_file() else ""
    return int(text) if text.isdigit() else None


def check_swap(_settings: Settings) -> Iterator[Finding]:
    """Memory that is swapped out lies on a disk, recordings included (TRAPS 7)."""
    yield judge_swap()


def judge_swap(
    proc: Path = Path("/proc"), sys_block: Path = Path("/sys/class/block"), cgroup: Path = Path("/sys/fs/cgroup")
) -> Finding:
    if _may_not_swap(cgroup):
        return Finding(point="swap", verdict=Verdict.FINE, says="This container may not swap.")
    swaps = proc / "swaps"  # not there: a kernel that cannot swap
    areas = [line.split()[0] for line in swaps.read_text().splitlines()[1:]] if swaps.is_file() else []
    bare = [area for area in areas if not _is_safe_swap(area, sys_block)]
    if bare:
        return Finding(
            point="swap",
            verdict=Verdict.WARNING,
            says=f"This machine swaps to {', '.join(bare)}, unencrypted: parts of a recording could end up on that disk.",
            remedy="Run the appliance in a container without swap (memory-swap = memory), encrypt the swap, or 'swapoff -a'.",
        )
    return Finding(point="swap", verdict=Verdict.FINE, says="Encrypted, or in memory." if areas else "There is none.")


def _may_not_swap(cgroup: Path) -> bool:
    """Its limit with swap is that without."""
    if _number_in(cgroup / "memory.swap.max") == 0:
        return True
    limit = _number_in(cgroup / CGROUP_MEMORY[1][0])
    return limit is not None and limit < UNLIMITED_V1_BYTES and limit == _number_in(cgroup / "memory/memory.memsw.limit_in_bytes")


def _is_safe_swap(area: str, sys_block: Path) -> bool:
    """Compressed memory, or a device-mapper volume that is encrypted."""
    name = Path(area).resolve().name
    uuid = sys_block / name / "dm" / "uuid"
    return name.startswith("zram") or (uuid.is_file() and uuid.read_text().startswith("CRYPT-"))


def check_models(settings: Settings) -> Iterator[Finding]:
    shelf = Shelf(Catalogue.load(settings.catalogue_dir), settings.models_dir)
    yield _model(shelf, settings.default_model, Verdict.BLOCKS, "No recording can be transcribed.")
    yield _model(shelf, settings.diarization_model, Verdict.WARNING, "Speakers cannot be told apart.")


def _model(shelf: Shelf, name: str, when_missing: Verdict, consequence: str) -> Finding:
    """Every byte of it is read."""
    try:
        model = shelf.catalogue.find(name) or shelf.catalogue.get(name)
        shelf.verify(model.id)
    except ApplianceError as error:
        return Finding(point="model", verdict=when_missing, says=f"{error.message} {consequence}", remedy=error.hint)
    return Finding(point="model", verdict=Verdict.FINE, says=f"{model.id} is here, and every file has its checksum.")


def check_port(settings: Settings) -> Iterator[Finding]:
    where = f"{settings.host}:{settings.port}"
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            yield _taken(where, settings, error)
            return
    yield Finding(point="port", verdict=Verdict.FINE, says=f"{where} is free.")


def _taken(where: str, settings: Settings, error: OSError) -> Finding:
    from appliance.cli.probe import is_appliance  # noqa: PLC0415 (the HTTP client is needed in this one case)

    if is_appliance(settings.host, settings.port):
        return Finding(point="port", verdict=Verdict.FINE, says=f"An appliance is running on {where}.")
    remedy = "Stop the other program, or set APPLIANCE_PORT."
    return Finding(point="port", verdict=Verdict.BLOCKS, says=f"{where} cannot be used: {error.strerror}.", remedy=remedy)


def check_disk(settings: Settings) -> Iterator[Finding]:
    yield from check_data_folder(settings)
    yield _folder("models", settings.models_dir, Verdict.NOTE)


def check_data_folder(settings: Settings) -> Iterator[Finding]:
    yield _folder("data", settings.data_dir, Verdict.BLOCKS)


def _folder(name: str, folder: Path, when_closed: Verdict) -> Finding:
    there = _nearest_existing(folder)
    free = shutil.disk_usage(there).free
    says = f"{folder}: {size_words(free)} free."
    if not os.access(there, os.W_OK):
        remedy = f"Let this user ({os.getuid()}:{os.getgid()}) write there, or set APPLIANCE_{name.upper()}_DIR."
        return Finding(point="disk", verdict=when_closed, says=f"{folder} cannot be written to.", remedy=remedy)
    if free < FEW_DISK_BYTES:
        return Finding(point="disk", verdict=Verdict.WARNING, says=says, remedy="Free some space: texts could not be saved.")
    return Finding(point="disk", verdict=Verdict.FINE, says=says)


def _nearest_existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def check_files(_settings: Settings) -> Iterator[Finding]:
    """Each upload holds an open file for its memory, each connection another."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    says = f"This process may open {soft:,} files."
    if soft < ENOUGH_FILES:
        remedy = f"Raise the limit: ulimit -n {min(hard, 65536) if hard > 0 else 65536}, or LimitNOFILE= of the service."
        yield Finding(point="open files", verdict=Verdict.WARNING, says=says, remedy=remedy)
    else:
        yield Finding(point="open files", verdict=Verdict.FINE, says=says)


NO_LANDLOCK = 3  # exit status of the trial
SANDBOX_TRIAL = """
import sys
from appliance.audio.sandbox import ResourceLimits, close_sandbox
landlock = close_sandbox(ResourceLimits(memory_bytes=2**30, cpu_s=10))
try:
    open("/etc/passwd")
except OSError:
    sys.exit(0 if landlock else 3)
sys.exit("a file could be opened in it")
"""


def check_sandbox(_settings: Settings) -> Iterator[Finding]:
    """Closed in a child for real, and tried by opening a file."""
    status, problem = _run_in_child(SANDBOX_TRIAL)
    if status == 0:
        yield Finding(point="sandbox", verdict=Verdict.FINE, says="Decoders are shut in by limits, Landlock and seccomp.")
    elif status == NO_LANDLOCK:
        says = "Decoders are shut in by limits and seccomp; this kernel has no Landlock."
        remedy = "Nothing is open for lack of it; a kernel from 5.13 on adds a second wall."
        yield Finding(point="sandbox", verdict=Verdict.NOTE, says=says, remedy=remedy)
    else:
        says = f"Decoders cannot be shut in: {problem}."
        remedy = "Allow the 'seccomp' system call in this container, or use a kernel that has it."
        yield Finding(point="sandbox", verdict=Verdict.BLOCKS, says=says, remedy=remedy)


def check_database(_settings: Settings) -> Iterator[Finding]:
    try:
        check_sqlite_version()
    except StartRefused as error:
        yield Finding(point="database", verdict=Verdict.BLOCKS, says=error.message, remedy=error.hint)
        return
    oldest = ".".join(map(str, OLDEST_SQLITE))
    yield Finding(point="database", verdict=Verdict.FINE, says=f"SQLite {sqlite3.sqlite_version} (at least {oldest}).")


CHECKS: tuple[Check, ...] = (
    check_device,
    check_libraries,
    check_sandbox,
    check_memory,
    check_swap,
    check_disk,
    check_files,
    check_database,
    check_port,
    check_models,
)
