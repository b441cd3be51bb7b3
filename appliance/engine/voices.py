"""Which of the speakers found are people known by a sample of their voice: voice prints compared, each person given once.

The prints come from `diarizer.py`. Where a voice is like nobody's sample, nobody is named.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

# Cosine of two prints. Of six readers' short utterances (`python -m tests.accuracy.voices`) one person's were alike by 0.67 to
# 0.96 and two persons' by 0.46 at most; a telephone or a far microphone takes some of the likeness away.
ALIKE = 0.5

Print = NDArray[np.float32]  # (dimension,), of any length


def name_voices(speakers: Mapping[str, Print], known: Mapping[str, Print]) -> dict[str, str]:
    """Speaker to name, for those whose voice is like a sample; of all ways to pair them, the one with most likeness in sum."""
    if not speakers or not known:
        return {}
    labels, names = list(speakers), list(known)
    likeness = _unit(speakers) @ _unit(known).T
    pairs = zip(*linear_sum_assignment(likeness, maximize=True), strict=True)
    return {labels[speaker]: names[name] for speaker, name in pairs if likeness[speaker, name] >= ALIKE}


def _unit(prints: Mapping[str, Print]) -> NDArray[np.float32]:
    stacked = np.stack(list(prints.values()))
    unit: NDArray[np.float32] = stacked / np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), 1e-9)
    return unit
