"""Who spoke when, with the models of pyannote.audio: segmentation of 10-s chunks, a voice print per speaker and chunk, clustering.

Runs in a worker process; importing it takes seconds (TRAPS 31). The models are the library's, the loop around them is ours:
weights come from safetensors in a local folder and nothing else (TRAPS 9, 10, 13), each chunk passes the voice-print network
once for all its speakers, and memory stays bounded over hours. Words are given their speakers in `speakers.py`.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before the imports below, which read it (TRAPS 10)
# Threads that spin while they wait for one another take the processor from recognition, and from themselves: with two
# threads on two busy cores a chunk took 1.5 s, and 0.5 s when they sleep instead.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from numpy.typing import NDArray

from appliance.engine.undrawn import nothing_drawn

with nothing_drawn():
    from pyannote.audio.core.plda import PLDA
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import WeSpeakerResNet34
    from pyannote.audio.models.segmentation import PyanNet
    from pyannote.audio.pipelines.clustering import AgglomerativeClustering, VBxClustering
    from pyannote.audio.utils.powerset import Powerset
    from pyannote.core import SlidingWindow, SlidingWindowFeature

from safetensors import SafetensorError
from safetensors.torch import load_file
from sklearn.cluster import KMeans  # type: ignore[import-untyped]

from appliance.audio.pcm import SAMPLE_RATE_HZ
from appliance.domain import SpeakerCount
from appliance.engine.protocol import Diarization, Diarizer, StopCheck, VoiceSample
from appliance.engine.turns import SILENT, Activity, Clusters, FrameGrid, add_up, count_speakers, label_turns, loudest
from appliance.engine.voices import name_voices
from appliance.errors import DeviceOutOfMemory, InvalidField, ModelDamaged

Samples = NDArray[np.int16]  # (samples,), one channel, 16 kHz
Embeddings = NDArray[np.float32]  # (chunks, slots, dimension)
Print = NDArray[np.float32]  # (dimension,)

ARCHITECTURES = {"PyanNet": PyanNet, "WeSpeakerResNet34": WeSpeakerResNet34}

SEGMENTATION_SHARE = 0.1  # of the time; nearly all the rest is the voice prints
EMBEDDING_SHARE = 0.88
MIN_EMBEDDING_SAMPLES = 400  # below one analysis frame of 25 ms the voice-print network has nothing to work on

# Clustering n voice prints takes 8 n² bytes and its time grows as fast: 290 MB and about 3 s for 6,000, an hour and a half of
# conversation. Of longer recordings an evenly spread sample of that size is clustered, and every voice print then joins the
# nearest of the speakers found.
MAX_CLUSTERED = 6_000


def load(model_dir: Path, device: str = "cpu", threads: int = 0, *, plda_dir: Path | None = None) -> PyannoteDiarizer:
    """The diarizer whose converted weights lie in `model_dir` (see `catalogue/convert.py`).

    `device` is `cpu`, `cuda` or `cuda:N`; `threads` limits torch in this whole process (0: its own choice). With
    `plda.npz` and `xvec_transform.npz` beside the weights, or in `plda_dir`, speakers are found with VBx, otherwise by
    agglomerative clustering. Raises ModelDamaged when a file does not fit.
    """
    if threads:
        torch.set_num_threads(threads)
    # Rounding to 10 bits changes who is who between a GPU and a CPU (pyannote-audio issue 1370).
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    segmentation = _load_network(model_dir, "segmentation", device)
    embedding = _load_network(model_dir, "embedding", device)
    settings = json.loads((model_dir / "pipeline.json").read_bytes())
    return PyannoteDiarizer(segmentation, embedding, _clustering(plda_dir or model_dir, settings), settings)


def _load_network(model_dir: Path, stem: str, device: str) -> Any:  # noqa: ANN401 - pyannote has no types
    """A network from `stem`.json and `stem`.safetensors. Only architectures listed above are built (TRAPS 13)."""
    try:
        description = json.loads((model_dir / f"{stem}.json").read_bytes())
        network = ARCHITECTURES[description["architecture"]](**description["hyper_parameters"])
        network.specifications = _specifications(description["specifications"])
        network.build()
        network.load_state_dict(load_file(model_dir / f"{stem}.safetensors"))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelDamaged(model_dir.name, f"{stem}.safetensors or {stem}.json") from error
    network.eval()
    return network.to(device)


def _specifications(stored: dict[str, Any]) -> Any:  # noqa: ANN401 - pyannote has no types
    return Specifications(**{**stored, "problem": Problem[stored["problem"]], "resolution": Resolution[stored["resolution"]]})


class _Sampled:
    """Bounds what a clustering looks at, see MAX_CLUSTERED."""

    def filter_embeddings(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:  # noqa: ANN401 - pyannote's own signature
        usable: tuple[Any, ...] = super().filter_embeddings(*args, **kwargs)  # type: ignore[misc]
        found = len(usable[0])
        if found <= MAX_CLUSTERED:
            return usable
        kept = np.linspace(0, found - 1, MAX_CLUSTERED).astype(np.intp)
        return tuple(part[kept] for part in usable)


class _Agglomerative(_Sampled, AgglomerativeClustering):  # type: ignore[misc]
    pass


class _VBx(_Sampled, VBxClustering):  # type: ignore[misc]
    pass


def _clustering(plda_dir: Path, settings: dict[str, Any]) -> Any:  # noqa: ANN401 - pyannote has no types
    transform, plda = plda_dir / "xvec_transform.npz", plda_dir / "plda.npz"
    if transform.exists() and plda.exists():
        return _VBx(PLDA(transform, plda)).instantiate(settings["vbx"])
    return _Agglomerative().instantiate(settings["agglomerative"])


class _Chunks:
    """A recording as overlapping chunks of equal length, the last one filled up with silence."""

    def __init__(self, samples: Samples, chunk_s: float, step_s: float) -> None:
        self._samples = samples
        self._length = round(chunk_s * SAMPLE_RATE_HZ)
        self._step = round(step_s * SAMPLE_RATE_HZ)
        self.count = 1 + max(0, math.ceil((len(samples) - self._length) / self._step))

    def read(self, numbers: NDArray[np.intp]) -> torch.Tensor:
        """(chunks, 1, samples) in -1..1; only these are ever held as floats."""
        batch = np.zeros((len(numbers), 1, self._length), np.float32)
        for row, number in zip(batch, numbers, strict=True):
            part = self._samples[number * self._step : number * self._step + self._length]
            np.multiply(part, 1 / 32768, out=row[0, : len(part)])
        return torch.from_numpy(batch)


class PyannoteDiarizer(Diarizer):
    """Loaded networks and their clustering. Not thread-safe."""

    def __init__(self, segmentation: Any, embedding: Any, clustering: Any, settings: dict[str, Any]) -> None:  # noqa: ANN401
        specifications = segmentation.specifications
        frames = segmentation.receptive_field
        self._segmentation = segmentation
        self._embedding = embedding
        self._clustering = clustering
        self._exclude_overlap: bool = settings["embedding_exclude_overlap"]
        self._to_slots = Powerset(len(specifications.classes), specifications.powerset_max_classes).to(segmentation.device)
        self._grid = FrameGrid(
            chunk_s=specifications.duration,
            chunk_step_s=settings["segmentation_step"] * specifications.duration,
            frame_s=frames.duration,
            frame_step_s=frames.step,
        )
        # On a CPU one chunk at a time fits its cache: 0.29 s a chunk instead of 0.50 s in a batch of eight (two cores).
        on_cpu = segmentation.device.type == "cpu"
        self._batch_size = 8 if on_cpu else 64
        self._embedding_batch_size = 1 if on_cpu else 32
        if on_cpu:
            self._embedding.to(memory_format=torch.channels_last)  # another fifth faster

    def diarize(
        self,
        samples: Samples,
        speakers: SpeakerCount,
        on_fraction: Callable[[float], None],
        check: StopCheck,
        *,
        voices: Sequence[VoiceSample] = (),
    ) -> Diarization:
        """Who speaks when in `samples` (int16, mono, 16 kHz, of any length).

        A known number of speakers is honoured wherever the recording has that many voices to tell apart, bounds likewise.
        Equal input gives equal output. Silence gives no turns. Raises DeviceOutOfMemory, InvalidField (also for a sample
        of a voice in which nobody speaks), and whatever `check` raises: it is called before each batch, at most about a
        second apart.
        """
        at_least, at_most = _bounds(speakers)
        known = {voice.name: self.voice_print(voice, check) for voice in voices}
        chunks = _Chunks(samples, self._grid.chunk_s, self._grid.chunk_step_s)
        activity = self._segment(chunks, on_fraction, check)
        counts = count_speakers(activity, self._grid)
        if not counts.any():
            on_fraction(1.0)
            return Diarization(turns=(), exclusive=())
        embeddings = self._embed(chunks, activity, on_fraction, check)
        check()
        clusters = self._cluster(activity, embeddings, at_least, at_most)
        votes = add_up(activity, clusters, self._grid)
        names: dict[int, str] = {}
        duration_s = len(samples) / SAMPLE_RATE_HZ
        turns = label_turns(loudest(votes, counts), self._grid, duration_s, names)
        exclusive = label_turns(loudest(votes, np.minimum(counts, 1)), self._grid, duration_s, names)
        prints = _prints_of_speakers(names, embeddings, clusters, activity)
        on_fraction(1.0)
        return Diarization(turns=turns, exclusive=exclusive, names=name_voices(prints, known))

    def voice_print(self, voice: VoiceSample, check: StopCheck) -> Print:
        """The voice print of whoever speaks most in it. A short sample is repeated up to a chunk: the network takes the
        mean of the whole chunk off every frame, and silence at its end would change the voice."""
        samples = np.resize(np.frombuffer(voice.pcm, np.int16), round(self._grid.chunk_s * SAMPLE_RATE_HZ))
        chunks = _Chunks(samples, self._grid.chunk_s, self._grid.chunk_step_s)
        activity = self._segment(chunks, _unheeded, check)
        if not activity.any():
            raise InvalidField("known_speaker_references", f"holds no speech in the sample of '{voice.name}'")
        loudest_slot = activity[0].sum(axis=0).argmax()
        found: Print = self._embed(chunks, activity, _unheeded, check)[0, loudest_slot]
        return found

    def _segment(self, chunks: _Chunks, on_fraction: Callable[[float], None], check: StopCheck) -> Activity:
        """Which of up to three speakers talks in each frame of each chunk."""
        results: list[Activity] = []

        def run(numbers: NDArray[np.intp]) -> None:
            scores = self._segmentation(chunks.read(numbers).to(self._segmentation.device))
            results.append(self._to_slots(scores).to(torch.uint8).cpu().numpy())

        def report(fraction: float) -> None:
            on_fraction(SEGMENTATION_SHARE * fraction)

        _in_batches(np.arange(chunks.count), self._batch_size, run, report, check)
        return np.concatenate(results)

    def _embed(self, chunks: _Chunks, activity: Activity, on_fraction: Callable[[float], None], check: StopCheck) -> Embeddings:
        """A voice print per chunk and slot. The network sees each chunk once; only its last, cheap layer differs by
        slot (pyannote-audio issue 2050). Slots without speech get what the network gives for nothing: its last bias."""
        silence = self._embedding.resnet.seg_1.bias.detach().cpu().numpy()
        embeddings = np.tile(silence, (*activity.shape[::2], 1))

        def run(numbers: NDArray[np.intp]) -> None:
            weights = torch.from_numpy(self._masks(activity[numbers])).to(self._embedding.device)
            waveforms = chunks.read(numbers).to(self._embedding.device)
            embeddings[numbers] = self._embedding(waveforms, weights=weights).cpu().numpy()

        def report(fraction: float) -> None:
            on_fraction(SEGMENTATION_SHARE + EMBEDDING_SHARE * fraction)

        _in_batches(np.flatnonzero(activity.any(axis=(1, 2))), self._embedding_batch_size, run, report, check)
        return embeddings

    def _masks(self, activity: Activity) -> NDArray[np.float32]:
        """(chunks, slots, frames): where each slot's voice is taken from; where it talks alone, if that is long enough."""
        talking = activity.transpose(0, 2, 1).astype(np.float32)
        if not self._exclude_overlap:
            return talking
        alone = talking * (talking.sum(axis=1, keepdims=True) < 2)
        chunk_samples = self._grid.chunk_s * SAMPLE_RATE_HZ
        enough = math.ceil(talking.shape[2] * MIN_EMBEDDING_SAMPLES / chunk_samples)
        return np.where(alone.sum(axis=2, keepdims=True) > enough, alone, talking)

    def _cluster(self, activity: Activity, embeddings: Embeddings, at_least: int, at_most: int | None) -> Clusters:
        """The speaker, from 0, of each slot of each chunk."""
        window = SlidingWindow(start=0.0, duration=self._grid.chunk_s, step=self._grid.chunk_step_s)
        heard = SlidingWindowFeature(activity, window)
        talks: NDArray[np.bool_] = np.any(activity, axis=1)
        usable, *_ = self._clustering.filter_embeddings(embeddings, segmentations=heard)
        clusters = np.zeros(talks.shape, np.intp)
        if len(usable) > 1:
            # The library prints its remarks, and a program's standard output is its result.
            with contextlib.redirect_stdout(io.StringIO()):
                clusters, *_ = self._clustering(
                    embeddings=embeddings,
                    segmentations=heard,
                    min_clusters=at_least,
                    max_clusters=at_most or math.inf,
                    num_clusters=at_least if at_least == at_most else None,
                )
        clusters = _renumber(clusters, talks)
        found = int(clusters.max()) + 1
        wanted = min(max(found, at_least), at_most or found, int(talks.sum()))
        return clusters if found == wanted else _split_into(wanted, embeddings, talks)


