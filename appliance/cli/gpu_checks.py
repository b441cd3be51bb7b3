"""What can be wrong with a GPU, its driver and the way it comes into a container: judged from facts, so that tests need no GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from appliance.cli.findings import Finding, Verdict
from appliance.cli.terminal import size_words
from appliance.engine.gpu import MIN_CUDA_DIARIZATION, Gpu, Survey

# What the libraries of the image were built for.
MIN_CAPABILITY_DIARIZATION = (7, 5)  # torch 2.11 for CUDA 13: from Turing on
NEWEST_BUILT_CAPABILITY = (8, 6)  # CTranslate2 4.8: newer chips compile its kernels at the first start
BLACKWELL, MIN_DRIVER_BLACKWELL = (10, 0), 570


def why_no_gpu(environment: Mapping[str, str], root: Path = Path("/")) -> tuple[str, str] | None:
    """In a container that sees no GPU: what is missing, and what to do on the server. None where nothing is known better."""
    devices = sorted((root / "dev").glob("nvidia[0-9]*"))
    driver = root / "proc" / "driver" / "nvidia" / "version"
    if not devices and driver.exists():
        return (
            "The server has an NVIDIA driver, but this container was not given a GPU.",
            "Install the NVIDIA Container Toolkit on the server, restart Docker, and start with the profile 'gpu'"
            " (docker run: --gpus all; Podman: --device nvidia.com/gpu=all).",
        )
    if not devices and in_container(root):
        return (
            "The server has no NVIDIA driver that runs.",
            "Install driver 580 or newer on the server itself and see that 'nvidia-smi' works there;"
            " or choose the profile 'cpu' (APPLIANCE_DEVICE=cpu) to work without a GPU.",
        )
    if devices and "utility" not in environment.get("NVIDIA_DRIVER_CAPABILITIES", "utility").replace("all", "utility"):
        return (
            "The container has a GPU, but not the library that tells about it.",
            "Set NVIDIA_DRIVER_CAPABILITIES=compute,utility, as the image does.",
        )
    return None


def in_container(root: Path = Path("/")) -> bool:
    return any((root / mark).exists() for mark in (".dockerenv", "run/.containerenv"))


def judge_gpu(gpu: Gpu, found: Survey, needed_bytes: int) -> Iterator[Finding]:
    """One that recognition can use: what else has to be known about it. `needed_bytes`: by the models it will hold."""
    if gpu.compute_capability < MIN_CAPABILITY_DIARIZATION:
        yield _about(gpu, "is too old to tell speakers apart (compute capability 7.5 is needed).", "Use a newer GPU for that.")
    if _is_driver_too_old(gpu, found):
        says = f"is newer than driver {found.driver}."
        yield _about(gpu, says, f"Install driver {MIN_DRIVER_BLACKWELL} or newer, better 580.", Verdict.BLOCKS)
    if gpu.memory_total_bytes < needed_bytes:
        says = f"has {size_words(gpu.memory_total_bytes)}, and the models want about {size_words(needed_bytes)}."
        yield _about(gpu, says, "Choose a smaller APPLIANCE_DEFAULT_MODEL, or APPLIANCE_COMPUTE_TYPE=int8_float16.")
    elif gpu.memory_total_bytes - gpu.memory_used_bytes < needed_bytes:
        says = f"has {size_words(gpu.memory_used_bytes)} of its {size_words(gpu.memory_total_bytes)} in use by other programs."
        yield _about(gpu, says, "See with 'nvidia-smi' which, and end them: the models would not fit beside them.")


def judge_cuda_cache(gpu: Gpu, environment: Mapping[str, str]) -> Finding | None:
    """Kernels that are compiled at the first start should be there at the second."""
    if gpu.compute_capability <= NEWEST_BUILT_CAPABILITY:
        return None
    folder = Path(environment.get("CUDA_CACHE_PATH") or Path.home() / ".nv" / "ComputeCache")
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if os.access(there, os.W_OK):
        return Finding(
            point="kernels",
            verdict=Verdict.NOTE,
            says=f"The first start compiles for the {gpu.name}, which takes a minute or two; {folder} keeps the result.",
        )
    return Finding(
        point="kernels",
        verdict=Verdict.WARNING,
        says=f"Every start compiles for the {gpu.name} anew, because {folder} cannot be written to.",
        remedy="Let CUDA_CACHE_PATH name a folder on a volume.",
    )


def judge_driver(found: Survey, devices: int) -> Finding:
    runs = ".".join(map(str, found.cuda or ()))
    if found.cuda and found.cuda < MIN_CUDA_DIARIZATION:
        return Finding(
            point="driver",
            verdict=Verdict.WARNING,
            says=f"Driver {found.driver} runs CUDA {runs}: enough to recognise speech, too old to tell speakers apart.",
            remedy="Install driver 580 or later.",
        )
    return Finding(point="driver", verdict=Verdict.FINE, says=f"Driver {found.driver} runs CUDA {runs} on {devices} device(s).")


def judge_left_out(found: Survey) -> Iterator[Finding]:
    """GPUs that are there, and that neither recognition nor anything else can use."""
    for says in found.left_out:
        remedy = "See what 'nvidia-smi' says of it, and the server's log ('dmesg'); a slice is made with 'nvidia-smi mig -cgi'."
        yield Finding(point="gpu", verdict=Verdict.WARNING, says=f"{says}.", remedy=remedy)


def judge_uvm(root: Path = Path("/")) -> Finding | None:
    """NVML sees a GPU without it, CUDA does not: and a service without new privileges cannot have it made."""
    if (root / "dev" / "nvidia-uvm").exists() or not (root / "dev" / "nvidiactl").exists():
        return None
    return Finding(
        point="gpu",
        verdict=Verdict.BLOCKS,
        says="/dev/nvidia-uvm is missing: the driver shows the GPU, but CUDA cannot work on it.",
        remedy="Run 'nvidia-modprobe -u -c=0' as root on the server itself, at each start of it; then start the appliance again.",
    )


def _is_driver_too_old(gpu: Gpu, found: Survey) -> bool:
    major = (found.driver or "").partition(".")[0]
    return gpu.compute_capability >= BLACKWELL and major.isdigit() and int(major) < MIN_DRIVER_BLACKWELL


def _about(gpu: Gpu, says: str, remedy: str, verdict: Verdict = Verdict.WARNING) -> Finding:
    return Finding(point="gpu", verdict=verdict, says=f"GPU {gpu.index}, {gpu.name}, {says}", remedy=remedy)
