"""Is this text what was said? Judged by evidence: the voice detector, probabilities, repetition, stock phrases.

Pure. Thresholds 2.4, -1.0 and 0.6 are the original Whisper's. Whisper invents text over silence and music with high
confidence (PAINS 1), so its own probabilities are never believed against the voice detector alone, nor the detector alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence, Set
from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

from appliance.audio.speech import FRAME_S
from appliance.domain import Caution, Segment, Span, Value
from appliance.engine.protocol import DecodedWindow

MAX_COMPRESSION_RATIO = 2.4
MIN_AVG_LOGPROB = -1.0
MAX_NO_SPEECH = 0.6
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
LOOP_REPEATS = 4  # the same words this often in a row
_NO_VOICE = 0.01  # of a window's time
UNHEARD_BELOW = 0.10  # fraction of a segment's time with voice
FAINT_BELOW = 0.35
_FAINT_MIN_LOGPROB = -0.6
GAP_S = 1.0  # speech without words shorter than this is a breath, a laugh, a cut-off syllable
_LONGEST_WORD_S = 2.0
_SECONDS_PER_DIGIT = 0.5  # "1469" is one word to read and four to say
_GAP_MIN_LOGPROB = -0.8
_GAP_MIN_PROBABILITY = 0.4
_REACH_S = 0.35  # word times are this inexact
_SECONDS_PER_CHARACTER = 0.05  # fast speech

# What Whisper says when nobody speaks: endings of the videos it was trained on. Compared without case and punctuation.
_STOCK_PHRASES = """
    you|thank you|thank you very much|thank you so much|thanks|thanks for watching|thank you for watching|bye|bye bye|okay|oh
    hmm|so|the|the end|please subscribe|please subscribe to my channel|like and subscribe|subscribe|see you next time
    see you in the next video|music|applause|im going to go ahead and do that|ill see you next time|well be right back
    silence|uh|um|mm|mmm|ah|i|and|yeah|no|yes|hello|hi|wow|beep|boom|subtitles by the amara org community
    transcription by castingwords|subtitles by|captioning by|copyright|sous titres realises par la communaute damara org
    sous titrage societe radio canada|sous titres realises para la communaute damara org|merci|merci davoir regarde
    merci davoir regarde cette video|abonnez vous|sous titrage st 501|untertitel der amara org community
    untertitel im auftrag des zdf fur funk 2017|untertitel von stephanie geiges|vielen dank|danke|tschuss
    vielen dank furs zuschauen|bis zum nachsten mal|copyright wdr 2021|untertitelung des zdf 2020|gracias
    gracias por ver el video|muchas gracias|subtitulos realizados por la comunidad de amara org|suscribete|hasta la proxima
    sottotitoli creati dalla comunita amara org|grazie|grazie per aver guardato il video
    sottotitoli e revisione a cura di qtss|legendas pela comunidade amara org|obrigado|obrigada|tchau|obrigado por assistir
    продолжение следует|субтитры сделал dimatorzok|субтитры создавал dimatorzok
    редактор субтитров а синецкая корректор а егорова|спасибо|спасибо за просмотр|ご視聴ありがとうございました
    ご視聴ありがとうございます|ありがとうございました|チャンネル登録お願いします|おやすみなさい|字幕由amara org社区提供
    请不吝点赞 订阅 转发 打赏支持明镜与点点栏目|谢谢|谢谢观看|谢谢大家|字幕by索兰娅|中文字幕志愿者 李宗盛
    시청해주셔서 감사합니다|감사합니다|구독과 좋아요 부탁드립니다|mbc 뉴스 이덕영입니다
    napisy stworzone przez spolecznosc amara org|dziekuje|dziekuje za uwage
    ondertitels ingediend door de amara org gemeenschap|ondertiteling|dank u|bedankt|tack|tack for att ni tittade|takk|kiitos
    altyazi m k|izlediginiz icin tesekkurler|tesekkurler|شكرا|ترجمة نانسي قنقر|اشتركوا في القناة