def _unheeded(_fraction: float) -> None:
    """Samples of voices take a second; the recording is what is worth telling of."""


def _prints_of_speakers(
    names: Mapping[int, str], embeddings: Embeddings, clusters: Clusters, activity: Activity
) -> dict[str, Print]:
    """The mean of each speaker's voice prints, those from longer speech counting more."""
    lengths = activity.sum(axis=1)
    return {
        name: np.average(embeddings[clusters == speaker], axis=0, weights=lengths[clusters == speaker])
        for speaker, name in names.items()
    }


def _bounds(speakers: SpeakerCount) -> tuple[int, int | None]:
    at_least, at_most = speakers.exact or speakers.at_least or 1, speakers.exact or speakers.at_most or None
    if at_least < 1 or (at_most is not None and at_most < at_least):
        raise InvalidField("speakers", f"asks for at least {at_least} and at most {at_most} speakers")
    return at_least, at_most


def _in_batches(
    numbers: NDArray[np.intp],
    size: int,
    run: Callable[[NDArray[np.intp]], None],
    report: Callable[[float], None],
    check: StopCheck,
) -> None:
    """`run` on every number, `size` at a time; half as many for good when the device runs out of memory."""
    done = 0
    while done < len(numbers):
        check()
        batch = numbers[done : done + size]
        try:
            with torch.inference_mode():
                run(batch)
        except torch.OutOfMemoryError as error:
            if size == 1:
                raise DeviceOutOfMemory from error
            size //= 2
            torch.cuda.empty_cache()
            continue
        done += len(batch)
        report(done / len(numbers))


def _renumber(clusters: NDArray[Any], talks: NDArray[np.bool_]) -> Clusters:
    """Clusters that talk, numbered without gaps; SILENT elsewhere."""
    numbered: Clusters = np.full(talks.shape, SILENT, np.intp)
    numbered[talks] = np.unique(clusters[talks], return_inverse=True)[1]
    return numbered


def _split_into(wanted: int, embeddings: Embeddings, talks: NDArray[np.bool_]) -> Clusters:
    """Exactly `wanted` clusters, by k-means over the directions of the voice prints."""
    voices = embeddings[talks]
    voices = voices / np.linalg.norm(voices, axis=1, keepdims=True)
    clusters = np.full(talks.shape, SILENT, np.intp)
    clusters[talks] = KMeans(n_clusters=wanted, n_init=3, random_state=42).fit_predict(voices)
    return _renumber(clusters, talks)
