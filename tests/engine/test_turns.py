"""Chunks that overlap become one list of turns."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from appliance.domain import Turn
from appliance.engine.turns import SILENT, FrameGrid, add_up, count_speakers, label_turns, loudest

SEGMENTATION_GRID = FrameGrid(chunk_s=10.0, chunk_step_s=1.0, frame_s=0.0619375, frame_step_s=0.016875)
SMALL_GRID = FrameGrid(chunk_s=4.0, chunk_step_s=2.0, frame_s=1.0, frame_step_s=1.0)  # 4 frames a chunk, 2 further each


def activity(*chunks: list[list[int]]) -> NDArray[np.uint8]:
    """Each chunk as a list of slots, each slot as its frames."""
    return np.array(chunks, np.uint8).transpose(0, 2, 1)


def test_chunks_that_overlap_vote_on_how_many_talk() -> None:
    first, second = [[1, 1, 1, 1], [0, 0, 1, 1]], [[1, 1, 0, 0], [0, 0, 0, 0]]
    counts = count_speakers(activity(first, second), SMALL_GRID)
    assert counts.tolist() == [1, 1, 2, 2, 0, 0, 0]  # (2 + 1) / 2 rounds to 2


def test_a_chunk_starts_at_the_nearest_frame() -> None:
    assert [SEGMENTATION_GRID.first_frame(chunk) for chunk in (0, 1, 2, 3600)] == [0, 59, 119, 213333]
    assert SEGMENTATION_GRID.total_frames(1) == 594


def test_slots_of_one_speaker_are_one_voice() -> None:
    votes = add_up(activity([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]), np.array([[0, 0, 1]]), SMALL_GRID)
    assert votes.T.tolist() == [[1, 1, 1, 0, 0], [0, 0, 0, 1, 0]]


def test_silent_slots_belong_to_nobody() -> None:
    votes = add_up(activity([[1, 1, 1, 1], [0, 0, 0, 0]]), np.array([[0, SILENT]]), SMALL_GRID)
    assert votes.shape == (5, 1)


def test_the_loudest_are_chosen_and_the_first_of_equals() -> None:
    votes = np.array([[3, 5, 1], [2, 2, 2], [0, 0, 7], [4, 4, 1]], np.int16)
    chosen = loudest(votes, np.array([1, 2, 0, 1], np.uint8))
    assert chosen.tolist() == [[False, True, False], [True, True, False], [False, False, False], [True, False, False]]


def test_no_more_speakers_than_there_are() -> None:
    assert loudest(np.array([[5]], np.int16), np.array([2], np.uint8)).tolist() == [[True]]


def test_turns_end_with_the_recording() -> None:
    names: dict[int, str] = {}
    chosen = np.array([[True], [True], [True], [True], [True]])
    assert label_turns(chosen, SMALL_GRID, 2.25, names) == (Turn(start=0.5, end=2.25, speaker="SPEAKER_00"),)
    assert label_turns(chosen[::-1] & False, SMALL_GRID, 2.25, names) == ()


def test_labels_follow_the_order_of_first_speech() -> None:
    chosen = np.array([[0, 0, 0], [0, 0, 1], [1, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]], bool)
    names: dict[int, str] = {}
    turns = label_turns(chosen, SMALL_GRID, 6.0, names)
    assert [(turn.start, turn.end, turn.speaker) for turn in turns] == [
        (1.5, 3.5, "SPEAKER_00"),
        (2.5, 4.5, "SPEAKER_01"),
        (4.5, 5.5, "SPEAKER_02"),
    ]
    assert names == {2: "SPEAKER_00", 0: "SPEAKER_01", 1: "SPEAKER_02"}


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=30), st.data())
def test_as_many_are_chosen_as_were_counted(rows: list[list[int]], data: st.DataObject) -> None:
    votes = np.array(rows, np.int16)
    counts = np.array([data.draw(st.integers(0, 3)) for _ in rows], np.uint8)
    chosen = loudest(votes, counts)
    assert chosen.sum(axis=1).tolist() == counts.tolist()
    for row, picked in zip(votes, chosen, strict=True):
        if picked.any() and not picked.all():
            assert row[picked].min() >= row[~picked].max()


def test_an_hour_needs_little_memory() -> None:
    """TRAPS 20, PAINS 11: the library's way takes 68 MB for this hour and four speakers, and as much again per four more."""
    chunks = 3591
    heard = np.zeros((chunks, 589, 3), np.uint8)
    heard[:, ::2] = 1
    clusters = np.arange(chunks * 3, dtype=np.intp).reshape(chunks, 3) % 4
    tracemalloc.start()
    counts = count_speakers(heard, SEGMENTATION_GRID)
    chosen = loudest(add_up(heard, clusters, SEGMENTATION_GRID), counts)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert chosen.any()
    assert peak_bytes < 25e6


@pytest.mark.parametrize("frame", [0, 1, 593])
def test_a_single_frame_is_a_turn_as_long_as_a_step(frame: int) -> None:
    chosen = np.zeros((594, 1), bool)
    chosen[frame] = True
    turns = label_turns(chosen, SEGMENTATION_GRID, 10.0, {})
    for turn in turns:
        assert 0 < turn.end - turn.start < 0.06
    assert len(turns) == (frame < 593)  # the last frame has no successor, and lies behind the recording
