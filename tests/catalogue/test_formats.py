"""TRAPS 13: an imported model must not be code."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.catalogue.formats import check_format, is_safe_name
from appliance.errors import CatalogueError
from tests.catalogue.stand_ins import weights


def npz(**arrays: Any) -> bytes:
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    return packed.getvalue()


def zip_with(name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, b"cos\nsystem\n(S'true'\ntR.")
    return packed.getvalue()


SAFETENSORS = struct.pack("<Q", 2) + b"{}"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.bin", weights(100)),
        ("segmentation.safetensors", SAFETENSORS),
        ("config.json", b'{"a": 1}'),
        ("vocabulary.txt", "hello\nwörld".encode()),
        ("model.onnx", b"\x08\x08rest"),
        ("plda.npz", npz(mean=np.zeros(3), matrix=np.eye(2))),
    ],
)
def test_safe_formats_are_accepted(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    check_format(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.bin", pickle.dumps({"weights": [1.0]})),
        ("model.bin", zip_with("archive/data.pkl")),
        ("model.bin", b""),
        ("model.bin", struct.pack("<IH", 6, 12) + b"BackdoorSpec"),
        ("segmentation.safetensors", pickle.dumps([1])),
        ("segmentation.safetensors", struct.pack("<Q", 2**62) + b"{}"),
        ("config.json", b"__import__('os')"),
        ("vocabulary.txt", b"a\0b"),
        ("model.onnx", pickle.dumps([1])),
        ("plda.npz", npz(objects=np.array([{"a": 1}], dtype=object))),
        ("plda.npz", zip_with("archive/data.pkl")),
        ("weights.pt", SAFETENSORS),
        ("tokenizer.py", b"print()"),
        ("model.so", b"\x7fELF"),
        ("noext", b""),
    ],
)
def test_what_can_carry_code_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CatalogueError, match="it was not installed"):
        check_format(tmp_path / name)


@settings(max_examples=50)
@given(st.binary(max_size=64), st.sampled_from(["a.bin", "a.safetensors", "a.json", "a.txt", "a.onnx", "a.npz", "a.pkl"]))
def test_any_bytes_are_accepted_or_refused_with_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    with suppress(CatalogueError):
        check_format(path)
        assert name != "a.pkl"
        assert name != "a.json" or json.loads(content) != Ellipsis
        assert not content.startswith(b"\x80\x04") or name == "a.txt"


@pytest.mark.parametrize("name", ["model.bin", "plda/plda.npz", "vocabulary.txt"])
def test_plain_names_are_safe(name: str) -> None:
    assert is_safe_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/x", "a//b", "a/../b", "a/./b", "a\\b", ".x", "a/.x", "a b", "a\0", "a/b/c/d", "x\n"]
)
def test_names_that_lead_elsewhere_are_not(name: str) -> None:
    """TRAPS 14"""
    assert not is_safe_name(name)
