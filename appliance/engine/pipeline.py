"""One recording, from samples to transcript: voice, windows, language, decoding with retries, guard, gaps, text.

`Recognizer` is what a worker process holds: models, the voice detector, and one batcher over all recordings in flight. It
leaves out who speaks (`diarizer.py`) and everything about processes (`worker.py`).
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import pairwise, takewhile
from pathlib import Path
from queue import Empty, SimpleQueue

import msgspec
import numpy as np
from numpy.typing import NDArray

from appliance.audio.pcm import SAMPLE_RATE_HZ
from appliance.audio.speech import SpeechDetector, SpeechOptions, speech_spans
from appliance.domain import Caution, ChannelMode, Segment, Span, Speaker, Stage, TranscribeOptions, Transcript
from appliance.engine import guard, language, words
from appliance.engine.batch_size import USUAL, BatchLimits
from appliance.engine.batcher import Batcher, BatchStatistics, Lane, OutOfMemory
from appliance.engine.protocol import DecodedWindow, EngineProgress, OnEvent, RecognizeRequest, SegmentsDecided, StopCheck, Window
from appliance.engine.whisper import MAX_PROMPT_TOKENS, DecodeOptions, WhisperModel, WhisperTask, default_compute_type
from appliance.engine.windows import plan_windows, split_window, whole_windows
from appliance.errors import Cancelled, DeviceOutOfMemory, LanguageUnsupported, NotAvailable
from appliance.writing import join_texts

_MODELS_KEPT = 2
_DETECT_SHARE = 0.05  # of a job's time, that the voice detector takes
_POLL_S = 0.25  # how often a waiting job asks whether it is still wanted
_GAP_EDGE_S = 0.3
_WORTH_ANOTHER = 0.8  # of a window: what is shorter is heard in another way
_NO_TEXT = -9.0  # a score below any text's
_TRY_WINDOWS = 3  # a longer recording has votes enough

Samples = NDArray[np.int16]
WindowBatcher = Batcher[NDArray[np.float32], DecodedWindow]
WindowLane = Lane[NDArray[np.float32], DecodedWindow]


class Recognizer:
    """Speech recognition of a process. `recognize` may be called from several threads, one per job."""

    def __init__(
        self, device: str = "cpu", device_index: int = 0, compute_type: str = "auto", threads: int = 0, limits: BatchLimits = USUAL
    ) -> None:
        """`device` is "cpu" or "cuda"; no threads mean: all cores."""
        self._device = device
        self._device_index = device_index
        self._compute_type = default_compute_type(device, device_index) if compute_type == "auto" else compute_type
        self._threads = threads or os.cpu_count() or 1
        self._models: OrderedDict[Path, WhisperModel] = OrderedDict()
        self._loading = threading.Lock()
        self._detector = SpeechDetector()
        self._limits = limits
        self._batcher: WindowBatcher = Batcher(limits.most(device), feature_threads=1 if device == "cpu" else min(4, self._threads))

    def model(self, model_dir: Path) -> WhisperModel:
        """The model of a folder, loaded when it is not in memory; the one unused longest makes room.

        A job that still uses a model keeps it alive; it is freed when the last one ends.
        """
        with self._loading:
            if model_dir not in self._models:
                while len(self._models) >= _MODELS_KEPT:
                    self._models.popitem(last=False)
                self._models[model_dir] = self._load(model_dir)
                self._batcher.limit_to(self._limits.fitting(self._models, self._device, self._compute_type))
            self._models.move_to_end(model_dir)
            return self._models[model_dir]

    def _load(self, model_dir: Path) -> WhisperModel:
        def load() -> WhisperModel:
            return WhisperModel(model_dir, self._device, self._device_index, self._compute_type, self._threads)

        try:
            return load()
        except OutOfMemory:
            self._models.clear()  # the other models give way, unless a job still uses them
        try:
            return load()
        except OutOfMemory as error:
            raise DeviceOutOfMemory from error

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the models in memory, the one used last at the end."""
        return tuple(path.name for path in list(self._models))

    def warm(self, model_dir: Path) -> None:
        """Load a model and decode a second of silence, so that the first job finds everything compiled and in memory."""
        task = WhisperTask(
            self.model(model_dir), Window(start=0.0, end=1.0, language="en"), np.zeros(SAMPLE_RATE_HZ, np.int16), DecodeOptions()
        )
        with self._batcher.open_lane() as lane:
            lane.submit(task)[0].result()

    def recognize(self, request: RecognizeRequest, samples: Samples, on_event: OnEvent, check: StopCheck) -> Transcript:
        """The transcript of `samples`, int16 at 16 kHz of shape (samples, channels).

        Raises what `check` raises, LanguageUnsupported, NotAvailable, ModelDamaged, DeviceOutOfMemory; DeviceLost means the
        process must end.
        """
        model = self.model(request.model_dir)
        check_options(request.options, model, request.model)
        with self._batcher.open_lane(request.priority) as lane:
            return _Job(request, samples, model=model, detector=self._detector, lane=lane, on_event=on_event, check=check).run()

    def statistics(self) -> BatchStatistics:
        return self._batcher.statistics()

    def close(self) -> None:
        self._batcher.close()
        self._models.clear()


