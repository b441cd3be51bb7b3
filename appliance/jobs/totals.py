"""What the jobs of this process came to, added up for the metrics."""

from __future__ import annotations

from collections import Counter

from appliance.domain import JobState, Stage, Value
from appliance.jobs.feed import Timings


class JobsSnapshot(Value, frozen=True):
    """Now, and since the process started."""

    queued: int
    running: int
    oldest_queued_age_s: float
    draining: bool
    ended: dict[JobState, int]
    stage_s: dict[Stage, float]  # of completed jobs
    received_s: float  # of audio that was decoded, whatever became of it
    audio_s: float  # of completed jobs
    work_s: float  # from decoding to saved, of completed jobs


class Totals:
    def __init__(self) -> None:
        self._ended: Counter[JobState] = Counter()
        self._stage_s = dict.fromkeys(Stage, 0.0)
        self._received_s = 0.0
        self._audio_s = 0.0
        self._work_s = 0.0

    def receive(self, audio_s: float) -> None:
        """A recording was decoded."""
        self._received_s += audio_s

    def count(self, state: JobState, timings: Timings | None) -> None:
        """A job ended; `timings` only when it was completed."""
        self._ended[state] += 1
        if timings is None:
            return
        self._audio_s += timings.audio_s
        self._work_s += timings.total_s
        for stage, seconds in _by_stage(timings).items():
            self._stage_s[stage] += seconds or 0.0

    def snapshot(self, *, queued: int, running: int, oldest_queued_age_s: float, draining: bool) -> JobsSnapshot:
        return JobsSnapshot(
            queued=queued,
            running=running,
            oldest_queued_age_s=oldest_queued_age_s,
            draining=draining,
            ended={state: self._ended[state] for state in JobState if state.is_final},
            stage_s=dict(self._stage_s),
            received_s=self._received_s,
            audio_s=self._audio_s,
            work_s=self._work_s,
        )


def _by_stage(timings: Timings) -> dict[Stage, float | None]:
    return {
        Stage.DECODE: timings.decode_s,
        Stage.DETECT: timings.detect_s,
        Stage.RECOGNIZE: timings.recognize_s,
        Stage.DIARIZE: timings.diarize_s,
        Stage.SAVE: timings.save_s,
    }
