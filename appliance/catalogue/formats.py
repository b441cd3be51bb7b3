"""Which files may be part of an installed model: formats that hold numbers and text, none that can carry code (TRAPS 13).

Looks at names and at the first bytes; that the content is the expected one is for the checksums to show.
"""

from __future__ import annotations

import ast
import json
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from appliance.errors import CatalogueError

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_CTRANSLATE2_SPECS = frozenset((b"WhisperSpec",))
_MAX_HEADER_BYTES = 100 * 2**20  # safetensors' own limit


def is_safe_name(name: str) -> bool:
    """Whether a name is a plain relative path of at most two folders: no '..', nothing hidden, nothing absolute."""
    parts = name.split("/")
    return len(parts) <= 3 and all(_PART.fullmatch(part) for part in parts)


def is_safe_suffix(name: str) -> bool:
    return PurePosixPath(name).suffix in _CHECKS


def check_format(path: Path) -> None:
    """Raise CatalogueError unless the file is what its name promises, in one of the accepted formats."""
    check = _CHECKS.get(path.suffix)
    if check is None:
        raise CatalogueError(f"{path.name} is of a format that can carry code; it was not installed.", _ACCEPTED)
    try:
        with path.open("rb") as file:
            sound = check(file)
    except (ValueError, SyntaxError, struct.error, zipfile.BadZipFile, EOFError):
        sound = False
    if not sound:
        raise CatalogueError(f"{path.name} is not a proper {path.suffix} file; it was not installed.", _ACCEPTED)


def _is_ctranslate2(file: IO[bytes]) -> bool:
    """A binary version, then the name of the model's kind with its length; a pickle or a zip begins otherwise."""
    version, length = struct.unpack("<IH", file.read(6))
    return 0 < version < 100 and length < 100 and file.read(length).rstrip(b"\0") in _CTRANSLATE2_SPECS


def _is_safetensors(file: IO[bytes]) -> bool:
    (length,) = struct.unpack("<Q", file.read(8))
    return length <= _MAX_HEADER_BYTES and isinstance(json.loads(file.read(length)), dict)


def _is_onnx(file: IO[bytes]) -> bool:
    return file.read(1) == b"\x08"  # the protobuf field `ir_version`, which every writer puts first


def _is_json(file: IO[bytes]) -> bool:
    json.load(file)
    return True


def _is_text(file: IO[bytes]) -> bool:
    while block := file.read(2**20):
        if b"\0" in block:
            return False
    return True


def _is_plain_arrays(file: IO[bytes]) -> bool:
    """A numpy archive of numbers only: an array of objects would be a pickle."""
    with zipfile.ZipFile(file) as archive:
        return all(_is_plain_array(archive, name) for name in archive.namelist())


def _is_plain_array(archive: zipfile.ZipFile, name: str) -> bool:
    with archive.open(name) as array:
        magic, length = struct.unpack("<8sH", array.read(10))
        header = ast.literal_eval(array.read(length).decode("latin-1"))
    return bool(magic == b"\x93NUMPY\x01\x00" and isinstance(header["descr"], str) and "O" not in header["descr"])


_CHECKS: Mapping[str, Callable[[IO[bytes]], bool]] = {
    ".bin": _is_ctranslate2,
    ".safetensors": _is_safetensors,
    ".onnx": _is_onnx,
    ".json": _is_json,
    ".txt": _is_text,
    ".npz": _is_plain_arrays,
}
_ACCEPTED = "Accepted are CTranslate2, safetensors, ONNX, plain numpy arrays, JSON and text."