def check_options(options: TranscribeOptions, model: WhisperModel, name: str) -> None:
    """Refuse what the model cannot do; nothing is silently ignored."""
    capabilities = model.capabilities
    for code in (options.language, *options.allowed_languages):
        if code is not None and code not in capabilities.languages:
            raise LanguageUnsupported(code, name)
    if options.task == "translate" and not capabilities.translation:
        raise NotAvailable("task=translate", f"the model '{name}' cannot translate", "Use a multilingual Whisper model.")


class _Progress:
    """Tells the caller how far a job is, in seconds of speech decided; never falls."""

    def __init__(self, job_id: str, on_event: OnEvent) -> None:
        self._job_id = job_id
        self._on_event = on_event
        self._shown = -1.0

    def show(self, stage: Stage, fraction: float) -> None:
        if fraction >= self._shown + 0.002 or fraction >= 1.0 > self._shown:
            self._shown = fraction
            self._on_event(EngineProgress(job_id=self._job_id, stage=stage, fraction=min(fraction, 1.0)))

    def decided(self, segments: tuple[Segment, ...]) -> None:
        if segments:
            self._on_event(SegmentsDecided(job_id=self._job_id, segments=segments))


class _WindowWork:
    """One window on its way: attempts so far, its decided text, and gaps that are being decoded again."""

    def __init__(self, channel: _Channel, window: Window) -> None:
        self.channel = channel
        self.window = window
        self.attempts: list[DecodedWindow] = []
        self.segments: list[Segment] = []
        self.cautions: list[Caution] = []
        self.gaps_open = 0
        self.final = False
        self.settled = True  # False: it failed, and may be in another language
        self.published = False  # the caller has seen a text of it

    @property
    def language(self) -> str | None:
        """What it was decoded in; None when it was not decoded yet."""
        return self.attempts[0].language if self.attempts else None

    def reset(self) -> None:
        """Forget what was decided, to be decoded in another language."""
        self.attempts, self.segments, self.cautions, self.final, self.settled = [], [], [], False, True


class _Gap:
    """Speech without words, decoded again as its own window."""

    def __init__(self, owner: _WindowWork, span: Span, window: Window) -> None:
        self.owner = owner
        self.span = span
        self.window = window


class _Channel:
    """One voice track of the recording with what the detector heard in it."""

    def __init__(
        self, samples: Samples, number: int | None, voice: guard.Voice, windows: Sequence[Window], allowed: Sequence[str]
    ) -> None:
        self.samples = samples
        self.number = number  # None: all channels mixed
        self.voice = voice
        self.vote = language.LanguageVote(allowed)
        self.windows = tuple(windows)

    def cut(self, window: Window) -> Samples:
        return self.samples[round(window.start * SAMPLE_RATE_HZ) : round(window.end * SAMPLE_RATE_HZ)]

    def choose_language(self, window: Window, probabilities: dict[str, float]) -> str:
        return self.vote.hear(window, probabilities, self.voice.seconds(window.start, window.end))


