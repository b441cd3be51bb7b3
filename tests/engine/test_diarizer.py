"""The real diarization models on real speech: who spoke when, within bounds of time, memory and trust."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from appliance.domain import SpeakerCount, Turn
from appliance.engine.protocol import Diarization, VoiceSample
from appliance.errors import Cancelled, DeviceOutOfMemory, InvalidField, ModelDamaged
from appliance.settings import Settings
from tests.recordings import SHARED_AUDIO, read_samples, shared, telephone_call

if TYPE_CHECKING:  # importing it takes 10-30 s (TRAPS 31), too long for collecting tests
    from appliance.engine.diarizer import PyannoteDiarizer

Samples = NDArray[np.int16]
RATE_HZ = 16_000

engine = pytest.mark.engine


@pytest.fixture(scope="module")
def model_dir() -> Path:
    folder = Settings().models_dir / "speaker-diarization"  # type: ignore[call-arg]  # every setting has a default
    if not (folder / "pipeline.json").exists():
        pytest.skip("the diarization model is not installed: run 'appliance models fetch speaker-diarization'")
    return folder


@pytest.fixture(scope="module")
def diarizer(model_dir: Path) -> PyannoteDiarizer:
    from appliance.engine.diarizer import load  # noqa: PLC0415 - see above

    return load(model_dir, "cpu", 2)


@pytest.fixture(scope="module")
def call() -> Samples:
    return read_samples(telephone_call())


def go_on() -> None:
    """A check that never stops anything."""


def diarize(diarizer: PyannoteDiarizer, samples: Samples, **count: int) -> Diarization:
    return diarizer.diarize(samples, SpeakerCount(**count), lambda _fraction: None, go_on)


@pytest.fixture(scope="module")
def call_turns(diarizer: PyannoteDiarizer, call: Samples) -> Diarization:
    return diarize(diarizer, call)


@engine
def test_a_known_voice_is_recognised_and_a_strangers_is_given_to_nobody(
    diarizer: PyannoteDiarizer, call: Samples, call_turns: Diarization
) -> None:
    longest = max((turn for turn in call_turns.exclusive if turn.speaker == "SPEAKER_01"), key=lambda turn: turn.end - turn.start)
    start = round(longest.start * RATE_HZ)
    mine = VoiceSample("Ada", call[start : start + 3 * RATE_HZ].tobytes())
    stranger = VoiceSample("Eve", read_samples(shared("librispeech_test-other/1998-15444-0001.flac")).tobytes())
    found = diarizer.diarize(call, SpeakerCount(), lambda _fraction: None, go_on, voices=[stranger, mine])
    assert found.names == {"SPEAKER_01": "Ada"}
    assert found.exclusive == call_turns.exclusive


@engine
def test_a_sample_without_speech_is_refused(diarizer: PyannoteDiarizer, call: Samples) -> None:
    silence = VoiceSample("Ada", bytes(2 * 3 * RATE_HZ))
    with pytest.raises(InvalidField, match="no speech in the sample of 'Ada'"):
        diarizer.diarize(call, SpeakerCount(), lambda _fraction: None, go_on, voices=[silence])


def voices(result: Diarization) -> set[str]:
    return {turn.speaker for turn in result.turns}


def talking(turns: tuple[Turn, ...], speaker: str, length: int) -> NDArray[np.bool_]:
    """Per 10 ms."""
    times = np.zeros(length, bool)
    for turn in turns:
        if turn.speaker == speaker:
            times[round(turn.start * 100) : round(turn.end * 100)] = True
    return times


@engine
def test_a_telephone_call_has_its_two_speakers_where_people_heard_them(call_turns: Diarization) -> None:
    lines = [line.split() for line in telephone_call().with_suffix(".rttm").read_text().splitlines()]
    people = tuple(Turn(start=float(f[3]), end=float(f[3]) + float(f[4]), speaker=f[7]) for f in lines)
    first, second = dict.fromkeys(turn.speaker for turn in people)
    assert voices(call_turns) == {"SPEAKER_00", "SPEAKER_01"}
    for label, person in (("SPEAKER_00", first), ("SPEAKER_01", second)):
        ours, theirs = talking(call_turns.turns, label, 3000), talking(people, person, 3000)
        assert np.logical_and(ours, theirs).sum() > 0.85 * np.logical_or(ours, theirs).sum()


@engine
def test_turns_are_in_order_and_one_speaker_at_a_time_in_the_exclusive_ones(call_turns: Diarization) -> None:
    assert [turn.start for turn in call_turns.turns] == sorted(turn.start for turn in call_turns.turns)
    assert all(0 <= turn.start < turn.end <= 30.0 for turn in call_turns.turns)
    assert any(first.end > second.start for first, second in pairwise(call_turns.turns)), "they do talk over each other"
    assert all(first.end <= second.start for first, second in pairwise(call_turns.exclusive))
    assert call_turns.turns[0].speaker == "SPEAKER_00"


@engine
def test_equal_input_gives_equal_output(diarizer: PyannoteDiarizer, call: Samples) -> None:
    part = call[: 12 * RATE_HZ]
    assert diarize(diarizer, part) == diarize(diarizer, part)


@engine
@pytest.mark.parametrize("count", [{"exact": 1}, {"at_most": 1}, {"exact": 3}, {"at_least": 3}, {"at_least": 2, "at_most": 2}])
def test_a_known_number_of_speakers_is_honoured(diarizer: PyannoteDiarizer, call: Samples, count: dict[str, int]) -> None:
    wanted = next(iter(count.values()))
    assert len(voices(diarize(diarizer, call[: 20 * RATE_HZ], **count))) == wanted


@engine
@pytest.mark.parametrize("count", [{"at_least": 4, "at_most": 2}, {"at_least": -1}])
def test_impossible_bounds_are_refused(diarizer: PyannoteDiarizer, count: dict[str, int]) -> None:
    with pytest.raises(InvalidField, match="speakers"):
        diarize(diarizer, np.zeros(RATE_HZ, np.int16), **count)


@engine
@pytest.mark.parametrize("length_s", [0.0, 0.001, 0.2, 9.9, 10.0, 10.5])
def test_silence_of_any_length_has_no_turns(diarizer: PyannoteDiarizer, length_s: float) -> None:
    result = diarize(diarizer, np.zeros(round(length_s * RATE_HZ), np.int16))
    assert result == Diarization(turns=(), exclusive=())


@engine
@pytest.mark.parametrize("length_s", [0.2, 1.0, 4.0])
def test_very_short_speech_works(diarizer: PyannoteDiarizer, call: Samples, length_s: float) -> None:
    start = 22 * RATE_HZ
    result = diarize(diarizer, call[start : start + round(length_s * RATE_HZ)])
    assert all(turn.end <= length_s for turn in result.turns)
    assert len(voices(result)) <= 1
    assert length_s < 1 or voices(result) == {"SPEAKER_00"}


@engine
def test_one_reader_is_one_speaker(diarizer: PyannoteDiarizer) -> None:
    result = diarize(diarizer, read_samples(shared("long/printing.mp3"))[: 25 * RATE_HZ])
    assert voices(result) == {"SPEAKER_00"}


@engine
def test_progress_only_rises_and_ends_at_one(diarizer: PyannoteDiarizer, call: Samples) -> None:
    fractions: list[float] = []
    diarizer.diarize(call[: 14 * RATE_HZ], SpeakerCount(), fractions.append, go_on)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len(fractions) > 5


@engine
@pytest.mark.parametrize("after", [0, 1, 4])
def test_cancelling_stops_within_one_batch(diarizer: PyannoteDiarizer, call: Samples, after: int) -> None:
    """PAINS 18. One call is 8 chunks of segmentation or one voice print: a fraction of a second."""
    checks = 0
    fractions: list[float] = []

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks > after:
            raise Cancelled

    with pytest.raises(Cancelled):
        diarizer.diarize(call, SpeakerCount(), fractions.append, check)
    assert checks == after + 1
    assert len(fractions) == after, "nothing went on after the check"


@engine
def test_one_pass_per_chunk_gives_the_voice_prints_of_one_pass_per_speaker(diarizer: PyannoteDiarizer, call: Samples) -> None:
    """What makes it three times as fast must not change a number (pyannote-audio issue 2050)."""
    import torch  # noqa: PLC0415 - see above

    from appliance.engine.diarizer import _Chunks  # noqa: PLC0415 - see above

    chunks = _Chunks(call[: 11 * RATE_HZ], 10.0, 1.0)
    activity = diarizer._segment(chunks, lambda _fraction: None, go_on)
    together = diarizer._embed(chunks, activity, lambda _fraction: None, go_on)
    masks = diarizer._masks(activity)
    for chunk, slot in np.argwhere(activity.any(axis=1)):
        with torch.inference_mode():
            waveform = chunks.read(np.array([chunk]))
            alone = diarizer._embedding(waveform, weights=torch.from_numpy(masks[chunk, slot][None]))[0].numpy()
        np.testing.assert_allclose(together[chunk, slot], alone, rtol=0, atol=1e-6)


@engine
def test_a_long_recording_is_clustered_by_a_sample(
    diarizer: PyannoteDiarizer, call: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PAINS 11: clustering needs the square of what it is given."""
    monkeypatch.setattr("appliance.engine.diarizer.MAX_CLUSTERED", 8)
    assert voices(diarize(diarizer, call)) == {"SPEAKER_00", "SPEAKER_01"}


