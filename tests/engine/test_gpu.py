"""Which device is chosen, why, and what the driver says about it. NVML itself is stood in for: it needs a GPU."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.engine import gpu
from appliance.errors import StartRefused

H200 = gpu.Gpu(
    index=0,
    uuid="GPU-1",
    name="NVIDIA H200",
    memory_total_bytes=139 * 2**30,
    memory_used_bytes=2**30,
    compute_capability=(9, 0),
)
OLD = gpu.Gpu(1, "GPU-2", "Tesla P4", 8 * 2**30, 0, (6, 1))
NOTHING = gpu.Survey(problem="the NVIDIA driver does not answer (NVML Shared Library Not Found)")


def machine(*gpus: gpu.Gpu, cuda: tuple[int, int] = (13, 0)) -> gpu.Survey:
    return gpu.Survey(gpus, "580.95", cuda)


def test_auto_takes_the_gpu_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    choice = gpu.choose_device("auto", lambda: machine(H200))
    assert choice.devices == (gpu.Device("cuda", "NVIDIA H200", "GPU-1", 139 * 2**30),)
    assert choice.reason in caplog.messages
    assert "NVIDIA H200" in choice.reason


def test_auto_without_a_driver_works_on_the_cpu_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    choice = gpu.choose_device("auto", lambda: NOTHING)
    assert choice.devices == (gpu.CPU,)
    assert caplog.messages == ["Working on the CPU, because the NVIDIA driver does not answer (NVML Shared Library Not Found)."]
    assert not choice.fell_back


def test_auto_with_a_gpu_it_cannot_use_warns(caplog: pytest.LogCaptureFixture) -> None:
    choice = gpu.choose_device("auto", lambda: machine(OLD))
    assert choice.kind == "cpu"
    assert choice.fell_back
    assert "Tesla P4 is too old" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.parametrize(
    ("setting", "found", "says"),
    [
        ("cuda", NOTHING, "does not answer"),
        ("cuda", machine(OLD), "compute capability 6.1"),
        ("cuda", machine(H200, cuda=(11, 8)), "too old (it runs CUDA 11.8"),
        ("cuda:0,1", machine(H200, OLD), "Tesla P4 is too old"),
        ("cuda:3", machine(H200), "asks for GPU 3, but this machine has GPU 0"),
        ("cuda:0", NOTHING, "does not answer"),
    ],
)
def test_cuda_that_cannot_be_had_refuses_to_start_with_a_remedy(setting: str, found: gpu.Survey, says: str) -> None:
    with pytest.raises(StartRefused, match=None) as refused:
        gpu.choose_device(setting, lambda: found)
    assert says in refused.value.message
    assert "nvidia-smi" in refused.value.hint


def test_cpu_does_not_even_ask_for_gpus() -> None:
    assert gpu.choose_device("cpu", lambda: pytest.fail("asked")).kind == "cpu"


def test_a_driver_that_is_too_old_for_diarization_only_is_told() -> None:
    assert "Speakers cannot be told apart" in gpu.choose_device("auto", lambda: machine(H200, cuda=(12, 8))).reason
    assert "Speakers" not in gpu.choose_device("auto", lambda: machine(H200)).reason


def test_chosen_gpus_only() -> None:
    second = gpu.Gpu(1, "GPU-9", "NVIDIA L4", 24 * 2**30, 0, (8, 9))
    assert [d.uuid for d in gpu.choose_device("cuda:1", lambda: machine(H200, second)).devices] == ["GPU-9"]
    assert [d.uuid for d in gpu.choose_device("cuda", lambda: machine(H200, second)).devices] == ["GPU-1", "GPU-9"]


class FakeNvml:
    """Two GPUs: a whole one, and one cut into MIG slices, of which the second place is empty."""

    NVML_DEVICE_MIG_ENABLE = 1
    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self, **other_answers: Any) -> None:
        self.sessions = 0
        self._answers = ANSWERS | other_answers

    def nvmlInit(self) -> None:  # noqa: N802
        self.sessions += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.sessions -= 1

    def __getattr__(self, name: str) -> Any:
        return self._answers[name]


def no_utilisation_of_a_slice(handle: str) -> Any:
    if handle.startswith("MIG"):
        raise FakeNvml.NVMLError("Not Supported")
    return SimpleNamespace(gpu=37)


def slice_handle(handle: str, n: int) -> str:
    if n == 1:
        raise FakeNvml.NVMLError("Not Found")
    return f"MIG-{handle}-{n}"


ANSWERS = {
    "nvmlSystemGetCudaDriverVersion_v2": lambda: 12080,
    "nvmlSystemGetDriverVersion": lambda: "570.1",
    "nvmlDeviceGetCount": lambda: 2,
    "nvmlDeviceGetHandleByIndex": lambda n: f"GPU-{n}",
    "nvmlDeviceGetMigMode": lambda handle: (int(handle == "GPU-1"), 0),
    "nvmlDeviceGetMaxMigDeviceCount": lambda _: 3,
    "nvmlDeviceGetMigDeviceHandleByIndex": slice_handle,
    "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(total=100, used=7),
    "nvmlDeviceGetUtilizationRates": no_utilisation_of_a_slice,
    "nvmlDeviceGetPowerUsage": lambda _: 250_500,
    "nvmlDeviceGetTemperature": lambda _, __: 61,
    "nvmlDeviceGetUUID": lambda handle: handle,
    "nvmlDeviceGetName": lambda handle: f"NVIDIA {handle}",
    "nvmlDeviceGetCudaComputeCapability": lambda _: [9, 0],
}


def test_a_gpu_cut_into_slices_is_seen_as_its_slices() -> None:
    nvml = FakeNvml()
    found = gpu.survey(nvml)
    assert [(g.uuid, g.index, g.mig_slice) for g in found.gpus] == [
        ("GPU-0", 0, None),
        ("MIG-GPU-1-0", 1, 0),
        ("MIG-GPU-1-2", 1, 2),
    ]
    assert found.cuda == (12, 8)
    whole, part, _ = found.gpus
    assert (whole.utilisation, whole.power_w, whole.temperature_c) == (0.37, 250.5, 61.0)
    assert part.utilisation is None
    assert nvml.sessions == 0


def lost(handle: str) -> Any:
    if handle == "GPU-1":
        raise FakeNvml.NVMLError("GPU is lost")
    return SimpleNamespace(total=100, used=7)


def test_a_broken_gpu_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    nvml = FakeNvml(nvmlDeviceGetMemoryInfo=lost, nvmlDeviceGetMigMode=lambda _: (0, 0))
    found = gpu.survey(nvml)
    assert [g.uuid for g in found.gpus] == ["GPU-0"]
    assert found.left_out == ("GPU 1 does not answer (GPU is lost)",)
    choice = gpu.choose_device("auto", lambda: found)
    assert [device.uuid for device in choice.devices] == ["GPU-0"]
    assert choice.reason.endswith("Not used: GPU 1 does not answer (GPU is lost).")
    assert [(record.levelno, record.message) for record in caplog.records] == [(logging.WARNING, choice.reason)]
    with pytest.raises(StartRefused, match="asks for GPU 1, but this machine has GPU 0; GPU 1 does not answer"):
        gpu.choose_device("cuda:1", lambda: found)


def test_mig_without_slices_is_told() -> None:
    nvml = FakeNvml(nvmlDeviceGetCount=lambda: 1, nvmlDeviceGetMigMode=lambda _: (1, 1), nvmlDeviceGetMaxMigDeviceCount=lambda _: 0)
    found = gpu.survey(nvml)
    assert found.problem == "GPU 0 has MIG on, but no slice to work on"
    choice = gpu.choose_device("auto", lambda: found)
    assert choice.reason == "Working on the CPU, because GPU 0 has MIG on, but no slice to work on."
    assert choice.fell_back


def test_the_survey_of_this_machine_never_raises() -> None:
    found = gpu.survey()
    assert found.gpus or found.problem


def test_cublas_12_is_opened_first() -> None:
    """TRAPS 32: after it CTranslate2 finds libcublas.so.12 by its name, whatever torch brought."""
    code = "import ctypes; from appliance.engine.gpu import load_cublas; print(load_cublas()); ctypes.CDLL('libcublas.so.12')"
    if importlib.util.find_spec("nvidia") is None:
        pytest.skip("the CUDA libraries are not installed on this platform")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("libcublas.so.12")
