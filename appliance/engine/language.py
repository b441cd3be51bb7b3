"""Which language is spoken: all windows vote, and a window keeps a language of its own only on good evidence.

Pure. The decoder hears a distribution per window for the price of one decoder step, so every window votes, not the first
alone (PAINS 3); a change of language costs something, so one doubtful window (p = 0.29) changes nothing.
"""

from __future__ import annotations

import math
import threading
import unicodedata
from collections.abc import Mapping, Sequence

from appliance.domain import Value
from appliance.engine.protocol import Window

SWITCH_COST = 1.7  # nats: a lone window must be 30 times likelier in its own language, one at an edge 5.5 times
_FULL_WEIGHT_S = 10.0  # a window with less speech than this counts for less
_FLOOR = 1e-4  # no single window can rule a language out
UNCERTAIN_BELOW = 0.5
SHORTEST_PART_S = 3.0  # of a window that holds two languages; less says nothing about its language
_LETTERS_TO_TELL = 4
TRY_OTHERS_BELOW = 0.65  # a short recording less sure than this is decoded in its likeliest languages, and the text decides
TRY_AT_LEAST = 0.05
TRY_AT_MOST = 4
LIKELIER_TEXT = 0.1  # by how much another language's text must be more probable for its sound's lesser probability


class Ballot(Value, frozen=True):
    """What one window says about its language."""

    window: Window
    probabilities: Mapping[str, float]
    speech_s: float

    @property
    def weight(self) -> float:
        return min(1.0, max(self.speech_s, 0.5) / _FULL_WEIGHT_S)


def restrict(probabilities: Mapping[str, float], allowed: Sequence[str]) -> dict[str, float]:
    """Only the allowed languages (empty: all), scaled to sum 1; uniform when none of them was heard at all."""
    kept = {code: p for code, p in probabilities.items() if not allowed or code in allowed}
    total = sum(kept.values())
    if total <= 0:
        return {code: 1 / len(allowed) for code in allowed} if allowed else {}
    return {code: p / total for code, p in kept.items()}


def decide(ballots: Sequence[Ballot]) -> tuple[str, ...]:
    """The likeliest course of languages through the windows, in order (Viterbi: votes, minus the cost of each change)."""
    codes = _candidates(ballots)
    return _best_path(ballots, codes) if codes else ("und",) * len(ballots)


def stretches(ballots: Sequence[Ballot]) -> list[Window]:
    """Neighbouring windows that are decided to be in one language, joined; each names its language."""
    joined: list[Window] = []
    for ballot, code in zip(ballots, decide(ballots), strict=True):
        start = ballot.window.start
        if joined and joined[-1].language == code:
            start = joined.pop().start
        joined.append(Window(start=start, end=ballot.window.end, language=code))
    return joined


def _candidates(ballots: Sequence[Ballot]) -> list[str]:
    """Languages that lead in some window; the rest cannot win."""
    return sorted({max(b.probabilities, key=b.probabilities.__getitem__) for b in ballots if b.probabilities})


def _votes(ballot: Ballot, codes: Sequence[str]) -> list[float]:
    return [ballot.weight * math.log(max(ballot.probabilities.get(code, 0.0), _FLOOR)) for code in codes]


def _best_path(ballots: Sequence[Ballot], codes: Sequence[str]) -> tuple[str, ...]:
    scores = _votes(ballots[0], codes)
    came_from: list[list[int]] = []
    for ballot in ballots[1:]:
        best = max(range(len(codes)), key=scores.__getitem__)
        back = [i if scores[i] >= scores[best] - SWITCH_COST else best for i in range(len(codes))]
        stay = [max(scores[i], scores[best] - SWITCH_COST) for i in range(len(codes))]
        scores = [s + v for s, v in zip(stay, _votes(ballot, codes), strict=True)]
        came_from.append(back)
    at = max(range(len(codes)), key=scores.__getitem__)
    backwards = [at, *(at := back[at] for back in reversed(came_from))]
    return tuple(codes[i] for i in reversed(backwards))


def confidence(ballots: Sequence[Ballot], path: Sequence[str], code: str) -> float:
    """The average probability of a language over the ballots decided to be in it, weighted by speech; 0 when none is."""
    own = [(b.weight, b.probabilities.get(code, 0.0)) for b, decided in zip(ballots, path, strict=True) if decided == code]
    return sum(w * p for w, p in own) / sum(w for w, _ in own) if own else 0.0


_SCRIPTS = {  # of languages not written in Latin letters: the names of their letters begin so
    "CJK": ("zh", "yue", "ja"),
    "HIRAGANA": ("ja",),
    "KATAKANA": ("ja",),
    "HANGUL": ("ko",),
    "CYRILLIC": ("ru", "uk", "bg", "sr", "mk", "be", "kk", "mn", "tg", "tt", "ba"),
    "ARABIC": ("ar", "fa", "ur", "ps", "sd"),
    "HEBREW": ("he", "yi"),
    "GREEK": ("el",),
    "THAI": ("th",),
    "DEVANAGARI": ("hi", "mr", "ne", "sa"),
}
_OTHER_SCRIPTS = frozenset(code for codes in _SCRIPTS.values() for code in codes)


def language_of_text(text: str, code: str, probabilities: Mapping[str, float]) -> str:
    """The language of a sentence whose letters its window's language does not use: the likeliest one that does.

    Whisper writes an English sentence in a Chinese window in English; it should not be called Chinese.
    """
    if code not in _OTHER_SCRIPTS or not probabilities:
        return code
    letters = [unicodedata.name(c, "").split(" ")[0] for c in text if c.isalpha()]
    if len(letters) < _LETTERS_TO_TELL or any(name != "LATIN" for name in letters):
        return code
    latin = {c: p for c, p in probabilities.items() if c not in _OTHER_SCRIPTS}
    return max(latin, key=latin.__getitem__, default=code)


class LanguageVote:
    """Collects ballots while windows are decoded, and answers each at once with what is known by then.

    Called from the batcher's thread and the job's.
    """

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._allowed = tuple(allowed)
        self._ballots: dict[float, Ballot] = {}  # by the window's start
        self._lock = threading.Lock()

    def hear(self, window: Window, probabilities: Mapping[str, float], speech_s: float) -> str:
        """Note what a window says and decide its language."""
        ballot = Ballot(window=window, probabilities=restrict(probabilities, self._allowed), speech_s=speech_s)
        with self._lock:
            self._ballots[window.start] = ballot
            return self._decide()[window.start]

    def decisions(self) -> dict[float, str]:
        """Each window's language by its start, as decided with all that was heard so far."""
        with self._lock:
            return self._decide()

    def confidence(self, code: str) -> float:
        """The average probability of a language over the windows decided to be in it; over all when there are none."""
        with self._lock:
            ballots = [self._ballots[start] for start in sorted(self._ballots)]
            return confidence(ballots, decide(ballots), code) or confidence(ballots, [code] * len(ballots), code)

    def candidates(self, least: float) -> tuple[str, ...]:
        """Languages whose average probability over all windows is at least this, likeliest first."""
        with self._lock:
            ballots = list(self._ballots.values())
        total = sum(b.weight for b in ballots)
        shares: dict[str, float] = {}
        for ballot in ballots:
            for code, p in ballot.probabilities.items():
                shares[code] = shares.get(code, 0.0) + ballot.weight * p / total
        return tuple(sorted((code for code, share in shares.items() if share >= least), key=lambda code: -shares[code]))

    def _decide(self) -> dict[float, str]:
        starts = sorted(self._ballots)
        return dict(zip(starts, decide([self._ballots[start] for start in starts]), strict=True))