class _Job:
    """The course of one recording; lives in one thread, which waits for the batcher."""

    def __init__(
        self,
        request: RecognizeRequest,
        samples: Samples,
        *,
        model: WhisperModel,
        detector: SpeechDetector,
        lane: WindowLane,
        on_event: OnEvent,
        check: StopCheck,
    ) -> None:
        self._request = request
        self._options = request.options
        self._samples = samples
        self._duration = len(samples) / SAMPLE_RATE_HZ
        self._model = model
        self._detector = detector
        self._lane = lane
        self._check = check
        self._progress = _Progress(request.job_id, on_event)
        self._done: SimpleQueue[tuple[_WindowWork | _Gap, Future[DecodedWindow]]] = SimpleQueue()
        self._open = 0
        self._prompt, self._cautions = _prompt_tokens(self._options, model)
        self._language = self._options.language or (None if model.multilingual else "en")
        self._hints = guard.bare_hints(_hints(self._options))

    def run(self) -> Transcript:
        self._progress.show(Stage.DETECT, 0.0)
        channels = self._listen()
        # Work points to its channel and not the other way: a cycle would keep the audio mapped after the job's end.
        work = [_WindowWork(channel, window) for channel in channels for window in channel.windows]
        work.sort(key=lambda item: item.window.start)
        self._submit(*((item, item.window) for item in work))
        self._decide(work, self._publish_steady)
        self._decide_languages_again(channels, work)
        work = self._divide_mixed(work)
        self._publish(work)
        self._progress.show(Stage.RECOGNIZE, 1.0)
        return self._transcript(channels, work)

    # --- voice and windows ---

    def _listen(self) -> list[_Channel]:
        """The channels to recognise, each with its voice and its windows."""
        if self._options.channels is ChannelMode.MIX:
            if self._samples.shape[1] != 1:
                raise ValueError("mixing channels is the decoder's work: one channel expected")
            return [self._listen_to(0, None)]
        return [self._listen_to(i, i) for i in range(self._samples.shape[1])]

    def _listen_to(self, index: int, number: int | None) -> _Channel:
        samples, count = self._samples[:, index], self._samples.shape[1]

        def on_fraction(fraction: float) -> None:
            self._progress.show(Stage.DETECT, _DETECT_SHARE * (index + fraction) / count)

        probabilities = self._detector.probabilities(samples, on_fraction, self._check)
        spans = speech_spans(probabilities, self._duration, _speech_options(self._options))
        if self._options.voice_activity:
            windows = plan_windows(spans, probabilities, self._duration)
        else:
            windows = whole_windows(probabilities, self._duration)
        return _Channel(samples, number, guard.Voice(probabilities, spans), windows, self._options.allowed_languages)

    # --- decoding ---

    def _submit(self, *items: tuple[_WindowWork | _Gap, Window], temperature: float | None = None) -> None:
        """Queue windows; the first attempts of a job together, whatever decides over finished ones before those."""
        wanted = temperature if temperature is not None else self._options.temperature or 0.0
        urgent = wanted > 0 or any(isinstance(item, _Gap) for item, _ in items)
        futures = self._lane.submit(*(self._task(item, window, wanted) for item, window in items), first=urgent)
        self._open += len(items)
        for (item, _), future in zip(items, futures, strict=True):
            future.add_done_callback(partial(self._report, item))

    def _report(self, item: _WindowWork | _Gap, future: Future[DecodedWindow]) -> None:
        """On the batcher's thread: hand a result over to the job's."""
        self._done.put((item, future))

    def _task(self, item: _WindowWork | _Gap, window: Window, temperature: float) -> WhisperTask:
        channel = item.owner.channel if isinstance(item, _Gap) else item.channel
        if window.language is None and self._language is not None:
            window = msgspec.structs.replace(window, language=self._language)
        options = DecodeOptions(task=self._options.task, prompt=self._prompt, temperature=temperature)
        return WhisperTask(self._model, window, channel.cut(window), options, channel.choose_language)

    def _decide(self, work: Sequence[_WindowWork], publish: Callable[[Sequence[_WindowWork]], None] | None = None) -> None:
        """Take results as they come until every window is final; `publish` is told after each."""
        total = sum(item.window.end - item.window.start for item in work) or 1.0
        while self._open:
            self._take()
            decided = sum(item.window.end - item.window.start for item in work if item.final)
            self._progress.show(Stage.RECOGNIZE, _DETECT_SHARE + (1 - _DETECT_SHARE) * decided / total)
            if publish is not None:
                publish(work)

    def _publish_steady(self, work: Sequence[_WindowWork]) -> None:
        """In order, up to the first window that is undecided or may still be decoded in another language."""
        self._publish(list(takewhile(lambda item: item.published or self._is_steady(item), work)))

    def _publish(self, work: Sequence[_WindowWork]) -> None:
        """Show the caller the windows that he has not seen; a stretch is shown once, whatever becomes of it later."""
        for item in work:
            if not item.published:
                item.published = True
                self._progress.decided(self._shown(item.segments))

    def _is_steady(self, item: _WindowWork) -> bool:
        """Whether no more than a surprise can change the language of this window: all so far are in it, and clearly."""
        if not item.final or not item.settled:
            return False
        heard_alike = set(item.channel.vote.decisions().values()) <= {item.language}
        return self._language is not None or (heard_alike and not self._is_language_open(item))

    def _shown(self, segments: Sequence[Segment]) -> tuple[Segment, ...]:
        """Segments as the caller wants them. Words are always made, sentences are cut by them."""
        if self._options.word_timestamps:
            return tuple(segments)
        return tuple(msgspec.structs.replace(segment, words=()) for segment in segments)

    def _take(self) -> None:
        """Wait for one result; ask now and then whether the job is still wanted."""
        while True:
            self._check()
            try:
                item, future = self._done.get(timeout=_POLL_S)
            except Empty:
                continue
            break
        self._open -= 1
        if future.cancelled():
            raise Cancelled
        if isinstance(item, _Gap):
            self._take_gap(item, future.result())
        else:
            self._take_window(item, future.result())

    def _take_window(self, item: _WindowWork, decoded: DecodedWindow) -> None:
        item.attempts.append(decoded)
        verdict = guard.judge(decoded, item.channel.voice)
        if verdict is guard.Verdict.RETRY and decoded.window.language is None and self._is_language_open(item):
            item.settled = False  # other languages are tried before other temperatures
        elif verdict is guard.Verdict.RETRY:
            following = guard.next_temperature(decoded.temperature, self._options.temperature)
            if following is not None:
                self._submit((item, msgspec.structs.replace(item.window, language=decoded.language)), temperature=following)
                return
            decoded = guard.best(item.attempts)
        if verdict is guard.Verdict.SILENT:
            decoded = msgspec.structs.replace(decoded, segments=())
        self._accept(item, decoded)

    def _accept(self, item: _WindowWork, decoded: DecodedWindow) -> None:
        """Review a window's text, then decode again what was heard but has no words."""
        reviewed = self._review(item, decoded)
        item.segments = list(reviewed.kept)
        item.cautions = list(reviewed.cautions)
        spans = [s for s in item.channel.voice.spans if s.end > item.window.start and s.start < item.window.end]
        inside = [Span(start=max(s.start, item.window.start), end=min(s.end, item.window.end)) for s in spans]
        self._fill_gaps(item, inside, msgspec.structs.replace(item.window, language=decoded.language))

    def _take_gap(self, gap: _Gap, decoded: DecodedWindow) -> None:
        item = gap.owner
        item.gaps_open -= 1
        if guard.is_believable(decoded, item.channel.voice):
            item.segments = words.insert(item.segments, self._review(item, decoded).kept, gap.span)
        self._fill_gaps(item, [gap.span], gap.window)

    def _fill_gaps(self, item: _WindowWork, spans: Sequence[Span], decoded: Window) -> None:
        """Decode again what still has no words in these stretches of what was just decoded.

        A gap nearly as large as that would say the same once more: it is told. So windows shrink, and this ends.
        """
        for span in guard.gaps(spans, item.segments):
            window = _gap_window(span, decoded)
            if window.end - window.start < _WORTH_ANOTHER * (decoded.end - decoded.start):
                item.gaps_open += 1
                self._submit((_Gap(item, span, window), window), temperature=0.0)
            else:
                item.cautions.append(_without_words(span))
        item.final = item.gaps_open == 0

    def _review(self, item: _WindowWork, decoded: DecodedWindow) -> guard.Reviewed:
        """The window's sentences, each with the language of its letters, less what was invented."""
        voice = item.channel.voice
        cut = words.sentences(words.tighten(decoded.segments, voice))
        return guard.review(
            [_in_own_language(segment, item.attempts[0].language_probabilities) for segment in cut],
            voice,
            hints=self._hints,
            trust_detector=self._options.voice_activity,
        )

    # --- languages ---

    def _decide_languages_again(self, channels: Sequence[_Channel], work: Sequence[_WindowWork]) -> None:
        """Windows were decoded in the language that seemed right then; with all votes in, some are decoded anew."""
        again: list[tuple[_WindowWork, str]] = []
        for channel in channels:
            own = [item for item in work if item.channel is channel]
            preferred = self._try_languages(channel, own)
            by_start = channel.vote.decisions()
            for item in own:
                code = preferred or by_start.get(item.window.start)
                if code is not None and item.language is not None and (item.language != code or not item.settled):
                    again.append((item, code))
        for item, _ in again:
            item.reset()
        self._submit(*((item, msgspec.structs.replace(item.window, language=code)) for item, code in again))
        self._decide([item for item, _ in again])

    def _divide_mixed(self, work: Sequence[_WindowWork]) -> list[_WindowWork]:
        """Where neighbouring windows are in different languages, the place of the change is looked for inside them."""
        divided = {id(seam.item): self._parts_by_language(seam) for seam in _seams(work)}
        result = [part for item in work for part in divided.get(id(item), [item])]
        fresh = [item for item in result if not item.attempts]
        self._submit(*((item, item.window) for item in fresh))
        self._decide(fresh)
        return result

    def _parts_by_language(self, seam: _Seam) -> list[_WindowWork]:
        """The window itself, or its parts when it holds both languages. The part at the seam tells whether to look further."""
        item = seam.item
        windows = split_window(item.window, item.channel.voice.probabilities, language.SHORTEST_PART_S)
        (edge,) = self._hear(item.channel, windows[-1:] if seam.at_end else windows[:1], seam.codes)
        if language.decide([edge])[0] == item.language:
            return [item]
        stretches = language.stretches(self._hear(item.channel, windows, seam.codes))
        parts = [_WindowWork(item.channel, window) for window in stretches]
        for part in parts:
            part.published = item.published
        return parts if len(parts) > 1 else [item]

    def _hear(self, channel: _Channel, windows: Sequence[Window], codes: Sequence[str]) -> list[language.Ballot]:
        """Which of these languages each window is in."""
        options = DecodeOptions(detect_only=True)
        tasks = [WhisperTask(self._model, window, channel.cut(window), options) for window in windows]
        heard = [self._wait(future) for future in self._lane.submit(*tasks, first=True)]
        return [
            language.Ballot(
                window=window,
                probabilities=language.restrict(result.language_probabilities, codes),
                speech_s=channel.voice.seconds(window.start, window.end),
            )
            for window, result in zip(windows, heard, strict=True)
        ]

    def _try_languages(self, channel: _Channel, work: Sequence[_WindowWork]) -> str | None:
        """Where the sound leaves the language of a short recording open, the text decides: the most probable one wins."""
        if not 0 < len(work) <= _TRY_WINDOWS or not all(self._is_language_open(item) for item in work):
            return None
        if not any(item.segments or not item.settled for item in work):
            return None  # nothing was said in any language
        candidates = channel.vote.candidates(language.TRY_AT_LEAST)[: language.TRY_AT_MOST]
        scores = [self._score(work, code) - language.LIKELIER_TEXT * rank for rank, code in enumerate(candidates)]
        return candidates[scores.index(max(scores))] if scores else None

    def _is_language_open(self, item: _WindowWork) -> bool:
        """Whether the language of this window was heard, but not clearly."""
        if self._language is not None or item.language is None:
            return False
        return item.channel.vote.confidence(item.language) < language.TRY_OTHERS_BELOW

    def _score(self, items: Sequence[_WindowWork], code: str) -> float:
        """The average log-probability of the text of these windows in a language."""
        tasks = [self._task(item, msgspec.structs.replace(item.window, language=code), 0.0) for item in items]
        drafts = [self._wait(future) for future in self._lane.submit(*tasks, first=True)]
        if not any(draft.segments for draft in drafts) or any(guard.loops(draft) for draft in drafts):
            return _NO_TEXT  # a loop is very probable, and no language
        seconds = [draft.window.end - draft.window.start for draft in drafts]
        return sum(d.avg_logprob * s for d, s in zip(drafts, seconds, strict=True)) / sum(seconds)

    def _wait(self, future: Future[DecodedWindow]) -> DecodedWindow:
        while True:
            self._check()
            try:
                return future.result(timeout=_POLL_S)
            except TimeoutError:
                continue

    # --- the result ---

    def _transcript(self, channels: Sequence[_Channel], work: Sequence[_WindowWork]) -> Transcript:
        segments = _number(
            [_of_channel(segment, item.channel) for item in work for segment in item.segments], self._model, self._duration
        )
        main, probability, spoken = self._languages(channels, segments)
        separate = self._options.channels is ChannelMode.SEPARATE
        cautions = [*self._cautions, *_channel_cautions(channels, separate=separate), *(c for item in work for c in item.cautions)]
        if segments and self._language is None and probability < language.UNCERTAIN_BELOW:
            cautions.append(Caution(code="language_uncertain", message=f"The language was not clear; '{main}' was assumed."))
        return Transcript(
            text=join_texts(segment.text for segment in segments),
            language=main,
            language_probability=round(probability, 4),
            languages=spoken,
            duration=self._duration,
            model=self._request.model,
            segments=self._shown(segments),
            speakers=tuple(Speaker(label=_label(c.number or 0)) for c in channels) if separate else (),
            warnings=tuple(sorted(cautions, key=lambda c: (c.start is not None, c.start or 0.0))),
            task=self._options.task,
        )

    def _languages(self, channels: Sequence[_Channel], segments: Sequence[Segment]) -> tuple[str, float, tuple[str, ...]]:
        """(main language, its probability, all by time spoken)."""
        seconds: dict[str, float] = {}
        for segment in segments:
            seconds[segment.language or "und"] = seconds.get(segment.language or "und", 0.0) + segment.end - segment.start
        if not seconds:
            return "und", 0.0, ()
        spoken = tuple(sorted(seconds, key=lambda code: -seconds[code]))
        if self._language is not None:
            return self._language, 1.0, spoken
        return spoken[0], max(channel.vote.confidence(spoken[0]) for channel in channels), spoken


