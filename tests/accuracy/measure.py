"""Word error rates of the appliance beside plain faster-whisper: same weights, its default options, same decoded audio.

    python -m tests.accuracy.measure                      every set; the plain side is computed once per weights and cached
    python -m tests.accuracy.measure --sets ljspeech misc --plain-only
    python -m tests.accuracy.measure --speed-s 600        seconds needed by both for ten minutes, with word times

The recordings are those of `../shared/audio` (see its manifest.json); nothing here runs without that folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import faster_whisper
import jiwer
import msgspec
import numpy as np
from numpy.typing import NDArray
from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

from appliance.audio.pcm import SAMPLE_RATE_HZ, PcmLayout
from appliance.domain import TranscribeOptions, Transcript
from appliance.engine.pipeline import Recognizer
from appliance.engine.protocol import CPU_WORKER_ENVIRONMENT, RecognizeRequest

AUDIO_DIR = Path(__file__).resolve().parents[3] / "shared" / "audio"
CACHE_DIR = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "appliance"
SPACELESS = ("ja", "zh")  # scored by character: CER
LONG_LIMIT_S = 600.0  # of long/printing.mp3


class Clip(msgspec.Struct, frozen=True):
    """One recording with what was said in it, from the manifest."""

    file: str
    set: str
    lang: str
    transcript: str | None
    duration_s: float
    note: str = ""


class Heard(msgspec.Struct, frozen=True):
    text: str
    language: str
    elapsed_s: float


class Row(msgspec.Struct, frozen=True):
    """One line of the table: a set in one language."""

    name: str
    words: int
    plain: float  # percent
    ours: float

    @property
    def worse_by(self) -> float:
        return self.ours - self.plain


def read_manifest(audio_dir: Path = AUDIO_DIR) -> list[Clip]:
    """All clips that have a reference text; the long one cut to its first ten minutes by its segment times."""
    entries = json.loads((audio_dir / "manifest.json").read_text())
    clips = [
        msgspec.convert({k: v for k, v in e.items() if v is not None} | {"transcript": e["transcript"]}, Clip) for e in entries
    ]
    return [_cut_reference(clip, audio_dir) for clip in clips if clip.transcript]


def _cut_reference(clip: Clip, audio_dir: Path) -> Clip:
    if clip.set != "long":
        return clip
    segments = json.loads((audio_dir / clip.file).with_suffix(".segments.json").read_text())
    kept = [s for s in segments if s["end"] <= LONG_LIMIT_S]
    return msgspec.structs.replace(clip, transcript=" ".join(s["text"] for s in kept), duration_s=kept[-1]["end"])


def read_audio(clip: Clip, audio_dir: Path = AUDIO_DIR) -> NDArray[np.float32]:
    """Mono float32 at 16 kHz, decoded by faster-whisper for both sides, cut to the clip's duration when that is shorter."""
    audio: NDArray[np.float32] = faster_whisper.decode_audio(str(audio_dir / clip.file), sampling_rate=SAMPLE_RATE_HZ)
    return audio[: int(clip.duration_s * SAMPLE_RATE_HZ)] if clip.set == "long" else audio


