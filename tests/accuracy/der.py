"""Diarization error rate of the appliance beside plain pyannote.audio with the same weights, per conversation.

`python -m tests.accuracy.der` prints the table. The reference is people's labels (RTTM), no collar, overlap counted. Plain
results are kept under ~/.cache/appliance/accuracy, since the stock pipeline is slow on a CPU.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pyannote.audio.core.plda import PLDA
from pyannote.audio.pipelines import SpeakerDiarization
from pyannote.core import Annotation, Segment
from pyannote.core import Timeline as PyannoteTimeline
from pyannote.database.util import load_rttm
from pyannote.metrics.diarization import DiarizationErrorRate

from appliance.domain import SpeakerCount, Turn
from appliance.engine import diarizer
from tests.recordings import SAMPLE_RATE_HZ, SHARED_AUDIO, manifest, read_samples

SETS = ("ami_excerpts", "pyannote_sample", "picovoice", "sim_conversations")
PLDA_DIR = SHARED_AUDIO.parent / "weights" / "plda"
PLAIN_RESULTS = Path.home() / ".cache" / "appliance" / "accuracy"
PLAIN_BATCH_SIZE = 32  # as in the published configuration

Samples = NDArray[np.int16]


def conversations() -> list[dict[str, Any]]:
    """Entries of the manifest that have people's labels."""
    return [entry for entry in manifest() if entry["set"] in SETS and entry["rttm"]]


def reference(entry: dict[str, Any]) -> Annotation:
    (annotation,) = load_rttm(SHARED_AUDIO / entry["rttm"]).values()
    return annotation


def error_rate(entry: dict[str, Any], turns: Iterable[Turn]) -> float:
    """Per cent of the reference's speech."""
    hypothesis = Annotation()
    for number, turn in enumerate(turns):
        hypothesis[Segment(turn.start, turn.end), number] = turn.speaker
    whole = PyannoteTimeline([Segment(0, entry["duration_s"])])
    return 100 * float(DiarizationErrorRate()(reference(entry), hypothesis, uem=whole))


class _OncePerChunk:
    """Stands before the stock embedding: equal waveforms of a batch pass the network once. Saves time, changes no number
    (`test_one_pass_per_chunk_gives_the_voice_prints_of_one_pass_per_speaker`)."""

    def __init__(self, embedding: Any) -> None:
        self._embedding = embedding

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedding, name)

    def __call__(self, waveforms: torch.Tensor, masks: torch.Tensor) -> NDArray[np.float32]:
        starts = [i for i in range(len(waveforms)) if i == 0 or not torch.equal(waveforms[i], waveforms[i - 1])]
        ends = [*starts[1:], len(waveforms)]
        with torch.inference_mode():
            parts = [
                self._embedding.model_(waveforms[start : start + 1], weights=masks[None, start:end])[0]
                for start, end in zip(starts, ends, strict=True)
            ]
        result: NDArray[np.float32] = torch.cat(parts).numpy()
        return result


