"""The GPUs of this machine as NVML sees them, and the choice of the device to work on.

The only place that talks to NVML. It loads no CUDA: whether the libraries really work is found out by the worker, which then
refuses to start rather than work elsewhere.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pynvml

from appliance.domain import Value
from appliance.errors import StartRefused

log = logging.getLogger(__name__)

MIN_CUDA = (12, 0)  # CTranslate2's build; drivers from 525 on
MIN_CUDA_DIARIZATION = (13, 0)  # torch's build; drivers from 580 on
MIN_COMPUTE_CAPABILITY = (7, 0)  # float16 at useful speed

T = TypeVar("T")


class Gpu(Value, frozen=True):
    """A whole GPU, or one MIG slice of one. What the driver does not tell (or not for a slice) is None."""

    index: int  # of the physical GPU
    uuid: str  # what CUDA_VISIBLE_DEVICES takes
    name: str
    memory_total_bytes: int
    memory_used_bytes: int
    compute_capability: tuple[int, int]
    mig_slice: int | None = None
    utilisation: float | None = None  # 0..1
    power_w: float | None = None
    temperature_c: float | None = None


class Survey(Value, frozen=True):
    """What NVML told; `problem` says in half a sentence why there are no GPUs."""

    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    cuda: tuple[int, int] | None = None  # the newest CUDA this driver can run
    problem: str | None = None
    left_out: tuple[str, ...] = ()  # GPUs that are there and cannot be used at all: half a sentence for each


class Device(Value, frozen=True):
    """Where one pair of workers runs."""

    kind: str  # "cpu" or "cuda"
    name: str
    uuid: str | None = None
    memory_bytes: int | None = None  # None on a CPU

    @property
    def label(self) -> str:
        return self.kind if self.uuid is None else f"cuda:{self.uuid}"


class DeviceChoice(Value, frozen=True):
    devices: tuple[Device, ...]
    reason: str  # one sentence for the log, the doctor and the operator
    fell_back: bool = False  # there is a GPU, and it is not used though `auto` would have liked to
    left_out: tuple[str, ...] = ()  # as in the survey; the reason says it, too

    @property
    def kind(self) -> str:
        return self.devices[0].kind


CPU = Device(kind="cpu", name="CPU")


def survey(nvml: Any = pynvml) -> Survey:  # noqa: ANN401 (the module, or a stand-in of a test)
    """Look at every GPU now. Never raises: no driver, no library and no GPU are findings, too."""
    try:
        with _session(nvml):
            gpus, left_out = _look_at_each(nvml)
            cuda = nvml.nvmlSystemGetCudaDriverVersion_v2()
            driver = nvml.nvmlSystemGetDriverVersion()
    except nvml.NVMLError as error:
        return Survey(problem=f"the NVIDIA driver does not answer ({error})")
    problem = None if gpus else "; ".join(left_out) or "the NVIDIA driver finds no GPU"
    return Survey(gpus, driver, (cuda // 1000, cuda % 1000 // 10), problem, left_out)


def choose_device(setting: str, look: Callable[[], Survey] = survey) -> DeviceChoice:
    """Decide where to work, and log the decision with its reason.

    `setting` is "auto", "cpu", "cuda" or "cuda:0,2" (numbers of whole GPUs). Raises `StartRefused` when a GPU was asked for and
    none of those asked for can be used; only `auto` ever turns to the CPU.
    """
    choice = _choose(setting, look)
    log.log(logging.WARNING if choice.fell_back or choice.left_out else logging.INFO, "%s", choice.reason)
    return choice


def _choose(setting: str, look: Callable[[], Survey]) -> DeviceChoice:
    if setting == "cpu":
        return DeviceChoice((CPU,), "Working on the CPU, because the setting 'device' says so.")
    found = look()
    wanted = _wanted(setting, found)
    usable = tuple(gpu for gpu in wanted if unusable_because(gpu, found) is None)
    if usable and (setting == "auto" or len(usable) == len(wanted)):
        return _on_gpus(setting, usable, found)
    if setting == "auto":
        because = _why_none(wanted, found)
        return DeviceChoice((CPU,), f"Working on the CPU, because {because}.", fell_back=bool(wanted or found.left_out))
    raise StartRefused(
        f"The setting 'device' is '{setting}', but {_why_none(wanted, found)}.",
        "See what 'nvidia-smi' says (a container needs --gpus all), or set APPLIANCE_DEVICE=cpu to work on the CPU.",
    )


def _on_gpus(setting: str, gpus: tuple[Gpu, ...], found: Survey) -> DeviceChoice:
    names = ", ".join(f"{gpu.name} ({gpu.memory_total_bytes / 2**30:.0f} GiB)" for gpu in gpus)
    why = "'auto' found it" if setting == "auto" else f"the setting 'device' is '{setting}'"
    devices = tuple(Device("cuda", gpu.name, gpu.uuid, gpu.memory_total_bytes) for gpu in gpus)
    reason = f"Working on {names}, driver {found.driver}, because {why}.{_without_speakers(found)}{_but(found)}"
    return DeviceChoice(devices, reason, left_out=found.left_out)


def _without_speakers(found: Survey) -> str:
    if found.cuda is None or found.cuda >= MIN_CUDA_DIARIZATION:
        return ""
    return f" Speakers cannot be told apart on it: that needs a driver for CUDA {_dotted(MIN_CUDA_DIARIZATION)} (580 or newer)."


def _but(found: Survey) -> str:
    return f" Not used: {'; '.join(found.left_out)}." if found.left_out else ""


def _wanted(setting: str, found: Survey) -> tuple[Gpu, ...]:
    _, _, numbers = setting.partition(":")
    if not numbers:
        return found.gpus
    asked = {int(number) for number in numbers.split(",")}
    if missing := asked - {gpu.index for gpu in found.gpus}:
        known = f"this machine has {', '.join(sorted({f'GPU {gpu.index}' for gpu in found.gpus}))}"
        there = found.problem or "; ".join((known, *found.left_out))
        raise StartRefused(
            f"The setting 'device' asks for GPU {', '.join(map(str, sorted(missing)))}, but {there}.",
            "Run 'nvidia-smi -L' for the numbers, or set APPLIANCE_DEVICE=auto.",
        )
    return tuple(gpu for gpu in found.gpus if gpu.index in asked)


def unusable_because(gpu: Gpu, found: Survey) -> str | None:
    """Why recognition cannot run on this GPU, as half a sentence; None when it can."""
    if found.cuda is not None and found.cuda < MIN_CUDA:
        return f"the driver {found.driver} is too old (it runs CUDA {_dotted(found.cuda)}, {_dotted(MIN_CUDA)} is needed)"
    if gpu.compute_capability < MIN_COMPUTE_CAPABILITY:
        capability = f"compute capability {_dotted(gpu.compute_capability)}, {_dotted(MIN_COMPUTE_CAPABILITY)} is needed"
        return f"the {gpu.name} is too old ({capability})"
    return None


def _why_none(wanted: tuple[Gpu, ...], found: Survey) -> str:
    reasons = [because for gpu in wanted if (because := unusable_because(gpu, found))]
    return "; ".join(dict.fromkeys(reasons)) or found.problem or "there is no GPU"


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


@contextmanager
def _session(nvml: Any) -> Iterator[None]:  # noqa: ANN401
    nvml.nvmlInit()
    try:
        yield
    finally:
        nvml.nvmlShutdown()


def _look_at_each(nvml: Any) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:  # noqa: ANN401
    """The GPUs, and those left out: one that is broken hides none of the others."""
    gpus: list[Gpu] = []
    left_out: list[str] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            parts = _parts(nvml, index)
        except nvml.NVMLError as error:
            left_out.append(f"GPU {index} does not answer ({error})")
            continue
        if not parts:
            left_out.append(f"GPU {index} has MIG on, but no slice to work on")
        gpus += parts
    return tuple(gpus), tuple(left_out)


def _parts(nvml: Any, index: int) -> list[Gpu]:  # noqa: ANN401
    """The whole GPU, or its slices: with MIG on, CUDA can use these only."""
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    slices = _slices(nvml, handle)
    if slices is None:
        return [_describe(nvml, handle, handle, index, None)]
    return [_describe(nvml, handle, part, index, n) for n, part in slices]


def _slices(nvml: Any, handle: Any) -> list[tuple[int, Any]] | None:  # noqa: ANN401
    """The MIG slices of a GPU; None when MIG is off."""
    mode = _ask(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle))
    if mode is None or mode[0] != nvml.NVML_DEVICE_MIG_ENABLE:
        return None
    numbers = range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle))
    by_number = nvml.nvmlDeviceGetMigDeviceHandleByIndex
    parts = ((n, _ask(nvml, partial(by_number, handle, n))) for n in numbers)
    return [(n, part) for n, part in parts if part is not None]


def _describe(nvml: Any, whole: Any, part: Any, index: int, mig_slice: int | None) -> Gpu:  # noqa: ANN401
    memory = nvml.nvmlDeviceGetMemoryInfo(part)
    busy = _ask(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(part))
    power_mw = _ask(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(whole))
    return Gpu(
        index=index,
        uuid=nvml.nvmlDeviceGetUUID(part),
        name=nvml.nvmlDeviceGetName(part),
        memory_total_bytes=memory.total,
        memory_used_bytes=memory.used,
        compute_capability=tuple(nvml.nvmlDeviceGetCudaComputeCapability(whole)),
        mig_slice=mig_slice,
        utilisation=None if busy is None else busy.gpu / 100,
        power_w=None if power_mw is None else power_mw / 1000,
        temperature_c=_ask(nvml, lambda: float(nvml.nvmlDeviceGetTemperature(whole, nvml.NVML_TEMPERATURE_GPU))),
    )


def _ask(nvml: Any, question: Callable[[], T]) -> T | None:  # noqa: ANN401
    """None where this GPU or driver does not know the answer."""
    try:
        return question()
    except nvml.NVMLError:
        return None


def load_cublas() -> Path | None:
    """In a CUDA worker, before CTranslate2: open the libcublas.so.12 that is installed beside torch's CUDA 13 (TRAPS 32).

    Returns its path; None when it is not installed as a package (then the system's is used, if there is one).
    """
    spec = importlib.util.find_spec("nvidia.cublas") if importlib.util.find_spec("nvidia") else None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        library = Path(folder) / "lib" / "libcublas.so.12"
        if library.exists():
            ctypes.CDLL(str(library.with_name("libcublasLt.so.12")), mode=ctypes.RTLD_GLOBAL)
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
            return library
    return None