def to_int16(audio: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.clip(np.round(audio * 32768.0), -32768, 32767).astype(np.int16)[:, None]


# --- normalising and scoring ------------------------------------------------------------------------------------------

_english = EnglishTextNormalizer()
_basic = BasicTextNormalizer()


def normalise(text: str, clip: Clip) -> str:
    """Lower case, no punctuation, spelling and numbers unified in English, accents folded where the reference has none."""
    if clip.lang == "en":
        return str(_english(text))
    if "accent" in clip.note:
        text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    plain = re.sub(r"\s+", " ", str(_basic(text))).strip()
    return " ".join(plain.replace(" ", "")) if clip.lang in SPACELESS else plain


def errors(clip: Clip, text: str) -> tuple[int, int]:
    """(wrong words, words of the reference)."""
    reference, heard = normalise(clip.transcript or "", clip), normalise(text, clip)
    out = jiwer.process_words(reference, heard)
    return out.substitutions + out.deletions + out.insertions, len(reference.split())


def tabulate(clips: Iterable[Clip], plain: dict[str, Heard], ours: dict[str, Heard]) -> list[Row]:
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        groups.setdefault(f"{clip.set} ({clip.lang})", []).append(clip)
    return [_row(name, group, plain, ours) for name, group in groups.items()]


def _row(name: str, group: list[Clip], plain: dict[str, Heard], ours: dict[str, Heard]) -> Row:
    def percent(heard: dict[str, Heard]) -> tuple[float, int]:
        counts = [errors(clip, heard[clip.file].text) for clip in group]
        words = sum(n for _, n in counts)
        return 100 * sum(e for e, _ in counts) / words, words

    (plain_percent, words), (ours_percent, _) = percent(plain), percent(ours)
    return Row(name=name, words=words, plain=plain_percent, ours=ours_percent)


def print_table(rows: Iterable[Row]) -> None:
    print(f"{'set (language)':34} {'words':>6} {'plain %':>8} {'ours %':>8} {'diff':>7}")
    for row in rows:
        mark = "  WORSE" if row.worse_by > 0.2 else ""
        print(f"{row.name:34} {row.words:6} {row.plain:8.2f} {row.ours:8.2f} {row.worse_by:+7.2f}{mark}")


# --- the two sides ----------------------------------------------------------------------------------------------------


class PlainWhisper:
    """`faster_whisper.WhisperModel.transcribe` with default options, int8 on the CPU; results cached by weights and clip."""

    def __init__(self, model_dir: Path, threads: int = 0) -> None:
        self._model_dir = model_dir
        self._threads = threads or os.cpu_count() or 1
        self._model: Any = None
        self._cache = CACHE_DIR / "accuracy" / f"plain-{_weights_hash(model_dir)}.json"
        known = json.loads(self._cache.read_text()) if self._cache.exists() else {}
        self._known = {key: msgspec.convert(value, Heard) for key, value in known.items()}

    def hear(self, clip: Clip) -> Heard:
        key = f"{clip.file}@{clip.duration_s}"
        if key not in self._known:
            self._known[key] = self.run(read_audio(clip))
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            self._cache.write_text(
                json.dumps({k: msgspec.to_builtins(v) for k, v in self._known.items()}, ensure_ascii=False, indent=0)
            )
        return self._known[key]

    def run(self, audio: NDArray[np.float32], *, word_timestamps: bool = False) -> Heard:
        if self._model is None:
            self._model = faster_whisper.WhisperModel(
                str(self._model_dir), device="cpu", compute_type="int8", cpu_threads=self._threads, local_files_only=True
            )
        started = time.monotonic()
        segments, info = self._model.transcribe(audio, word_timestamps=word_timestamps)
        text = "".join(segment.text for segment in segments).strip()
        return Heard(text=text, language=info.language, elapsed_s=time.monotonic() - started)


def _weights_hash(model_dir: Path) -> str:
    digest = hashlib.sha256()
    with (model_dir / "model.bin").open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def recognize(recognizer: Recognizer, model_dir: Path, audio: NDArray[np.float32], **options: Any) -> tuple[Transcript, float]:
    """Our transcript of mono float32 audio, and the seconds it took."""
    samples = to_int16(audio)
    request = RecognizeRequest(
        job_id="measure",
        model=model_dir.name,
        model_dir=model_dir,
        options=TranscribeOptions(model=model_dir.name, **options),
        pcm=PcmLayout(samples=len(samples), channels=1),
    )
    started = time.monotonic()
    transcript = recognizer.recognize(request, samples, lambda event: None, lambda: None)
    return transcript, time.monotonic() - started


def hear_all(recognizer: Recognizer, model_dir: Path, clips: Sequence[Clip], at_once: int = 8) -> dict[str, Heard]:
    """Our side, several recordings at a time, as in service: their windows share batches."""

    def hear(clip: Clip) -> Heard:
        transcript, elapsed_s = recognize(recognizer, model_dir, read_audio(clip))
        return Heard(text=transcript.text, language=transcript.language, elapsed_s=elapsed_s)

    with ThreadPoolExecutor(at_once) as pool:
        return dict(zip([clip.file for clip in clips], pool.map(hear, clips), strict=True))


def time_ours(model_dir: Path, audio: NDArray[np.float32]) -> float:
    with closing(Recognizer(device="cpu", compute_type="int8")) as recognizer:
        recognizer.warm(model_dir)
        return recognize(recognizer, model_dir, audio)[1]


def time_plain(model_dir: Path, audio: NDArray[np.float32]) -> float:
    plain = PlainWhisper(model_dir)
    plain.run(audio[:SAMPLE_RATE_HZ])  # loads the model
    return plain.run(audio, word_timestamps=True).elapsed_s


def time_side(side: str, model_dir: Path, seconds: float) -> float:
    """Seconds that one side takes for the start of the long recording, with word times, in its own process and environment."""
    environment = os.environ | (CPU_WORKER_ENVIRONMENT if side == "ours" else {})
    command = [
        sys.executable,
        "-m",
        "tests.accuracy.measure",
        "--side",
        side,
        "--speed-s",
        str(seconds),
        "--model-dir",
        str(model_dir),
    ]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def compare_speed(model_dir: Path, seconds: float) -> None:
    ours_s, plain_s = time_side("ours", model_dir, seconds), time_side("plain", model_dir, seconds)
    print(f"{seconds:.0f} s of speech with word times: ours {ours_s:.1f} s, plain {plain_s:.1f} s, ratio {ours_s / plain_s:.1%}")


def _long_audio(seconds: float) -> NDArray[np.float32]:
    clip = next(clip for clip in read_manifest() if clip.set == "long")
    return read_audio(clip)[: int(seconds * SAMPLE_RATE_HZ)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model-dir", type=Path, default=CACHE_DIR / "models" / "whisper-base")
    parser.add_argument("--sets", nargs="*", default=[])
    parser.add_argument("--plain-only", action="store_true")
    parser.add_argument("--show-differences", action="store_true")
    parser.add_argument(
        "--speed-s", type=float, default=0.0, help="instead: compare the speed on so many seconds of the long recording"
    )
    parser.add_argument("--side", choices=("ours", "plain"), help="with --speed-s: print the seconds of this side alone")
    arguments = parser.parse_args()
    if arguments.side:
        timed = time_ours if arguments.side == "ours" else time_plain
        print(timed(arguments.model_dir, _long_audio(arguments.speed_s)))
    elif arguments.speed_s:
        compare_speed(arguments.model_dir, arguments.speed_s)
    else:
        compare_words(arguments)


def compare_words(arguments: argparse.Namespace) -> None:
    clips = [clip for clip in read_manifest() if not arguments.sets or clip.set in arguments.sets]
    plain_side = PlainWhisper(arguments.model_dir)
    plain = {clip.file: plain_side.hear(clip) for clip in clips}
    if arguments.plain_only:
        return
    with closing(Recognizer(device="cpu", compute_type="int8")) as recognizer:
        ours = hear_all(recognizer, arguments.model_dir, clips)
    if arguments.show_differences:
        show_differences(clips, plain, ours)
    print_table(tabulate(clips, plain, ours))


def show_differences(clips: Iterable[Clip], plain: dict[str, Heard], ours: dict[str, Heard]) -> None:
    for clip in clips:
        if normalise(plain[clip.file].text, clip) != normalise(ours[clip.file].text, clip):
            print(f"{clip.file}  [{ours[clip.file].language}]\n  reference: {clip.transcript}")
            print(f"  plain {errors(clip, plain[clip.file].text)[0]}: {plain[clip.file].text}")
            print(f"  ours  {errors(clip, ours[clip.file].text)[0]}: {ours[clip.file].text}")


if __name__ == "__main__":
    main()
