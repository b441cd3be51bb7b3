"""The real engines behind the worker's interface. What they compute is in `pipeline.py` and `diarizer.py`.

The imports are inside the factories: each process loads the native libraries of its own role only, and this file says for
each what must come first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.domain import Stage, Transcript
from appliance.engine.batch_size import BatchLimits
from appliance.engine.gpu import load_cublas
from appliance.engine.protocol import Diarization, DiarizeRequest, EngineProgress, OnEvent, RecognizeRequest, StopCheck
from appliance.engine.wire import Stats, WorkerConfig
from appliance.errors import DeviceUnavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from appliance.engine.pipeline import Recognizer
    from appliance.engine.protocol import Diarizer

_DRIVER_HINT = (
    "Run 'appliance doctor' for the driver and the libraries, or set APPLIANCE_DEVICE=cpu."
    " Where /dev/nvidia-uvm is missing, 'nvidia-modprobe -u -c=0' as root makes it."
)


def recognition(config: WorkerConfig) -> RecognitionBackend:
    """Raises `DeviceUnavailable` when CTranslate2 cannot use the GPU it was given."""
    if config.device == "cuda":
        load_cublas()  # before CTranslate2 asks for it by name (TRAPS 32)
    import ctranslate2  # noqa: PLC0415 -- native

    from appliance.engine.pipeline import Recognizer  # noqa: PLC0415 -- native

    if config.device == "cuda" and not ctranslate2.get_cuda_device_count():
        raise DeviceUnavailable("CTranslate2 cannot use the GPU, though the driver shows it.", _DRIVER_HINT)
    limits = BatchLimits(config.batch_size, config.memory_bytes, config.batch_divisor)
    return RecognitionBackend(
        Recognizer(device=config.device, compute_type=config.compute_type, threads=config.threads, limits=limits)
    )


def diarization(config: WorkerConfig) -> DiarizationBackend:
    """Raises `DeviceUnavailable` when torch cannot use the GPU it was given. Importing takes 10-30 s (TRAPS 31)."""
    from appliance.engine import diarizer  # noqa: PLC0415, I001 -- native; before torch, whose environment it sets
    import torch  # noqa: PLC0415 -- native

    if config.device == "cuda" and not torch.cuda.is_available():
        raise DeviceUnavailable("torch cannot use the GPU, though the driver shows it.", _DRIVER_HINT)
    # Half the cores: it runs beside recognition, which wants them all, and two threads are hardly faster than one here.
    threads = config.threads or max(1, (os.cpu_count() or 1) // 2)
    return DiarizationBackend(lambda model_dir: diarizer.load(model_dir, config.device, threads))


class RecognitionBackend:
    one_at_a_time = False  # its batcher wants many jobs at once

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer

    def run(
        self, request: RecognizeRequest | DiarizeRequest, samples: NDArray[np.int16], on_event: OnEvent, check: StopCheck
    ) -> Transcript:
        assert isinstance(request, RecognizeRequest)
        return self._recognizer.recognize(request, samples, on_event, check)

    def warm(self, model_dir: Path) -> None:
        self._recognizer.warm(model_dir)

    def stats(self) -> Stats:
        known = self._recognizer.statistics()
        return Stats(
            steps=known.batches,
            batches=known.batches,
            windows=known.tasks,
            batch_s=known.busy_s,
            batch_sizes=known.sizes,
            out_of_memory=known.out_of_memory,
            models=self._recognizer.loaded,
        )


class DiarizationBackend:
    one_at_a_time = True  # a diarizer is not thread-safe

    def __init__(self, load: Callable[[Path], Diarizer]) -> None:
        self._load = load
        self._loaded: tuple[Path, Diarizer] | None = None

    def run(
        self, request: RecognizeRequest | DiarizeRequest, samples: NDArray[np.int16], on_event: OnEvent, check: StopCheck
    ) -> Diarization:
        assert isinstance(request, DiarizeRequest)

        def on_fraction(fraction: float) -> None:
            on_event(EngineProgress(request.job_id, Stage.DIARIZE, min(fraction, 1.0)))

        diarizer = self._diarizer(request.model_dir)
        return diarizer.diarize(samples[:, 0], request.speakers, on_fraction, check, voices=request.voices)

    def warm(self, model_dir: Path) -> None:
        self._diarizer(model_dir)

    def stats(self) -> Stats:
        loaded = self._loaded
        return Stats(steps=0, models=(loaded[0].name,) if loaded else ())

    def _diarizer(self, model_dir: Path) -> Diarizer:
        """One model at a time: a site uses one."""
        if self._loaded is None or self._loaded[0] != model_dir:
            self._loaded = None  # freed before the next takes its place
            self._loaded = (model_dir, self._load(model_dir))
        return self._loaded[1]
