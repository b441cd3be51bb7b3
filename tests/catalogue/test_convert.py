"""Converting published diarization weights: nothing in them is executed, and every tensor lands under its right name."""

from __future__ import annotations

import enum
import json
import os
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from safetensors.numpy import load_file

from appliance.catalogue import convert
from appliance.errors import CatalogueError

pytestmark = pytest.mark.slow  # torch


class Problem(enum.Enum):
    MONO_LABEL_CLASSIFICATION = 1


class Resolution(enum.Enum):
    FRAME = 1


class Specifications:
    def __init__(self) -> None:
        self.problem = Problem.MONO_LABEL_CLASSIFICATION
        self.resolution = Resolution.FRAME
        self.duration = 10.0
        self.classes = ["speaker#1", "speaker#2"]
        self.powerset_max_classes = 2
        self.powerset = True  # a cached property of the real one, of no use to us


@pytest.fixture
def pyannote_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the classes above pickle under the names they have in a real checkpoint, without importing pyannote."""
    name = "pyannote.audio.core.task"
    module = types.ModuleType(name)
    for member in (Problem, Resolution, Specifications):
        setattr(module, member.__name__, member)
        monkeypatch.setattr(member, "__module__", name)
    for part in ("pyannote", "pyannote.audio", "pyannote.audio.core"):
        monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
    monkeypatch.setitem(sys.modules, name, module)


def checkpoint_of(state: dict[str, torch.Tensor], architecture: str = "PyanNet") -> dict[str, Any]:
    return {
        "state_dict": state,
        "hyper_parameters": {"sample_rate": 16000, "lstm": {"hidden_size": 128}},
        "pyannote.audio": {
            "versions": {"torch": torch.__version__},
            "architecture": {"module": "pyannote.audio.models.segmentation.PyanNet", "class": architecture},
            "specifications": Specifications(),
        },
    }


def save_pickle(path: Path, payload: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
    return path


@pytest.mark.usefixtures("pyannote_names")
def test_a_checkpoint_becomes_tensors_and_a_description(tmp_path: Path) -> None:
    state = {"b.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.5]), "n": torch.tensor(7)}
    torch.save(checkpoint_of(state), tmp_path / "pytorch_model.bin")

    convert.convert_segmentation(tmp_path / "pytorch_model.bin", tmp_path)

    tensors = load_file(tmp_path / "segmentation.safetensors")
    assert set(tensors) == set(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(tensors[name], tensor.numpy())
    description = json.loads((tmp_path / "segmentation.json").read_text())
    assert description["architecture"] == "PyanNet"
    assert description["hyper_parameters"] == {"sample_rate": 16000, "lstm": {"hidden_size": 128}}
    assert description["specifications"] == {
        "problem": "MONO_LABEL_CLASSIFICATION",
        "resolution": "FRAME",
        "duration": 10.0,
        "classes": ["speaker#1", "speaker#2"],
        "powerset_max_classes": 2,
    }


@pytest.mark.usefixtures("pyannote_names")
def test_tensors_that_share_storage_are_cut_out_of_it(tmp_path: Path) -> None:
    whole = torch.arange(10.0)
    torch.save(checkpoint_of({"head": whole[:4], "tail": whole[4:].reshape(2, 3)}), tmp_path / "m.bin")

    state = convert.read_checkpoint(tmp_path / "m.bin")["state_dict"]

    np.testing.assert_array_equal(state["head"], [0, 1, 2, 3])
    np.testing.assert_array_equal(state["tail"], [[4, 5, 6], [7, 8, 9]])


@pytest.mark.usefixtures("pyannote_names")
def test_a_transposed_tensor_is_refused_rather_than_misread(tmp_path: Path) -> None:
    torch.save(checkpoint_of({"t": torch.arange(6.0).reshape(2, 3).T}), tmp_path / "m.bin")
    with pytest.raises(CatalogueError, match="unusual layout"):
        convert.read_checkpoint(tmp_path / "m.bin")


class Attack:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def test_code_in_a_checkpoint_is_named_and_not_run(tmp_path: Path) -> None:
    """TRAPS 13: a pickle is a program."""
    marker = tmp_path / "was-here"
    payload = pickle.dumps({"state_dict": Attack(marker)})
    pickle.loads(payload)
    assert marker.is_dir(), "the attack works where pickles are trusted"
    marker.rmdir()

    with pytest.raises(CatalogueError, match=r"posix\.mkdir"):
        convert.read_checkpoint(save_pickle(tmp_path / "m.bin", payload))
    assert not marker.exists()


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x80\x02", b"\x80\x02}", b"garbage", b"\x80\x02]q\x00."],
    ids=["empty", "header only", "cut", "garbage", "a list"],
)
def test_a_broken_pickle_is_a_plain_error(tmp_path: Path, payload: bytes) -> None:
    with pytest.raises(CatalogueError, match=r"m\.bin is not a torch checkpoint"):
        convert.read_checkpoint(save_pickle(tmp_path / "m.bin", payload))


def test_a_file_that_is_no_archive_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"not a zip")
    with pytest.raises(CatalogueError, match=r"m\.bin is not a torch checkpoint"):
        convert.convert_segmentation(tmp_path / "m.bin", tmp_path)


def test_a_checkpoint_of_something_else_is_a_plain_error(tmp_path: Path) -> None:
    path = save_pickle(tmp_path / "m.bin", pickle.dumps({"state_dict": {}}))
    with pytest.raises(CatalogueError, match="not a pyannote checkpoint"):
        convert.convert_segmentation(path, tmp_path)


@pytest.mark.usefixtures("pyannote_names")
def test_another_architecture_is_refused(tmp_path: Path) -> None:
    torch.save(checkpoint_of({}, architecture="SSeRiouSS"), tmp_path / "m.bin")
    with pytest.raises(CatalogueError, match="SSeRiouSS"):
        convert.convert_segmentation(tmp_path / "m.bin", tmp_path)


def test_an_unpacking_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "MAX_CHECKPOINT_BYTES", 1 << 20)
    path = tmp_path / "m.bin"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2 << 20))
    with pytest.raises(CatalogueError, match="more than 1 MiB"):
        convert.read_checkpoint(path)


# --- the embedding ----------------------------------------------------------------------------------------------------


def onnx_resnet34(path: Path, *, shortcut_first: bool, blocks: tuple[int, ...] = (3, 4, 6, 3)) -> Path:
    """Only the nodes that carry weights; each bias holds the number of its convolution, in the order of the graph."""
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def convolution(name: str, out: int, into: int, size: int) -> None:
        number = len(nodes)
        nodes.append(helper.make_node("Conv", ["x", f"{name}.w", f"{name}.b"], [name]))
        weights.append(numpy_helper.from_array(np.zeros((out, into, size, size), np.float32), f"{name}.w"))
        weights.append(numpy_helper.from_array(np.full(out, number, np.float32), f"{name}.b"))

    convolution("first", 32, 1, 3)
    width = 32
    for layer, count in enumerate(blocks):
        for block in range(count):
            out, name = 32 << layer, f"{layer}.{block}"
            steps = [(f"{name}.2", out, out, 3)]
            if out != width:
                steps.insert(0 if shortcut_first else 1, (f"{name}.s", out, width, 1))
            for step in [(f"{name}.1", out, width, 3), *steps]:
                convolution(*step)
            width = out
    nodes.append(helper.make_node("Gemm", ["x", "seg.w", "seg.b"], ["y"], transB=1))
    weights.append(numpy_helper.from_array(np.zeros((256, 5120), np.float32), "seg.w"))
    weights.append(numpy_helper.from_array(np.zeros(256, np.float32), "seg.b"))
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [], [], weights)), str(path))
    return path


@pytest.mark.parametrize("shortcut_first", [True, False])
def test_each_convolution_gets_its_name_wherever_the_export_put_the_shortcuts(tmp_path: Path, shortcut_first: bool) -> None:
    convert.convert_embedding(onnx_resnet34(tmp_path / "m.onnx", shortcut_first=shortcut_first), tmp_path)

    tensors = load_file(tmp_path / "embedding.safetensors")
    numbers = {
        name: int(value[0]) for name, value in tensors.items() if name.endswith(("bn1.bias", "bn2.bias", "1.bias")) and value.ndim
    }
    assert numbers["resnet.bn1.bias"] == 0
    assert numbers["resnet.layer1.2.bn2.bias"] == 6
    second, shortcut = (9, 8) if shortcut_first else (8, 9)
    assert numbers["resnet.layer2.0.bn2.bias"] == second
    assert numbers["resnet.layer2.0.shortcut.1.bias"] == shortcut
    assert numbers["resnet.layer4.2.bn2.bias"] == 35


def test_the_norms_of_the_result_only_add_the_folded_bias(tmp_path: Path) -> None:
    convert.convert_embedding(onnx_resnet34(tmp_path / "m.onnx", shortcut_first=True), tmp_path)
    tensors = load_file(tmp_path / "embedding.safetensors")
    scale = tensors["resnet.bn1.weight"] / np.sqrt(tensors["resnet.bn1.running_var"] + np.float32(1e-5))
    np.testing.assert_allclose(scale, 1, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(tensors["resnet.bn1.running_mean"], 0)


def test_another_network_is_refused(tmp_path: Path) -> None:
    path = onnx_resnet34(tmp_path / "m.onnx", shortcut_first=True, blocks=(2, 2, 2, 2))
    with pytest.raises(CatalogueError, match="not WeSpeaker's ResNet34"):
        convert.convert_embedding(path, tmp_path)


def test_a_file_that_is_no_onnx_model_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\xff" * 64)
    with pytest.raises(CatalogueError, match=r"m\.onnx is not"):
        convert.convert_embedding(tmp_path / "m.onnx", tmp_path)


def test_converting_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    source = onnx_resnet34(tmp_path / "m.onnx", shortcut_first=True)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        convert.convert_embedding(source, tmp_path / folder)
        convert.write_pipeline(tmp_path / folder)
    for name in ("embedding.safetensors", "embedding.json", "pipeline.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