@engine
def test_variational_clustering_is_used_where_its_model_is_there(model_dir: Path, call: Samples) -> None:
    from appliance.engine.diarizer import load  # noqa: PLC0415 - see above

    plda_dir = SHARED_AUDIO.parent / "weights" / "plda"
    if not plda_dir.exists():
        pytest.skip("the PLDA for VBx is not on this machine (expected in ../shared/weights/plda)")
    result = diarize(load(model_dir, "cpu", 2, plda_dir=plda_dir), call)
    assert voices(result) == {"SPEAKER_00", "SPEAKER_01"}


@engine
def test_memory_that_runs_out_halves_the_batch(diarizer: PyannoteDiarizer) -> None:
    import torch  # noqa: PLC0415 - see above

    from appliance.engine.diarizer import _in_batches  # noqa: PLC0415 - see above

    done: list[list[int]] = []

    def run_with_room_for(room: int) -> Callable[[NDArray[np.intp]], None]:
        def run(numbers: NDArray[np.intp]) -> None:
            if len(numbers) > room:
                raise torch.OutOfMemoryError
            done.append(numbers.tolist())

        return run

    _in_batches(np.arange(10), 8, run_with_room_for(3), lambda _fraction: None, go_on)
    assert done == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    with pytest.raises(DeviceOutOfMemory):
        _in_batches(np.arange(10), 8, run_with_room_for(0), lambda _fraction: None, go_on)