class Plain:
    """The stock pipeline, code path and all, with our converted weights."""

    def __init__(self, model_dir: Path, plda_dir: Path | None, *, timed: bool) -> None:
        self._model_dir = model_dir
        # An empty PLDA where there is none: the constructor insists on one, and would ask the hub.
        plda = PLDA(plda_dir / "xvec_transform.npz", plda_dir / "plda.npz") if plda_dir else PLDA.__new__(PLDA)
        settings = json.loads((model_dir / "pipeline.json").read_bytes())
        self._pipeline = SpeakerDiarization(
            legacy=True,
            segmentation=diarizer._load_network(model_dir, "segmentation", "cpu"),
            embedding=diarizer._load_network(model_dir, "embedding", "cpu"),
            embedding_exclude_overlap=settings["embedding_exclude_overlap"],
            plda=plda,
            clustering="VBxClustering" if plda_dir else "AgglomerativeClustering",
            embedding_batch_size=PLAIN_BATCH_SIZE,
            segmentation_batch_size=PLAIN_BATCH_SIZE,
        )
        method = settings["vbx" if plda_dir else "agglomerative"]
        self._pipeline.instantiate({"segmentation": {"min_duration_off": 0.0}, "clustering": method})
        self._method = "vbx" if plda_dir else "agglomerative"
        self._timed = timed
        if not timed:
            self._pipeline._embedding = _OncePerChunk(self._pipeline._embedding)

    def diarize(self, samples: Samples) -> tuple[tuple[Turn, ...], float]:
        """Turns and the seconds they took (nan: not timed); from the stored results when this input was seen before."""
        stored = PLAIN_RESULTS / f"{self._key(samples)}.json"
        if not stored.exists():
            turns, elapsed_s = self._run(samples)
            stored.parent.mkdir(parents=True, exist_ok=True)
            stored.write_text(json.dumps({"turns": turns, "elapsed_s": elapsed_s}))
        result = json.loads(stored.read_text())
        return tuple(Turn(start=start, end=end, speaker=name) for start, end, name in result["turns"]), result["elapsed_s"]

    def _run(self, samples: Samples) -> tuple[list[tuple[float, float, str]], float]:
        waveform = torch.from_numpy(samples.astype(np.float32) / 32768)[None]
        started = time.monotonic()
        annotation = self._pipeline({"waveform": waveform, "sample_rate": SAMPLE_RATE_HZ})
        elapsed_s = time.monotonic() - started if self._timed else math.nan
        return [(turn.start, turn.end, name) for turn, _, name in annotation.itertracks(yield_label=True)], elapsed_s

    def _key(self, samples: Samples) -> str:
        digest = hashlib.sha256(samples.tobytes())
        for name in ("segmentation.safetensors", "embedding.safetensors", "pipeline.json"):
            digest.update((self._model_dir / name).read_bytes())
        return f"plain-{self._method}-{digest.hexdigest()[:16]}"


def ours(model_dir: Path, plda_dir: Path | None, threads: int) -> Callable[[Samples], tuple[tuple[Turn, ...], float]]:
    loaded = diarizer.load(model_dir, "cpu", threads, plda_dir=plda_dir)

    def diarize(samples: Samples) -> tuple[tuple[Turn, ...], float]:
        started = time.monotonic()
        result = loaded.diarize(samples, SpeakerCount(), lambda _fraction: None, lambda: None)
        return result.turns, time.monotonic() - started

    return diarize


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model_dir", type=Path, nargs="?", default=Path.home() / ".cache/appliance/models/speaker-diarization")
    parser.add_argument("--vbx", action="store_true", help="cluster with VBx, with the PLDA of ../shared/weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--timed", action="store_true", help="run the stock pipeline as slowly as it is, for its real-time factor")
    parser.add_argument("--only", default="", help="recordings whose path contains this")
    arguments = parser.parse_args()
    plda_dir = PLDA_DIR if arguments.vbx else None
    diarize, plain = (
        ours(arguments.model_dir, plda_dir, arguments.threads),
        Plain(arguments.model_dir, plda_dir, timed=arguments.timed),
    )
    print(f"{'conversation':32} {'length':>7} {'speakers':>9} {'DER':>7} {'plain':>7} {'diff':>7} {'RTF':>6} {'plain':>6}")
    for entry in conversations():
        if arguments.only not in entry["file"]:
            continue
        samples = read_samples(SHARED_AUDIO / entry["file"])
        (turns, took_s), (plain_turns, plain_s) = diarize(samples), plain.diarize(samples)
        rate, plain_rate, length_s = error_rate(entry, turns), error_rate(entry, plain_turns), len(samples) / SAMPLE_RATE_HZ
        heard = f"{len({turn.speaker for turn in turns})} of {len(reference(entry).labels())}"
        print(
            f"{entry['file']:32} {length_s:6.1f}s {heard:>9} {rate:6.2f}% {plain_rate:6.2f}% {rate - plain_rate:+6.2f} "
            f"{took_s / length_s:6.2f} {plain_s / length_s:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