class _Seam:
    """A window beside one in another language."""

    def __init__(self, item: _WindowWork, codes: tuple[str, str], *, at_end: bool) -> None:
        self.item = item
        self.codes = codes
        self.at_end = at_end  # the other language follows; else it comes before


def _seams(work: Sequence[_WindowWork]) -> list[_Seam]:
    """Windows whose neighbour in the same channel is in another language; each once."""
    found: dict[int, _Seam] = {}
    for channel in {id(item.channel): item.channel for item in work}.values():
        own = [item for item in work if item.channel is channel and item.language is not None]
        for first, second in pairwise(own):
            codes = (first.language or "", second.language or "")
            if codes[0] != codes[1]:
                found.setdefault(id(first), _Seam(first, codes, at_end=True))
                found.setdefault(id(second), _Seam(second, codes, at_end=False))
    return list(found.values())


def _speech_options(options: TranscribeOptions) -> SpeechOptions:
    default = SpeechOptions()
    return SpeechOptions(
        threshold=default.threshold if options.vad_threshold is None else options.vad_threshold,
        min_silence_ms=default.min_silence_ms if options.vad_min_silence_ms is None else options.vad_min_silence_ms,
        pad_ms=default.pad_ms if options.vad_speech_pad_ms is None else options.vad_speech_pad_ms,
    )


