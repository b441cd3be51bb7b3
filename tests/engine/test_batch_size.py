"""How large a batch may be, reckoned for devices and models that this machine has not, and read from one that it has."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from appliance.catalogue import Catalogue, Shelf
from appliance.engine.batch_size import CPU_WINDOWS, GPU_WINDOWS, BatchLimits, ModelShape, read_shape
from appliance.errors import ModelNotInstalled
from appliance.settings import Settings

GIB = 2**30
NO_SETTINGS: dict[str, Any] = {}
# As published: parameters, decoder layers, width.
SHAPES = {
    "whisper-tiny.en": ModelShape(37_760_640, 4, 384),
    "whisper-tiny": ModelShape(37_760_640, 4, 384),
    "whisper-base": ModelShape(72_593_920, 6, 512),
    "whisper-small": ModelShape(241_734_912, 12, 768),
    "whisper-medium": ModelShape(763_857_920, 24, 1024),
    "whisper-large-v3-turbo": ModelShape(808_878_080, 4, 1280),
    "whisper-large-v3": ModelShape(1_543_490_560, 32, 1280),
    "distil-large-v3": ModelShape(756_220_160, 2, 1280),
}
LARGE = SHAPES["whisper-large-v3"]


def write_model(folder: Path, shape: ModelShape) -> Path:
    """A `model.bin` with the shapes of a model, and one byte of content for each."""
    rest = shape.parameters - shape.width - shape.layers
    variables = [("decoder/embeddings/weight", (1, shape.width)), ("decoder/layer_norm/gamma", (rest,))]
    variables += [(f"decoder/layer_{n}/ffn/bias", (1,)) for n in range(shape.layers)]
    content = struct.pack("<I", 6) + _name("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, dimensions in variables:
        content += (
            _name(name) + struct.pack(f"<B{len(dimensions)}I", len(dimensions), *dimensions) + struct.pack("<BI", 4, 1) + b"x"
        )
    folder.mkdir()
    (folder / "model.bin").write_bytes(content)
    return folder


def _name(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def test_a_window_of_the_largest_model_is_reckoned_as_its_parts() -> None:
    crossed, text, scores = 245_760_000, 367_001_600, 90_000_000
    assert LARGE.window_bytes("float16") == crossed + text + scores
    assert LARGE.window_bytes("float32") == 2 * LARGE.window_bytes("int8_float16")
    assert [LARGE.weight_bytes(kind) // 10**8 for kind in ("float16", "int8_float16", "float32")] == [30, 15, 61]


@pytest.mark.parametrize(
    ("gib", "compute_type", "windows"),
    [(4, "float16", 1), (8, "float16", 4), (8, "int8_float16", 6), (12, "float16", 10), (24, "float16", 24), (139, "float16", 24)],
)
def test_the_batch_suits_the_device(tmp_path: Path, gib: int, compute_type: str, windows: int) -> None:
    model = write_model(tmp_path / "large", LARGE)
    assert BatchLimits(memory_bytes=gib * GIB).fitting([model], "cuda", compute_type) == windows


def test_a_second_model_in_memory_leaves_less_room(tmp_path: Path) -> None:
    large, small = write_model(tmp_path / "large", LARGE), write_model(tmp_path / "small", SHAPES["whisper-small"])
    limits = BatchLimits(memory_bytes=12 * GIB)
    assert limits.fitting([small], "cuda", "float16") == GPU_WINDOWS
    assert limits.fitting([small, large], "cuda", "float16") == limits.fitting([large], "cuda", "float16") - 1


def test_what_the_operator_chose_is_not_doubted_but_halved_after_a_death(tmp_path: Path) -> None:
    model = write_model(tmp_path / "large", LARGE)
    assert BatchLimits(16, 8 * GIB).fitting([model], "cuda", "float16") == 16
    assert BatchLimits(16, 8 * GIB, 2).fitting([model], "cuda", "float16") == 8
    assert BatchLimits(0, 8 * GIB, 2).fitting([model], "cuda", "float16") == 2
    assert BatchLimits(0, 8 * GIB, 32).fitting([model], "cuda", "float16") == 1


def test_what_cannot_be_reckoned_is_as_usual(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"another format")
    assert BatchLimits(memory_bytes=4 * GIB).fitting([tmp_path], "cuda", "float16") == GPU_WINDOWS
    assert BatchLimits().fitting([tmp_path], "cpu", "int8") == CPU_WINDOWS


def test_the_shape_is_read_from_a_real_model() -> None:
    settings = Settings(**NO_SETTINGS)
    try:
        folder = Shelf(Catalogue.load(settings.catalogue_dir), settings.models_dir).path("whisper-base")
    except ModelNotInstalled as error:
        pytest.skip(f"{error.message} {error.hint}")
    read, published = read_shape(folder / "model.bin"), SHAPES["whisper-base"]
    assert (read.layers, read.width) == (published.layers, published.width)
    assert read.parameters == pytest.approx(published.parameters, rel=0.02)


@pytest.mark.parametrize("name", SHAPES)
def test_the_catalogue_names_enough_memory_for_a_batch_of_four(name: str) -> None:
    model = Catalogue.load(Settings(**NO_SETTINGS).catalogue_dir).find(name)
    assert model
    needed_bytes = SHAPES[name].weight_bytes("float16") + 4 * SHAPES[name].window_bytes("float16")
    assert needed_bytes <= model.memory_bytes


def test_every_recognition_model_of_the_catalogue_is_reckoned_here() -> None:
    catalogue = Catalogue.load(Settings(**NO_SETTINGS).catalogue_dir)
    assert {model.id for model in catalogue.models.values() if model.kind == "recognition"} == set(SHAPES)
