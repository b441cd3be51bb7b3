"""Whatever bytes a bundle and its lists are made of: they are read, or refused with a sentence; nothing else can happen."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.errors import UpdateRefused
from appliance.updates.bundle import TarBundle, read_lists
from appliance.updates.trust import verify
from tests.updates.making import Maker


@cache
def honest() -> tuple[bytes, bytes]:
    """A bundle, and the root that it is trusted from."""
    with TemporaryDirectory() as folder:
        maker = Maker(Path(folder))
        maker.release(1, files={"config.json": b"{}"})
        return maker.tar().read_bytes(), maker.anchor


class Reluctant(io.BytesIO):
    """Gives fewer bytes than asked for, as a pipe does."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size, 700) if size is not None and size > 0 else size)


changes = st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), max_size=8)


def changed(content: bytes, where: list[tuple[int, int]], length: int | None = None) -> bytes:
    altered = bytearray(content)
    for position, value in where:
        altered[position % len(altered)] = value
    return bytes(altered[:length])


@given(changes, st.one_of(st.none(), st.integers(0, 20_000)))
def test_a_changed_tar_is_read_or_refused(where: list[tuple[int, int]], length: int | None) -> None:
    content = changed(honest()[0], where, length)
    try:
        lists, contents = read_lists(TarBundle(Reluctant(content)).members())
        whole = sum(len(chunk) for member in contents for chunk in member.chunks)
    except UpdateRefused:
        return
    assert sum(map(len, lists.values())) + whole <= len(content)


@given(st.binary(max_size=3000))
def test_any_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(UpdateRefused) as refused:
        read_lists(TarBundle(io.BytesIO(content)).members())
    assert refused.value.hint


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["timestamp.json", "1.snapshot.json", "1.targets.json"]), changes.filter(bool))
def test_a_changed_list_is_refused_or_the_same(name: str, where: list[tuple[int, int]]) -> None:
    """What is believed in the end is what was signed, whatever was changed on the way."""
    content, anchor = honest()
    lists, _ = read_lists(TarBundle(io.BytesIO(content)).members())
    lists[name] = changed(lists[name], where)
    with TemporaryDirectory() as state:
        try:
            targets = verify(lists, Path(state), anchor)
        except UpdateRefused:
            return
    untouched, _ = read_lists(TarBundle(io.BytesIO(content)).members())
    with TemporaryDirectory() as state:
        assert targets == verify(untouched, Path(state), anchor)
