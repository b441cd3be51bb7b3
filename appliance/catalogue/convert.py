"""Turns the published weights of the diarization models into files that cannot carry code: safetensors and JSON.

Runs once per installation, in a process of its own. A pickle is read by an interpreter that knows a handful of harmless
names and refuses every other (TRAPS 13); neither torch nor pyannote is imported. Equal input gives equal bytes.
"""

from __future__ import annotations

import json
import math
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import numpy_helper
from safetensors.numpy import save

from appliance.errors import CatalogueError

MAX_CHECKPOINT_BYTES = 1 << 30  # of unpacked pickle and tensors; the real one has 6 MB
BATCH_NORM_EPSILON = 1e-5  # torch's default, which WeSpeakerResNet34 uses
RESNET34_BLOCKS = (3, 4, 6, 3)
RESNET34_WIDTH = 32

Array = NDArray[Any]

EMBEDDING_DESCRIPTION: Mapping[str, Any] = {
    "architecture": "WeSpeakerResNet34",
    "hyper_parameters": {
        "sample_rate": 16000,
        "num_channels": 1,
        "num_mel_bins": 80,
        "frame_length": 25,
        "frame_shift": 10,
        "dither": 0.0,
        "window_type": "hamming",
        "use_energy": False,
    },
    "specifications": {"problem": "REPRESENTATION", "resolution": "CHUNK", "duration": 5.0, "min_duration": 5.0},
}

# pyannote's own settings for these weights: agglomerative as in speaker-diarization-3.1, VBx as in community-1.
PIPELINE_SETTINGS: Mapping[str, Any] = {
    "segmentation_step": 0.1,
    "embedding_exclude_overlap": True,
    "agglomerative": {"method": "centroid", "min_cluster_size": 12, "threshold": 0.7045654963945799},
    "vbx": {"threshold": 0.6, "Fa": 0.07, "Fb": 0.8},
}


def convert_segmentation(pickle_path: Path, target: Path) -> None:
    """Write `segmentation.safetensors` and `segmentation.json` into the folder `target`.

    `pickle_path` is the `pytorch_model.bin` of pyannote segmentation-3.0 (a torch checkpoint). Raises CatalogueError when
    it is not one, or names anything that a checkpoint of this kind has no use for.
    """
    checkpoint = read_checkpoint(pickle_path)
    try:
        architecture = checkpoint["pyannote.audio"]["architecture"]["class"]
        specifications = vars(checkpoint["pyannote.audio"]["specifications"])
        description = {
            "architecture": architecture,
            "hyper_parameters": checkpoint["hyper_parameters"],
            "specifications": {name: value for name, value in specifications.items() if name in _SPECIFICATIONS},
        }
        tensors = dict(checkpoint["state_dict"])
    except (KeyError, TypeError) as error:
        raise CatalogueError(f"{pickle_path.name} is not a pyannote checkpoint: it has no {error}.") from error
    if architecture != "PyanNet":
        raise CatalogueError(f"{pickle_path.name} holds a '{architecture}', not the PyanNet that was expected.")
    _write(target, "segmentation", tensors, description)


def convert_embedding(onnx_path: Path, target: Path) -> None:
    """Write `embedding.safetensors` and `embedding.json` into the folder `target`.

    `onnx_path` is WeSpeaker's ResNet34 exported to ONNX, where each batch norm was folded into its convolution. The
    result fits pyannote's `WeSpeakerResNet34`, with batch norms that only add the folded bias. The mean vector that the
    export subtracts at its end is left out, as in pyannote. Raises CatalogueError when the graph is another network.
    """
    try:
        graph = onnx.load(str(onnx_path), load_external_data=False).graph
    except DecodeError as error:
        raise CatalogueError(f"{onnx_path.name} is not an ONNX model.") from error
    weights = {tensor.name: tensor for tensor in graph.initializer}
    try:
        tensors = dict(_resnet34_tensors(graph.node, weights))
    except (KeyError, StopIteration, IndexError) as error:
        raise CatalogueError(f"{onnx_path.name} is not WeSpeaker's ResNet34 with folded batch norms.") from error
    _check_resnet34(onnx_path.name, tensors)
    _write(target, "embedding", tensors, EMBEDDING_DESCRIPTION)


