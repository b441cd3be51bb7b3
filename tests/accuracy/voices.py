"""How alike voice prints of one person are, and of two: what the threshold in `engine/voices.py` rests on.

`python -m tests.accuracy.voices` compares every short utterance of the manifest's speakers with the mean print of each
speaker's other utterances, as a known voice is compared with a speaker of a conversation.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from appliance.engine.diarizer import load
from appliance.engine.protocol import VoiceSample
from appliance.engine.voices import ALIKE
from appliance.settings import Settings
from tests.recordings import SHARED_AUDIO, manifest, read_samples

SETS = ("librispeech_test-other", "ljspeech")
SAMPLE_S = (2.0, 10.0)


def prints_by_speaker() -> dict[str, list[NDArray[np.float32]]]:
    """Unit vectors, one per utterance."""
    diarizer = load(Settings().models_dir / "speaker-diarization", "cpu", 2)  # type: ignore[call-arg]  # all have defaults
    found = defaultdict(list)
    for entry in manifest():
        if entry["set"] in SETS and SAMPLE_S[0] <= entry["duration_s"] <= SAMPLE_S[1]:
            sample = VoiceSample(entry["speaker"], read_samples(SHARED_AUDIO / entry["file"]).tobytes())
            print_ = diarizer.voice_print(sample, lambda: None)
            found[entry["speaker"]].append(print_ / np.linalg.norm(print_))
    return found


def likenesses(prints: dict[str, list[NDArray[np.float32]]]) -> tuple[list[float], list[float]]:
    """Cosines of each utterance with its own speaker's others, and with the other speakers."""
    same, different = [], []
    for speaker, mine in prints.items():
        for position, sample in enumerate(mine):
            others = np.mean(mine[:position] + mine[position + 1 :], axis=0)
            same.append(float(sample @ others / np.linalg.norm(others)))
            for stranger in prints.keys() - {speaker}:
                theirs = np.mean(prints[stranger], axis=0)
                different.append(float(sample @ theirs / np.linalg.norm(theirs)))
    return same, different


def main() -> None:
    same, different = likenesses(prints_by_speaker())
    for name, values in (("one person", same), ("two persons", different)):
        low, median, high = np.quantile(values, (0.0, 0.5, 1.0))
        print(f"{name}: {len(values)} pairs, from {low:.2f} over {median:.2f} to {high:.2f}")
    print(
        f"below {ALIKE}: {np.mean(np.array(same) < ALIKE):.1%} of one person's, {np.mean(np.array(different) < ALIKE):.1%} of two"
    )


if __name__ == "__main__":
    main()