def _prompt_tokens(options: TranscribeOptions, model: WhisperModel) -> tuple[tuple[int, ...], list[Caution]]:
    """Hotwords and prompt as tokens before each window. Too long: the hotwords stay, the prompt keeps its end."""
    hotwords = model.encode_text(", ".join(options.hotwords)) if options.hotwords else ()
    prompt = model.encode_text(options.initial_prompt) if options.initial_prompt else ()
    kept_hotwords = hotwords[:MAX_PROMPT_TOKENS]
    room = MAX_PROMPT_TOKENS - len(kept_hotwords)
    kept = kept_hotwords + (prompt[-room:] if room else ())
    if len(kept) == len(hotwords) + len(prompt):
        return kept, []
    message = f"Hotwords and prompt are too long for the model: {len(kept)} of {len(hotwords) + len(prompt)} tokens were used."
    return kept, [Caution(code="prompt_truncated", message=message)]


def _hints(options: TranscribeOptions) -> tuple[str, ...]:
    return (*options.hotwords, ", ".join(options.hotwords), *([options.initial_prompt] if options.initial_prompt else []))


def _gap_window(gap: Span, around: Window) -> Window:
    """The gap with a little around it, inside the window that it was found in, and in its language."""
    return msgspec.structs.replace(
        around, start=max(gap.start - _GAP_EDGE_S, around.start), end=min(gap.end + _GAP_EDGE_S, around.end)
    )