"""


class Verdict(StrEnum):
    """What to do with a decoded window."""

    ACCEPT = "accept"
    RETRY = "retry"  # at the next temperature
    SILENT = "silent"  # nobody speaks here: no text


class Voice:
    """The voice detector's evidence for one channel."""

    def __init__(self, probabilities: NDArray[np.float32], spans: Sequence[Span]) -> None:
        self.probabilities = probabilities
        self.spans = tuple(spans)
        self._voiced = np.concatenate(([0.0], np.cumsum(probabilities >= 0.3)))

    def share(self, start: float, end: float) -> float:
        """How much of a stretch has voice: 0..1."""
        first, last = self._frames(start, end)
        return float(self._voiced[last] - self._voiced[first]) / (last - first) if last > first else 0.0

    def heard(self, segment: Segment) -> float:
        """How much of the voice that this text needs was heard: 0..1. Alignment stretches words, so time alone says little."""
        needed = min(segment.end - segment.start, _SECONDS_PER_CHARACTER * len(segment.text))
        return min(1.0, self.voiced(segment.start, segment.end) / max(needed, 0.1))

    def voiced(self, start: float, end: float) -> float:
        """Seconds of frames with voice in a stretch, widened by the inexactness of word times."""
        first, last = self._frames(start - _REACH_S, end + _REACH_S)
        return float(self._voiced[last] - self._voiced[first]) * FRAME_S

    def runs(self, start: float, end: float) -> list[Span]:
        """Stretches of voice between two times."""
        first, last = self._frames(start, end)
        inside = np.concatenate(([0], np.diff(self._voiced[first : last + 1]), [0]))
        edges = np.flatnonzero(np.diff(inside))
        times = [min(max((first + int(edge)) * FRAME_S, start), end) for edge in edges]
        return [Span(start=a, end=b) for a, b in zip(times[::2], times[1::2], strict=True)]

    def _frames(self, start: float, end: float) -> tuple[int, int]:
        frames = len(self.probabilities)
        first = min(max(int(start / FRAME_S), 0), frames)
        return first, min(max(int(end / FRAME_S) + 1, first), frames)

    def seconds(self, start: float, end: float) -> float:
        """Seconds of detected speech between two times."""
        return sum(max(0.0, min(span.end, end) - max(span.start, start)) for span in self.spans)


# --- windows ----------------------------------------------------------------------------------------------------------


def judge(decoded: DecodedWindow, voice: Voice) -> Verdict:
    """Whether a window's text stands, as the original Whisper decides, with the voice detector as a witness."""
    if not decoded.segments:
        return Verdict.SILENT
    heard = voice.share(decoded.window.start, decoded.window.end)
    improbable = decoded.avg_logprob < MIN_AVG_LOGPROB
    if decoded.no_speech_prob > MAX_NO_SPEECH and improbable and heard < 0.5:
        return Verdict.SILENT
    if heard < _NO_VOICE and (improbable or loops(decoded)):
        return Verdict.SILENT  # noise at any temperature is noise, and six attempts are slow
    if improbable or loops(decoded):
        return Verdict.RETRY
    return Verdict.ACCEPT


def loops(decoded: DecodedWindow) -> bool:
    return (
        decoded.compression_ratio > MAX_COMPRESSION_RATIO
        or repeated(" ".join(s.text for s in decoded.segments)) >= LOOP_REPEATS * 2
    )


def best(attempts: Sequence[DecodedWindow]) -> DecodedWindow:
    """Of attempts that all failed: the most probable of those that do not repeat themselves."""
    return max([a for a in attempts if not loops(a)] or attempts, key=lambda a: a.avg_logprob)


def next_temperature(tried: float, fixed: float | None) -> float | None:
    """The next step of the ladder; None at its end, or when the caller fixed the temperature."""
    if fixed is not None:
        return None
    return next((t for t in TEMPERATURES if t > tried + 1e-6), None)


# --- segments ---------------------------------------------------------------------------------------------------------


class Reviewed(Value, frozen=True):
    kept: tuple[Segment, ...]
    cautions: tuple[Caution, ...]


def review(segments: Sequence[Segment], voice: Voice, *, hints: Set[str] = frozenset(), trust_detector: bool = True) -> Reviewed:
    """Take out text that was invented over silence or music; flag what is doubtful.

    `hints`: hotwords and prompt, as `bare_hints` makes them. `trust_detector` is off where the caller switched voice
    detection off, because he expects speech that it misses: then only what is weak in itself goes, and the rest is flagged.
    """
    kept: list[Segment] = []
    cautions: list[Caution] = []
    for segment in segments:
        if is_invented(segment, voice, hints, trust_detector=trust_detector):
            cautions.append(
                _caution("possible_hallucination", "Text was left out here: too little voice was heard under it.", segment)
            )
            continue
        kept.append(segment)
        cautions += _doubts(segment, voice)
    return Reviewed(kept=tuple(kept), cautions=tuple(cautions))


def bare_hints(hints: Iterable[str]) -> frozenset[str]:
    """Hints as texts are compared with them."""
    return frozenset(map(_bare, hints))