def write_pipeline(target: Path) -> None:
    """Write `pipeline.json`, how the two models are put together, into the folder `target`."""
    _write_json(target / "pipeline.json", PIPELINE_SETTINGS)


def _write(target: Path, stem: str, tensors: Mapping[str, Array], description: Mapping[str, Any]) -> None:
    ordered = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    (target / f"{stem}.safetensors").write_bytes(save(ordered))
    _write_json(target / f"{stem}.json", description)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


# --- reading a checkpoint without executing it ------------------------------------------------------------------------

_SPECIFICATIONS = frozenset(
    ("problem", "resolution", "duration", "min_duration", "warm_up", "classes", "powerset_max_classes", "permutation_invariant")
)
_PROBLEMS = ("BINARY_CLASSIFICATION", "MONO_LABEL_CLASSIFICATION", "MULTI_LABEL_CLASSIFICATION", "REPRESENTATION", "REGRESSION")
_RESOLUTIONS = {1: "FRAME", 2: "CHUNK"}


# What unpickling raises when bytes are missing or make no sense:
_BROKEN = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    zlib.error,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    StopIteration,
    TypeError,
    ValueError,
)


class _Specifications:
    """Stands in for pyannote's dataclass of that name; pickle fills its attributes."""


def _rebuild_tensor(storage: Array, offset: int, size: Sequence[int], stride: Sequence[int], *_unused: object) -> Array:
    """What torch's `_rebuild_tensor_v2` means, for tensors that lie in memory row by row."""
    count = math.prod(size)
    steps = [math.prod(size[i + 1 :]) for i in range(len(size))]
    if any(n > 1 and have != want for n, have, want in zip(size, stride, steps, strict=True)):
        raise CatalogueError("The checkpoint has a tensor in an unusual layout.")
    return storage[offset : offset + count].reshape(tuple(size))


_ALLOWED: Mapping[str, Callable[..., Any] | np.dtype[Any]] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.torch_version.TorchVersion": str,
    "pyannote.audio.core.task.Specifications": _Specifications,
    "pyannote.audio.core.task.Problem": _PROBLEMS.__getitem__,
    "pyannote.audio.core.task.Resolution": _RESOLUTIONS.__getitem__,
}


class _CheckpointUnpickler(pickle.Unpickler):
    """Knows the names in `_ALLOWED` and no others."""

    def __init__(self, archive: zipfile.ZipFile, pickle_name: str) -> None:
        super().__init__(archive.open(pickle_name))
        self._archive = archive
        self._root = pickle_name.removesuffix("data.pkl")

    def find_class(self, module: str, name: str) -> object:
        qualified = f"{module}.{name}"
        if qualified not in _ALLOWED:
            raise CatalogueError(
                f"The checkpoint asks for '{qualified}', which weights have no use for; it was not opened further.",
                "Do not use this file: it may have been tampered with.",
            )
        return _ALLOWED[qualified]

    def persistent_load(self, pid: tuple[str, np.dtype[Any], str, str, int]) -> Array:
        _kind, dtype, key, _device, count = pid
        data = self._archive.read(f"{self._root}data/{key}")
        return np.frombuffer(data, dtype=dtype, count=count)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a torch checkpoint, tensors as numpy arrays. Raises CatalogueError instead of running anything in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_CHECKPOINT_BYTES:
                raise CatalogueError(f"{path.name} unpacks to more than {MAX_CHECKPOINT_BYTES >> 20} MiB.")
            pickle_name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            content: dict[str, Any] = _CheckpointUnpickler(archive, pickle_name).load()
    except _BROKEN as error:
        raise CatalogueError(f"{path.name} is not a torch checkpoint, or is damaged.") from error
    if not isinstance(content, dict):
        raise CatalogueError(f"{path.name} is not a torch checkpoint: it holds no dictionary.")
    return content


