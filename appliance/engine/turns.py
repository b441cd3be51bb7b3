"""From what each chunk heard to who spoke when: overlapping chunks are added up on one grid of frames.

Pure numpy. The sums and roundings are those of pyannote.audio's SpeakerDiarization, done with counters of one or two
bytes and in place, so that eight hours fit into tens of megabytes. What a speaker is, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from appliance.domain import Turn, Value

Activity = NDArray[np.uint8]  # (chunks, frames, slots): 1 where that slot's speaker talks
Clusters = NDArray[np.intp]  # (chunks, slots): number of the speaker, SILENT where the slot never talks
Counts = NDArray[np.uint8]  # (frames of the recording,): how many people talk

SILENT = -1


class FrameGrid(Value, frozen=True):
    """Where the frames of each chunk lie in the recording."""

    chunk_s: float
    chunk_step_s: float
    frame_s: float
    frame_step_s: float

    def first_frame(self, chunk: int) -> int:
        return round(chunk * self.chunk_step_s / self.frame_step_s)

    def total_frames(self, chunks: int) -> int:
        return round((self.chunk_s + (chunks - 1) * self.chunk_step_s) / self.frame_step_s) + 1

    def middle_s(self, frame: int) -> float:
        return frame * self.frame_step_s + self.frame_s / 2


def count_speakers(activity: Activity, grid: FrameGrid) -> Counts:
    """How many people talk in each frame: the mean over the chunks that cover it, rounded."""
    chunks, frames, _slots = activity.shape
    talking = np.zeros(grid.total_frames(chunks), np.float32)
    covered = np.zeros_like(talking)
    for chunk in range(chunks):
        first = grid.first_frame(chunk)
        talking[first : first + frames] += activity[chunk].sum(axis=1)
        covered[first : first + frames] += 1
    counts: Counts = np.rint(talking / np.maximum(covered, 1)).astype(np.uint8)
    return counts


def add_up(activity: Activity, clusters: Clusters, grid: FrameGrid) -> NDArray[np.int16]:
    """In how many chunks each speaker was heard in each frame: (frames of the recording, speakers)."""
    chunks, frames, _slots = activity.shape
    votes = np.zeros((grid.total_frames(chunks), clusters.max() + 1), np.int16)
    for chunk in range(chunks):
        first = grid.first_frame(chunk)
        for cluster in set(clusters[chunk].tolist()) - {SILENT}:
            heard = activity[chunk][:, clusters[chunk] == cluster].max(axis=1)
            votes[first : first + frames, cluster] += heard
    return votes


def loudest(votes: NDArray[np.int16], counts: Counts) -> NDArray[np.bool_]:
    """The `counts` speakers with most votes in each frame; of equals, the one with the smaller number."""
    left = votes.copy()
    chosen = np.zeros(votes.shape, bool)
    for rank in range(min(int(counts.max(initial=0)), votes.shape[1])):
        frames = np.flatnonzero(counts > rank)
        best = left[frames].argmax(axis=1)
        chosen[frames, best] = True
        left[frames, best] = -1
    return chosen


def label_turns(chosen: NDArray[np.bool_], grid: FrameGrid, duration_s: float, names: dict[int, str]) -> tuple[Turn, ...]:
    """Stretches of frames as turns, ordered by start. `names` gains a label for each new speaker, in order of first speech."""
    stretches = sorted(
        (start, end, speaker)
        for speaker in range(chosen.shape[1])
        for start, end in _stretches(chosen[:, speaker], grid, duration_s)
    )
    for _start, _end, speaker in stretches:
        names.setdefault(speaker, f"SPEAKER_{len(names):02d}")
    return tuple(Turn(start=start, end=end, speaker=names[speaker]) for start, end, speaker in stretches)


def _stretches(active: NDArray[np.bool_], grid: FrameGrid, duration_s: float) -> Iterator[tuple[float, float]]:
    """Start and end, in seconds, of each run of True; nothing goes on beyond the recording."""
    edges = np.flatnonzero(np.diff(active.astype(np.int8), prepend=0, append=0))
    for first, after in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        start = grid.middle_s(first)
        end = min(grid.middle_s(min(after, len(active) - 1)), duration_s)
        if start < end:
            yield round(start, 3), round(end, 3)
