"""GPUs, drivers and containers that this machine has not: each told in a sentence, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.cli.findings import Verdict
from appliance.cli.gpu_checks import judge_cuda_cache, judge_driver, judge_gpu, judge_left_out, judge_uvm, why_no_gpu
from appliance.engine.gpu import Gpu, Survey

GIB = 2**30
FOUND = Survey(driver="580.65.06", cuda=(13, 0))


def gpu(capability: tuple[int, int] = (8, 6), total: int = 24 * GIB, used: int = 0) -> Gpu:
    return Gpu(index=0, uuid="GPU-1", name="A10", memory_total_bytes=total, memory_used_bytes=used, compute_capability=capability)


def machine(root: Path, *, driver: bool = False, container: bool = True, devices: bool = False) -> Path:
    (root / "dev").mkdir()
    if driver:
        (root / "proc/driver/nvidia").mkdir(parents=True)
        (root / "proc/driver/nvidia/version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06\n")
    if container:
        (root / ".dockerenv").touch()
    if devices:
        (root / "dev/nvidia0").touch()
        (root / "dev/nvidiactl").touch()
    return root


def test_a_container_without_the_toolkit_is_told_from_a_server_without_a_driver(tmp_path: Path) -> None:
    (with_driver := tmp_path / "a").mkdir()
    (without := tmp_path / "b").mkdir()
    says, remedy = why_no_gpu({}, machine(with_driver, driver=True)) or ("", "")
    assert "was not given a GPU" in says
    assert "NVIDIA Container Toolkit" in remedy
    says, remedy = why_no_gpu({}, machine(without)) or ("", "")
    assert "no NVIDIA driver" in says
    assert "APPLIANCE_DEVICE=cpu" in remedy


def test_a_container_without_nvml_is_told_which_capability_it_lacks(tmp_path: Path) -> None:
    root = machine(tmp_path, driver=True, devices=True)
    says, remedy = why_no_gpu({"NVIDIA_DRIVER_CAPABILITIES": "compute"}, root) or ("", "")
    assert "library" in says
    assert "compute,utility" in remedy
    assert why_no_gpu({"NVIDIA_DRIVER_CAPABILITIES": "all"}, root) is None


def test_a_bare_machine_keeps_the_plain_message(tmp_path: Path) -> None:
    assert why_no_gpu({}, machine(tmp_path, container=False)) is None


def test_a_gpu_without_the_node_that_cuda_opens_is_told_how_to_make_it(tmp_path: Path) -> None:
    root = machine(tmp_path, driver=True, container=False, devices=True)
    finding = judge_uvm(root)
    assert finding is not None
    assert finding.verdict is Verdict.BLOCKS
    assert "/dev/nvidia-uvm" in finding.says
    assert "nvidia-modprobe -u -c=0" in finding.remedy
    (root / "dev/nvidia-uvm").touch()
    assert judge_uvm(root) is None


def test_a_gpu_that_is_no_device_file_wants_no_node(tmp_path: Path) -> None:
    """Under WSL, CUDA goes through /dev/dxg."""
    assert judge_uvm(machine(tmp_path, container=False)) is None


def test_a_fit_gpu_raises_no_word() -> None:
    assert list(judge_gpu(gpu(), FOUND, 4 * GIB)) == []
    assert judge_cuda_cache(gpu(), {}) is None
    assert judge_driver(FOUND, 1).verdict is Verdict.FINE


@pytest.mark.parametrize(
    ("unfit", "found", "word", "verdict"),
    [
        (gpu((7, 0)), FOUND, "too old to tell speakers apart", Verdict.WARNING),
        (gpu((12, 0)), Survey(driver="565.57.01", cuda=(12, 7)), "newer than driver 565.57.01", Verdict.BLOCKS),
        (gpu(total=2 * GIB), FOUND, "the models want about", Verdict.WARNING),
        (gpu(used=22 * GIB), FOUND, "in use by other programs", Verdict.WARNING),
    ],
)
def test_what_does_not_fit_is_said_with_a_remedy(unfit: Gpu, found: Survey, word: str, verdict: Verdict) -> None:
    (finding,) = judge_gpu(unfit, found, 4 * GIB)
    assert word in finding.says
    assert finding.verdict is verdict
    assert finding.remedy


def test_a_gpu_that_is_left_out_is_a_warning() -> None:
    (finding,) = judge_left_out(Survey(left_out=("GPU 1 does not answer (GPU is lost)",)))
    assert (finding.verdict, finding.says) == (Verdict.WARNING, "GPU 1 does not answer (GPU is lost).")
    assert "nvidia-smi" in finding.remedy


def test_a_driver_without_cuda_13_costs_the_speakers_only() -> None:
    finding = judge_driver(Survey(driver="550.90", cuda=(12, 4)), 1)
    assert finding.verdict is Verdict.WARNING
    assert "too old to tell speakers apart" in finding.says


def test_a_newer_chip_compiles_once_or_at_every_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = {"CUDA_CACHE_PATH": str(tmp_path / "cache")}
    once = judge_cuda_cache(gpu((9, 0)), cache)
    monkeypatch.setattr("appliance.cli.gpu_checks.os.access", lambda *_: False)
    every = judge_cuda_cache(gpu((9, 0)), cache)
    assert once is not None
    assert once.verdict is Verdict.NOTE
    assert every is not None
    assert every.verdict is Verdict.WARNING