def copy_model(source: Path, target: Path) -> Path:
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def rewrite(path: Path, **facts: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


@engine
def test_only_known_architectures_are_built(model_dir: Path, tmp_path: Path) -> None:
    """TRAPS 13: a description must not be able to name a class."""
    from appliance.engine.diarizer import load  # noqa: PLC0415 - see above

    folder = copy_model(model_dir, tmp_path)
    rewrite(folder / "embedding.json", architecture="subprocess.Popen")
    with pytest.raises(ModelDamaged, match="embedding"):
        load(folder)


@engine
def test_damaged_weights_are_named(model_dir: Path, tmp_path: Path) -> None:
    from appliance.engine.diarizer import load  # noqa: PLC0415 - see above

    folder = copy_model(model_dir, tmp_path)
    weights = folder / "segmentation.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelDamaged, match="segmentation"):
        load(folder)


OFFLINE = """
import os, sys
for name in ("PYANNOTE_METRICS_ENABLED", "HF_HUB_OFFLINE", "OTEL_SDK_DISABLED"):
    os.environ.pop(name, None)
sockets = []
def note(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        sockets.append((event, args[1:]))
sys.addaudithook(note)
import numpy as np
from pathlib import Path
from appliance.domain import SpeakerCount
from appliance.engine.diarizer import load
noise = np.random.default_rng(1).normal(0, 3000, 24000).astype(np.int16)
load(Path(sys.argv[1])).diarize(noise, SpeakerCount(), lambda fraction: None, lambda: None)
import threading, time
time.sleep(1.5)  # the exporter of telemetry sends every half second
assert not sockets, sockets
from pyannote.audio.telemetry.metrics import is_metrics_enabled
assert not is_metrics_enabled()
assert "pytorch_model" not in str(list(Path(sys.argv[1]).iterdir()))
print("nothing was sent")
"""


@engine
@pytest.mark.slow
def test_nothing_is_sent_anywhere(model_dir: Path) -> None:
    """TRAPS 9 and 10: neither telemetry nor a question to the hub, not even where the environment does not forbid it."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", OFFLINE, str(model_dir)], capture_output=True, text=True, check=False
    )
    assert ran.stdout.strip() == "nothing was sent", ran.stderr


def test_assigning_speakers_loads_no_heavy_library() -> None:
    """TRAPS 31: the API process assigns words to turns, and must stay small."""
    code = "import sys, appliance.engine.speakers; print(sorted({'numpy', 'torch', 'pyannote'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