# --- ResNet34 ---------------------------------------------------------------------------------------------------------


def _resnet34_layers() -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """(convolution, its batch norm, shape of the convolution) in the order in which audio passes them, shortcuts left out."""
    yield "resnet.conv1", "resnet.bn1", (RESNET34_WIDTH, 1, 3, 3)
    before = RESNET34_WIDTH
    for layer, blocks in enumerate(RESNET34_BLOCKS, 1):
        width = RESNET34_WIDTH << (layer - 1)
        for block in range(blocks):
            prefix = f"resnet.layer{layer}.{block}"
            yield f"{prefix}.conv1", f"{prefix}.bn1", (width, before, 3, 3)
            yield f"{prefix}.conv2", f"{prefix}.bn2", (width, width, 3, 3)
            before = width


def _resnet34_shortcuts() -> Iterator[tuple[str, str, tuple[int, ...]]]:
    for layer in range(2, len(RESNET34_BLOCKS) + 1):
        width = RESNET34_WIDTH << (layer - 1)
        yield f"resnet.layer{layer}.0.shortcut.0", f"resnet.layer{layer}.0.shortcut.1", (width, width // 2, 1, 1)


def _resnet34_tensors(nodes: Sequence[Any], weights: Mapping[str, Any]) -> Iterator[tuple[str, Array]]:
    """Give each convolution of the graph its name. Those of 3×3 follow one another; those of 1×1 are the shortcuts."""
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    narrow = [node for node in convolutions if tuple(weights[node.input[1]].dims[2:]) == (1, 1)]
    wide = [node for node in convolutions if node not in narrow]
    for layers, found in ((_resnet34_layers(), wide), (_resnet34_shortcuts(), narrow)):
        for (convolution, norm, _shape), node in zip(layers, found, strict=False):
            kernel, bias = (numpy_helper.to_array(weights[name]) for name in node.input[1:3])
            yield f"{convolution}.weight", kernel
            yield from _identity_norm(norm, bias)
    linear = next(node for node in nodes if node.op_type == "Gemm")
    transposed = any(attribute.name == "transB" and attribute.i == 1 for attribute in linear.attribute)
    matrix = numpy_helper.to_array(weights[linear.input[1]])
    yield "resnet.seg_1.weight", matrix if transposed else matrix.T
    yield "resnet.seg_1.bias", numpy_helper.to_array(weights[linear.input[2]])


def _identity_norm(name: str, bias: Array) -> Iterator[tuple[str, Array]]:
    """A batch norm that multiplies by one and adds `bias`: the variance plus its epsilon is one."""
    width = len(bias)
    yield f"{name}.weight", np.ones(width, np.float32)
    yield f"{name}.bias", bias
    yield f"{name}.running_mean", np.zeros(width, np.float32)
    yield f"{name}.running_var", np.full(width, 1 - BATCH_NORM_EPSILON, np.float32)
    yield f"{name}.num_batches_tracked", np.array(0, np.int64)


def _check_resnet34(file: str, tensors: Mapping[str, Array]) -> None:
    layers = [*_resnet34_layers(), *_resnet34_shortcuts()]
    if len(tensors) != 6 * len(layers) + 2:
        _refuse_resnet34(file, f"{len(tensors)} tensors")
    for convolution, _norm, shape in layers:
        found = tensors[f"{convolution}.weight"].shape
        if found != shape:
            _refuse_resnet34(file, f"{convolution} of shape {found}")


def _refuse_resnet34(file: str, found: str) -> NoReturn:
    raise CatalogueError(f"{file} is not WeSpeaker's ResNet34 with folded batch norms: it has {found}.")