def is_invented(segment: Segment, voice: Voice, hints: Set[str] = frozenset(), *, trust_detector: bool = True) -> bool:
    """No voice under it; or hardly any, and it is a stock phrase, a hint echoed, or improbable."""
    heard = voice.heard(segment)
    if heard < UNHEARD_BELOW and trust_detector:
        return True
    stock = is_stock_phrase(segment.text) or _bare(segment.text) in hints
    weak = segment.avg_logprob < MIN_AVG_LOGPROB or _word_probability(segment) < 0.3
    if heard < FAINT_BELOW:
        return stock or weak or segment.no_speech_prob > MAX_NO_SPEECH or segment.avg_logprob < _FAINT_MIN_LOGPROB
    return (stock or weak) and segment.no_speech_prob > MAX_NO_SPEECH and segment.avg_logprob < -0.7


def _doubts(segment: Segment, voice: Voice) -> list[Caution]:
    doubts = []
    if voice.heard(segment) < FAINT_BELOW:
        doubts.append(_caution("possible_hallucination", "Hardly any voice was heard under this text.", segment))
    if segment.compression_ratio > MAX_COMPRESSION_RATIO or repeated(segment.text) >= LOOP_REPEATS:
        doubts.append(_caution("repetition", "The same words come again and again here.", segment))
    elif segment.avg_logprob < MIN_AVG_LOGPROB:
        doubts.append(_caution("low_confidence", "The recogniser is unsure of these words.", segment))
    return doubts


def _caution(code: str, message: str, segment: Segment) -> Caution:
    return Caution(code=code, message=message, start=segment.start, end=segment.end)


def _word_probability(segment: Segment) -> float:
    return sum(w.probability for w in segment.words) / len(segment.words) if segment.words else 1.0


def is_stock_phrase(text: str) -> bool:
    return _bare(text) in _stock_phrases()


@cache
def _stock_phrases() -> frozenset[str]:
    return frozenset(_bare(phrase) for phrase in re.split(r"[|\n]", _STOCK_PHRASES) if phrase.strip())


def _bare(text: str) -> str:
    """Lower case, without accents and punctuation, single spaces."""
    folded = "".join(c for c in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(c))
    folded = unicodedata.normalize("NFKC", folded)
    return re.sub(r"[^\w]+", " ", folded.replace("'", "").replace("’", "")).strip()


def repeated(text: str) -> int:
    """How often in a row the most repeated group of one to eight words comes."""
    words = _bare(text).split()
    return max((_run(words, size) for size in range(1, min(8, len(words)) + 1)), default=0)


def _run(words: Sequence[str], size: int) -> int:
    """The longest run of equal neighbouring groups of this size."""
    longest = matching = 0
    for i in range(size, len(words)):
        matching = matching + 1 if words[i] == words[i - size] else 0
        longest = max(longest, matching)
    return longest // size + 1


# --- gaps ---------------------------------------------------------------------------------------------------------


def gaps(spans: Sequence[Span], segments: Sequence[Segment]) -> tuple[Span, ...]:
    """Stretches of speech of more than a second that no word covers (nor segment, where words have no times)."""
    covered = sorted(_covered(segments))
    return tuple(gap for span in spans for gap in _uncovered(span, covered))


def _covered(segments: Sequence[Segment]) -> Iterator[tuple[float, float]]:
    """What each word can cover: alignment stretches a word over speech that was not recognised, so no word covers seconds."""
    for segment in segments:
        if not segment.words:
            yield segment.start, segment.end
        for word in segment.words:
            longest = _LONGEST_WORD_S + _SECONDS_PER_DIGIT * sum(c.isdigit() for c in word.text)
            yield word.start, word.end if word.end - word.start <= longest else word.start + _LONGEST_WORD_S / 2


def _uncovered(span: Span, covered: Sequence[tuple[float, float]]) -> Iterator[Span]:
    at = span.start
    for start, end in covered:
        if end <= at or start >= span.end:
            continue
        if start - at >= GAP_S:
            yield Span(start=at, end=start)
        at = max(at, end)
    if span.end - at >= GAP_S:
        yield Span(start=at, end=span.end)


def is_believable(decoded: DecodedWindow, voice: Voice) -> bool:
    """Whether a gap's text, decoded without its context, may be added: it must be better than a window's own."""
    return (
        judge(decoded, voice) is Verdict.ACCEPT
        and decoded.avg_logprob > _GAP_MIN_LOGPROB
        and all(_word_probability(segment) > _GAP_MIN_PROBABILITY for segment in decoded.segments)
        and not all(is_stock_phrase(segment.text) for segment in decoded.segments)
    )
