"""Whisper on CTranslate2: batches of windows in, text with evidence and word times out.

Uses faster-whisper's tokenizer, mel features and tables; its transcription loops are not used, because they batch one file
only and keep state (TRAPS 19). Loads from a local folder, never from a network. What to make of the evidence is decided in
`guard.py`, what to decode in `pipeline.py`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import tokenizers
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.tokenizer import _LANGUAGE_CODES as LANGUAGE_CODES
from faster_whisper.tokenizer import Tokenizer
from numpy.typing import NDArray

from appliance.audio.pcm import SAMPLE_RATE_HZ
from appliance.domain import Segment, Task, Value, Word
from appliance.engine.batcher import DeviceLost, OutOfMemory
from appliance.engine.protocol import Capabilities, DecodedWindow, Window
from appliance.engine.words import TimedToken, group_words
from appliance.errors import ModelDamaged

WINDOW_S = 30.0  # what the encoder takes; shorter windows are padded
BEAM_SIZE = 5
LENGTH_PENALTY = 1.4  # above 1, the longer of two texts of almost equal likelihood wins (decisions 5)
BEST_OF = 5  # samples per window at temperatures above 0
MAX_TOKENS = 448  # the decoder's context: prompt and text together
MAX_PROMPT_TOKENS = MAX_TOKENS // 2 - 1
_MEL_FRAMES = 3000
_FRAMES_PER_S = 100
_TIMESTAMP_STEP_S = 0.02
_MIN_ALIGN_FRAMES = 20  # 0.2 s: the alignment filters over time and cannot work on less
_TOKENS_PER_S = 20  # more than any language needs; keeps a loop in a short window short

Floats = NDArray[np.float32]


class DecodeOptions(Value, frozen=True):
    """What tasks of one batch must have in common, and nothing else."""

    task: Task = "transcribe"
    prompt: tuple[int, ...] = ()  # tokens of hotwords and initial prompt, before the start token
    temperature: float = 0.0
    detect_only: bool = False  # only the language: no text


@dataclass(frozen=True, eq=False)
class WhisperTask:
    """One window to decode. `samples` is a view of the recording's int16; float copies exist per window only (TRAPS 21)."""

    model: WhisperModel
    window: Window  # its `language` is decoded; None asks `choose_language`
    samples: NDArray[np.int16]  # shape (n,), n <= 30 s at 16 kHz
    options: DecodeOptions
    choose_language: Callable[[Window, dict[str, float]], str] | None = None

    @property
    def bucket(self) -> object:
        """TRAPS 19: generate() wants the start token in the same place and the same number of task tokens in each row."""
        o = self.options
        return id(self.model), o.task, len(o.prompt), o.temperature, o.detect_only

    def prepare(self) -> Floats:
        return self.model.features(self.samples)

    def decode(self, batch: Sequence[WhisperTask], features: Sequence[Floats]) -> Sequence[DecodedWindow]:
        return self.model.decode(batch, features)


@dataclass(frozen=True)
class _Draft:
    """One window's text before its words have times."""

    task: WhisperTask
    language: str
    languages: dict[str, float]
    tokens: tuple[int, ...]
    avg_logprob: float
    no_speech_prob: float