def _without_words(span: Span) -> Caution:
    message = "A voice was heard here, but no words were recognised."
    return Caution(code="speech_without_words", message=message, start=round(span.start, 2), end=round(span.end, 2))


def _channel_cautions(channels: Sequence[_Channel], *, separate: bool) -> list[Caution]:
    message = "Separate channels were asked for, but the recording has one channel only; the voices in it were not told apart."
    single = [Caution(code="single_channel", message=message)] if separate and len(channels) == 1 else []
    silent = [channel for channel in channels if not channel.voice.spans]
    if len(silent) == len(channels):
        return [*single, Caution(code="silence", message="No speech was heard in this recording.")]
    return single + [
        Caution(code="channel_silent", message=f"No speech was heard in channel {(c.number or 0) + 1}.") for c in silent
    ]


def _in_own_language(segment: Segment, probabilities: Mapping[str, float]) -> Segment:
    code = language.language_of_text(segment.text, segment.language or "", probabilities)
    return segment if code == segment.language else msgspec.structs.replace(segment, language=code)


def _label(channel: int) -> str:
    return f"SPEAKER_{channel:02d}"


def _of_channel(segment: Segment, channel: _Channel) -> Segment:
    if channel.number is None:
        return segment
    label = _label(channel.number)
    own_words = tuple(msgspec.structs.replace(word, speaker=label) for word in segment.words)
    return msgspec.structs.replace(segment, channel=channel.number, speaker=label, words=own_words)


def _number(segments: Sequence[Segment], model: WhisperModel, duration: float) -> tuple[Segment, ...]:
    """Segments in order of time, numbered, within the recording, each with the tokens of its own text."""
    ordered = sorted(segments, key=lambda s: (s.start, s.end))
    return tuple(
        msgspec.structs.replace(
            segment,
            id=i,
            start=round(segment.start, 2),
            end=round(min(max(segment.end, segment.start), duration), 2),
            tokens=model.encode_text(segment.text),
        )
        for i, segment in enumerate(ordered)
    )
