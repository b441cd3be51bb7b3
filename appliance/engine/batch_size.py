"""How many windows of 30 s are decoded together: by the device's memory and the shape of the models that are in it.

Reckoned, not measured. Where the reckoning is too high, the batcher halves when the device says that it is out of memory, and
the successor of a worker that died by its device begins with half (TRAPS 16).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO, Final

from appliance.domain import Value

CPU_WINDOWS: Final = 8
GPU_WINDOWS: Final = 24  # more are hardly faster
_FRAMES: Final = 1500  # of the encoder, per window
_TOKENS: Final = 448  # the decoder's context
_BEAMS: Final = 5  # texts per window that are followed at a time
_HEAD_WIDTH: Final = 64  # of every Whisper model
# Not for this worker's models: the diarization worker on the same device (1.6 GiB), and what CUDA takes for each of the two.
_OTHERS_BYTES: Final = 5 * 2**29


class BatchLimits(Value, frozen=True):
    """What a worker is told about the size of its batches."""

    chosen: int = 0  # by the operator; 0: by device memory
    memory_bytes: int | None = None  # of the device; None on a CPU
    divisor: int = 1  # grows while the device makes the worker die

    def most(self, device: str) -> int:
        """Windows in a batch before any model is known."""
        return max(1, (self.chosen or (CPU_WINDOWS if device == "cpu" else GPU_WINDOWS)) // self.divisor)

    def fitting(self, models: Collection[Path], device: str, compute_type: str) -> int:
        """Windows in a batch that fit beside these models, all in memory. What the operator chose is not doubted."""
        if self.chosen or self.memory_bytes is None:
            return self.most(device)
        try:
            shapes = [read_shape(folder / "model.bin") for folder in models]
        except ValueError:  # a format of CTranslate2's that is not known here
            return self.most(device)
        left_bytes = self.memory_bytes - _OTHERS_BYTES - sum(shape.weight_bytes(compute_type) for shape in shapes)
        fitting = left_bytes // max(shape.window_bytes(compute_type) for shape in shapes)
        return max(1, min(fitting // self.divisor, self.most(device)))


USUAL: Final = BatchLimits()


class ModelShape(Value, frozen=True):
    """What decides how much memory a Whisper model wants."""

    parameters: int
    layers: int  # of the decoder
    width: int  # d_model

    def weight_bytes(self, compute_type: str) -> int:
        return self.parameters * (1 if compute_type.startswith("int8") else _number_bytes(compute_type))

    def window_bytes(self, compute_type: str) -> int:
        """The most that one window of a batch wants.

        - Keys and values of the cross-attention: layers x 2 x 1500 frames x width; the beams share them.
        - Keys and values of the text so far: layers x 2 x 448 tokens x width x 5 beams.
        - Scores of the attention in one layer of the encoder: heads x 1500 x 1500.

        Each number of them has 2 bytes, or 4 in float32. For large-v3 in float16: 246 + 367 + 90 MB.
        """
        crossed = self.layers * 2 * _FRAMES * self.width
        text = self.layers * 2 * _TOKENS * self.width * _BEAMS
        scores = self.width // _HEAD_WIDTH * _FRAMES**2
        return (crossed + text + scores) * _number_bytes(compute_type)


def _number_bytes(compute_type: str) -> int:
    return 4 if compute_type.endswith("float32") else 2


def read_shape(model_file: Path) -> ModelShape:
    """From the names and shapes in a `model.bin` of CTranslate2, past their contents. Raises ValueError for what is none."""
    with model_file.open("rb") as file:
        try:
            (_version,) = _read_numbers(file, "I")
            _read_name(file)  # of the specification
            _revision, count = _read_numbers(file, "II")
            shapes = dict(_read_variable(file) for _ in range(count))
            width = shapes["decoder/embeddings/weight"][1]
        except (struct.error, LookupError) as error:
            raise ValueError(f"{model_file} is no model of CTranslate2") from error
    layers = {found[1] for name in shapes if (found := re.match(r"decoder/layer_(\d+)/", name))}
    return ModelShape(sum(map(math.prod, shapes.values())), len(layers), width)


def _read_variable(file: BinaryIO) -> tuple[str, tuple[int, ...]]:
    name = _read_name(file)
    (rank,) = _read_numbers(file, "B")
    shape = _read_numbers(file, f"{rank}I")
    _, size_bytes = _read_numbers(file, "BI")
    file.seek(size_bytes, 1)
    return name, shape


def _read_name(file: BinaryIO) -> str:
    (length,) = _read_numbers(file, "H")
    return file.read(length).rstrip(b"\0").decode()


def _read_numbers(file: BinaryIO, kinds: str) -> tuple[int, ...]:
    return struct.unpack(f"<{kinds}", file.read(struct.calcsize(f"<{kinds}")))