class WhisperModel:
    """Weights on a device. Thread-safe apart from `decode`, which only the batcher calls."""

    def __init__(self, model_dir: Path, device: str, device_index: int, compute_type: str, threads: int) -> None:
        """Raises ModelDamaged when the folder cannot be loaded, OutOfMemory when it does not fit."""
        try:
            self._model = ctranslate2.models.Whisper(
                str(model_dir),
                device=device,
                device_index=device_index,
                compute_type=compute_type,
                intra_threads=threads,
                inter_threads=1,
            )
            self._tokenizer_model = tokenizers.Tokenizer.from_file(str(model_dir / "tokenizer.json"))
        except Exception as error:  # both libraries raise bare exceptions of their own for unreadable files
            raise _load_error(error, model_dir) from error
        self._extractor = FeatureExtractor(feature_size=self._model.n_mels)
        self._tokenizers: dict[tuple[Task, str], Tokenizer] = {}

    # --- facts ---

    @property
    def multilingual(self) -> bool:
        return bool(self._model.is_multilingual)

    @cached_property
    def capabilities(self) -> Capabilities:
        known = tuple(code for code in LANGUAGE_CODES if self._tokenizer_model.token_to_id(f"<|{code}|>") is not None)
        return Capabilities(
            languages=known if self.multilingual else ("en",),
            translation=self.multilingual,
        )

    def tokenizer(self, task: Task, language: str) -> Tokenizer:
        key = (task, language)
        if key not in self._tokenizers:
            self._tokenizers[key] = Tokenizer(self._tokenizer_model, self.multilingual, task=task, language=language)
        return self._tokenizers[key]

    def encode_text(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer_model.encode(" " + text.strip(), add_special_tokens=False).ids)

    # --- features ---

    def features(self, samples: NDArray[np.int16]) -> Floats:
        """Log-mel features of one window, shape (mels, 3000), padded with zeros as the model's other users do."""
        mel = self._extractor(samples.astype(np.float32) / 32768.0)[:, :-1][:, :_MEL_FRAMES]
        padded = np.zeros((mel.shape[0], _MEL_FRAMES), np.float32)
        padded[:, : mel.shape[1]] = mel
        return padded

    # --- decoding ---

    def decode(self, tasks: Sequence[WhisperTask], features: Sequence[Floats]) -> list[DecodedWindow]:
        """Text, evidence and word times of windows of one bucket.

        Raises OutOfMemory when the batch is too large for the device, DeviceLost on any other CUDA error.
        """
        try:
            encoded = self._model.encode(ctranslate2.StorageView.from_array(np.stack(features)))
            languages = self._hear_languages(encoded, tasks)
            if tasks[0].options.detect_only:
                return [_only_language(task, heard) for task, heard in zip(tasks, languages, strict=True)]
            drafts = self._generate(encoded, tasks, languages)
            alignments = self._align(encoded, drafts)
        except RuntimeError as error:
            raise device_error(error) from error
        return [self._finish(draft, alignment) for draft, alignment in zip(drafts, alignments, strict=True)]

    def _hear_languages(self, encoded: object, tasks: Sequence[WhisperTask]) -> list[dict[str, float]]:
        """Probabilities of each language per window; empty where nobody asked. Costs one decoder step for the batch."""
        if not self.multilingual or all(task.window.language for task in tasks):
            return [{} for _ in tasks]
        detected = self._model.detect_language(encoded)
        return [
            {token[2:-2]: probability for token, probability in row} if task.window.language is None else {}
            for task, row in zip(tasks, detected, strict=True)
        ]

    def _generate(self, encoded: object, tasks: Sequence[WhisperTask], heard: Sequence[dict[str, float]]) -> list[_Draft]:
        languages = [_language_of(task, probabilities) for task, probabilities in zip(tasks, heard, strict=True)]
        results = self._model.generate(encoded, self._prompts(tasks, languages), **self._generation_options(tasks))
        return [
            _Draft(task, language, probabilities, *_evidence(result, self.tokenizer("transcribe", "en").eot))
            for task, language, probabilities, result in zip(tasks, languages, heard, results, strict=True)
        ]

    def _prompts(self, tasks: Sequence[WhisperTask], languages: Sequence[str]) -> list[list[int]]:
        prompts = []
        for task, language in zip(tasks, languages, strict=True):
            tokenizer = self.tokenizer(task.options.task, language)
            before = [tokenizer.sot_prev, *task.options.prompt] if task.options.prompt else []
            # With timestamps the decoder stops before a sentence that the window cuts off, and expects to come back to it.
            prompts.append([*before, *tokenizer.sot_sequence, tokenizer.no_timestamps])
        return prompts

    def _generation_options(self, tasks: Sequence[WhisperTask]) -> dict[str, Any]:
        options = tasks[0].options
        longest_s = max(len(task.samples) for task in tasks) / SAMPLE_RATE_HZ
        prompt_length = len(options.prompt) + 5
        most = 60 + int(_TOKENS_PER_S * longest_s)  # of new text: half of `max_length`, or what the prompt leaves of it
        search: dict[str, Any] = {"beam_size": BEAM_SIZE}
        if options.temperature > 0:
            search = {"beam_size": 1, "num_hypotheses": BEST_OF, "sampling_topk": 0, "sampling_temperature": options.temperature}
        return search | {
            "max_length": min(MAX_TOKENS, max(2 * most, prompt_length + most)),
            "length_penalty": LENGTH_PENALTY,
            "return_scores": True,
            "return_no_speech_prob": True,
            "suppress_tokens": self._suppressed,
        }

    @cached_property
    def _suppressed(self) -> list[int]:
        """Everything that is no spoken word: music signs, brackets, speaker marks, control tokens."""
        t = self.tokenizer("transcribe", "en")
        control = (t.transcribe, t.translate, t.sot, t.sot_prev, t.sot_lm, t.no_speech)
        return sorted({*t.non_speech_tokens, *(token for token in control if token is not None)})

    # --- word times ---

    def _align(self, encoded: object, drafts: Sequence[_Draft]) -> list[list[TimedToken]]:
        """Each token's time in its window. align() takes one start sequence per call, so it is called once per language."""
        found: list[list[TimedToken]] = [[] for _ in drafts]
        for language in sorted({draft.language for draft in drafts}):
            rows = [i for i, draft in enumerate(drafts) if draft.language == language and draft.tokens]
            if rows:
                for i, tokens in zip(rows, self._align_language(encoded, drafts, language, rows), strict=True):
                    found[i] = tokens
        return found

    def _align_language(
        self, encoded: object, drafts: Sequence[_Draft], language: str, rows: Sequence[int]
    ) -> list[list[TimedToken]]:
        """The encoder's output cannot be cut by row, so the rows of other languages ride along with a token of no use."""
        tokenizer = self.tokenizer(drafts[0].task.options.task, language)
        idle = [tokenizer.encode(" a")[0]]
        frames = [max(_MIN_ALIGN_FRAMES, min(_MEL_FRAMES, len(d.task.samples) * _FRAMES_PER_S // SAMPLE_RATE_HZ)) for d in drafts]
        wanted = [list(draft.tokens) if i in rows else idle for i, draft in enumerate(drafts)]
        results = self._model.align(encoded, tokenizer.sot_sequence, wanted, frames)
        return [_token_times(results[i], drafts[i].tokens) for i in rows]

    # --- results ---

    def _finish(self, draft: _Draft, timed: list[TimedToken]) -> DecodedWindow:
        tokenizer = self.tokenizer(draft.task.options.task, draft.language)
        text = tokenizer.decode(list(draft.tokens)).strip()
        return DecodedWindow(
            window=draft.task.window,
            language=draft.language,
            language_probabilities=draft.languages,
            segments=(_segment(draft, text, self._words(tokenizer, timed, draft.task.window.start)),) if text else (),
            temperature=draft.task.options.temperature,
            avg_logprob=draft.avg_logprob,
            no_speech_prob=draft.no_speech_prob,
            compression_ratio=compression_ratio(text),
        )

    def _words(self, tokenizer: Tokenizer, timed: list[TimedToken], offset: float) -> tuple[Word, ...]:
        _, groups = tokenizer.split_to_word_tokens([t.token for t in timed])
        return group_words(timed, groups, tokenizer.decode, offset)


def _segment(draft: _Draft, text: str, words: tuple[Word, ...]) -> Segment:
    """The whole window as one segment; `words.sentences` divides it."""
    return Segment(
        id=0,  # numbered when the transcript is whole
        start=words[0].start,
        end=words[-1].end,
        text=text,
        words=words,
        language=draft.language,
        seek=round(draft.task.window.start * _FRAMES_PER_S),
        temperature=draft.task.options.temperature,
        avg_logprob=draft.avg_logprob,
        compression_ratio=compression_ratio(text),
        no_speech_prob=draft.no_speech_prob,
    )


def _language_of(task: WhisperTask, probabilities: dict[str, float]) -> str:
    if task.window.language:
        return task.window.language
    if not probabilities:
        return "en"  # an English-only model
    return (
        task.choose_language(task.window, probabilities)
        if task.choose_language
        else max(probabilities, key=probabilities.__getitem__)
    )


def _only_language(task: WhisperTask, probabilities: dict[str, float]) -> DecodedWindow:
    return DecodedWindow(
        window=task.window,
        language=_language_of(task, probabilities),
        language_probabilities=probabilities,
        segments=(),
        temperature=0.0,
        avg_logprob=0.0,
        no_speech_prob=0.0,
        compression_ratio=0.0,
    )


def _evidence(result: ctranslate2.models.WhisperGenerationResult, end_of_text: int) -> tuple[tuple[int, ...], float, float]:
    """(text tokens, average log-probability over all and the end token, probability of no speech)."""
    tokens = result.sequences_ids[0]
    text = tuple(token for token in tokens if token < end_of_text)
    log_probability: float = result.scores[0] * len(tokens) ** LENGTH_PENALTY
    return text, log_probability / (len(tokens) + 1), result.no_speech_prob


def _token_times(result: ctranslate2.models.WhisperAlignmentResult, tokens: Sequence[int]) -> list[TimedToken]:
    """From the path of the alignment: a token begins where the path first reaches it and ends where it reaches the next."""
    path = np.array(result.alignments)
    begins = path[np.diff(path[:, 0], prepend=-1) > 0, 1] * _TIMESTAMP_STEP_S
    probabilities = result.text_token_probs
    return [
        TimedToken(
            token=token, start=float(begins[i]), end=float(begins[min(i + 1, len(begins) - 1)]), probability=float(probabilities[i])
        )
        for i, token in enumerate(tokens)
    ]


def compression_ratio(text: str) -> float:
    """How well the text compresses: above 2.4 it repeats itself (the original Whisper's measure)."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def default_compute_type(device: str, device_index: int) -> str:
    """int8 on a CPU; float16 on a GPU, or int8 with float16 where plain float16 is not supported."""
    if device == "cpu":
        return "int8"
    supported = ctranslate2.get_supported_compute_types(device, device_index)
    return next((kind for kind in ("float16", "int8_float16", "int8_float32") if kind in supported), "float32")


def _load_error(error: Exception, model_dir: Path) -> Exception:
    if "out of memory" in str(error).lower():
        return OutOfMemory(str(error))
    if _is_cuda(error):
        return DeviceLost(str(error))
    return ModelDamaged(model_dir.name, _damaged_file(model_dir))


def _damaged_file(model_dir: Path) -> str:
    missing = [name for name in ("model.bin", "config.json", "tokenizer.json") if not (model_dir / name).is_file()]
    return missing[0] if missing else "model.bin"


def device_error(error: RuntimeError) -> Exception:
    """TRAPS 16: memory pressure shows as "out of memory" first; whatever else CUDA says, the device's state is unknown."""
    text = str(error).lower()
    if "out of memory" in text:
        return OutOfMemory(str(error))
    return DeviceLost(str(error)) if _is_cuda(error) else error


def _is_cuda(error: Exception) -> bool:
    text = str(error).lower()
    return any(word in text for word in ("cuda", "cublas", "cudnn"))
