"""How far a job is and how long it will take, from what this machine needed before.

`Speeds` remembers; a `Meter` measures one job against it. Shares and estimates come from measured real-time factors, so a
diarization that takes most of the time also takes most of the bar.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import PurePath

from appliance.domain import JobState, Progress, Stage

_NEWS = 0.3  # weight of the newest measurement of a minute of audio or more
_LITTLE_S = 60.0  # shorter audio says less about the speed
_CPU_FACTORS = {"decode": 0.005, "recognize": 0.3, "diarize": 0.4}  # seconds of work per second of audio, before any measurement
_GPU_FACTORS = {"decode": 0.005, "recognize": 0.02, "diarize": 0.03}
_SAVE_SHARE = 0.01
_RATES_BYTES_S = {".wav": 176_400.0, ".flac": 80_000.0, ".aiff": 176_400.0, ".opus": 4_000.0, ".amr": 1_600.0, ".mp4": 200_000.0}
_USUAL_RATE_BYTES_S = 16_000.0  # MP3 and AAC at 128 kbit/s


class Speeds:
    """Rolling real-time factors of this process, and bytes per second of audio by kind of file."""

    def __init__(self, *, gpu: bool) -> None:
        self._factors = dict(_GPU_FACTORS if gpu else _CPU_FACTORS)
        self._rates_bytes_s = dict(_RATES_BYTES_S)

    def decode(self) -> float:
        return self._factors["decode"]

    def recognize(self, model: str) -> float:
        return self._factors.get(f"recognize {model}", self._factors["recognize"])

    def diarize(self) -> float:
        return self._factors["diarize"]

    def learn_decode(self, seconds: float, audio_s: float) -> None:
        self._learn("decode", seconds, audio_s, self.decode())

    def learn_recognize(self, model: str, seconds: float, audio_s: float) -> None:
        self._learn(f"recognize {model}", seconds, audio_s, self.recognize(model))

    def learn_diarize(self, seconds: float, audio_s: float) -> None:
        self._learn("diarize", seconds, audio_s, self.diarize())

    def _learn(self, key: str, seconds: float, audio_s: float, before: float) -> None:
        if audio_s > 0:
            weight = _NEWS * min(1.0, audio_s / _LITTLE_S)
            self._factors[key] = (1 - weight) * before + weight * seconds / audio_s

    def guess_duration(self, filename: str, size_bytes: int) -> float:
        """Seconds of audio in a file that nobody has opened yet."""
        return size_bytes / self._rates_bytes_s.get(PurePath(filename).suffix.lower(), _USUAL_RATE_BYTES_S)

    def guess_work(self, audio_s: float, models: Sequence[str], *, diarize: bool) -> float:
        """Seconds from the start of decoding to saved."""
        recognition = sum(self.recognize(model) for model in models)
        return audio_s * (self.decode() + max(recognition, self.diarize() if diarize else 0.0))


class Meter:
    """One job's progress. Its fraction never falls, also when the work begins again after a crash."""

    def __init__(
        self, speeds: Speeds, models: Sequence[str], *, diarize: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._decode = speeds.decode()
        self._recognize = [speeds.recognize(model) for model in models]
        self._diarize = speeds.diarize() if diarize else 0.0
        self._decoded = 0.0
        self._recognized = [0.0] * len(models)
        self._diarized = 0.0
        self._stage = Stage.DECODE
        self._shown = 0.0
        self._duration: float | None = None
        self._hearing_since: float | None = None
        self._left_before = 0.0  # expected work, when the hearing began (again)

    def decoding(self, fraction: float) -> None:
        self._decoded = fraction

    def decoded(self, duration: float) -> None:
        """Recognition and diarization begin."""
        self._decoded, self._duration = 1.0, duration
        self._begin_hearing()

    def recognizing(self, model_number: int, stage: Stage, fraction: float) -> None:
        self._recognized[model_number] = fraction
        self._stage = stage

    def diarizing(self, fraction: float) -> None:
        self._diarized = fraction

    def start_over(self, model_number: int) -> None:
        """A worker died: this recognition begins again."""
        self._recognized[model_number] = 0.0
        self._begin_hearing()

    def saving(self) -> None:
        self._stage = Stage.SAVE
        self._recognized, self._diarized = [1.0] * len(self._recognized), 1.0

    def progress(self) -> Progress:
        hearing = max(sum(self._recognize), self._diarize)
        done = self._decode * self._decoded + (hearing - self._hearing_left() if self._duration is not None else 0.0)
        fraction = (1 - _SAVE_SHARE) * done / (self._decode + hearing)
        self._shown = max(self._shown, min(fraction, 1 - _SAVE_SHARE))
        return Progress(state=JobState.PROCESSING, stage=self._visible_stage(), fraction=self._shown, eta_s=self._eta_s())

    def _begin_hearing(self) -> None:
        self._hearing_since, self._left_before = self._clock(), self._hearing_left()

    def _recognition_left(self) -> float:
        return sum(factor * (1 - done) for factor, done in zip(self._recognize, self._recognized, strict=True))

    def _diarization_left(self) -> float:
        return self._diarize * (1 - self._diarized)

    def _hearing_left(self) -> float:
        """Expected seconds per second of audio: the two run beside each other, the slower one counts."""
        return max(self._recognition_left(), self._diarization_left())

    def _visible_stage(self) -> Stage:
        if self._stage in (Stage.DECODE, Stage.SAVE):
            return Stage.DECODE if self._duration is None else self._stage if self._stage is Stage.SAVE else Stage.DETECT
        return Stage.DIARIZE if self._diarization_left() > self._recognition_left() else self._stage

    def _eta_s(self) -> float | None:
        if self._duration is None or self._hearing_since is None:
            return None
        left = self._hearing_left()
        done = self._left_before - left
        expected_s = left * self._duration
        if done <= 0:
            return round(expected_s, 1)
        # How this job really goes counts the more, the more of it is done.
        measured_s = left * (self._clock() - self._hearing_since) / done
        trust = min(1.0, 2 * done / self._left_before)
        return round((1 - trust) * expected_s + trust * measured_s, 1)
