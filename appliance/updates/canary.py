"""The trial of a new model: a worker of its own hears the reference recording, away from those that serve.

Passed when enough of the expected words come out, or as many speakers as there are. What the worker is and does is `engine`'s.
"""

from __future__ import annotations

import asyncio
import os
import re
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec.structs import replace

from appliance.audio.pcm import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, PcmLayout
from appliance.domain import SpeakerCount, TranscribeOptions
from appliance.engine.gpu import choose_device
from appliance.engine.pool import WorkerDied, WorkerPool
from appliance.engine.protocol import DiarizeRequest, EngineEvent, RecognizeRequest
from appliance.engine.supervisor import Patience
from appliance.errors import ApplianceError, CanaryFailed
from appliance.settings import Settings
from appliance.updates.importer import Trial
from appliance.writing import is_unspaced

MAX_CLIP_S = 120.0
PATIENCE_S = 900.0  # for loading and hearing; a large model on a CPU takes minutes
FAILING_S = 60.0  # until a worker that fails at every start is given up


async def try_out(settings: Settings, trial: Trial) -> None:
    """Raises CanaryFailed with what was heard instead."""
    device = choose_device(settings.device)
    patience = Patience(settings.worker_start_timeout_s, settings.worker_silence_timeout_s, failing_s=FAILING_S)
    pool = WorkerPool(settings, replace(device, devices=device.devices[:1]), patience=patience)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await _hear(pool, trial)
    except TimeoutError as error:
        raise CanaryFailed(trial.model.id, f"there was no answer in {PATIENCE_S:.0f} s") from error
    except WorkerDied as error:
        raise CanaryFailed(trial.model.id, f"the speech engine died of it ({error.reason})") from error
    except CanaryFailed:
        raise
    except ApplianceError as error:
        raise CanaryFailed(trial.model.id, error.message.rstrip(".")) from error
    finally:
        await pool.stop()


async def _hear(pool: WorkerPool, trial: Trial) -> None:
    with in_memory(trial) as (fd, layout):
        if trial.model.kind == "recognition":
            options = TranscribeOptions(trial.model.id, language=trial.canary.language, word_timestamps=trial.model.word_timestamps)
            request = RecognizeRequest("canary", trial.model.id, trial.folder, options, layout)
            transcript = await pool.recognize(request, fd, _ignore)
            check_words(trial, transcript.text)
        else:
            turns = await pool.diarize(DiarizeRequest("canary", trial.folder, SpeakerCount(), layout), fd, _ignore)
            check_speakers(trial, len({turn.speaker for turn in turns.turns}))


def check_words(trial: Trial, heard: str) -> None:
    """Raises CanaryFailed when more than the tolerated share of the expected words is wrong, missing or too much."""
    expected = words_of(trial.canary.words)
    wrong_percent = 100 * distance(expected, words_of(heard)) / len(expected)
    if wrong_percent > trial.canary.tolerance_percent:
        found = f"{wrong_percent:.0f} % of its words were wrong, {trial.canary.tolerance_percent} % may be"
        raise CanaryFailed(trial.model.id, f"{found}; it heard '{heard.strip()[:200]}'")


def check_speakers(trial: Trial, heard: int) -> None:
    if heard != trial.canary.speakers:
        raise CanaryFailed(trial.model.id, f"it heard {heard} speakers where there are {trial.canary.speakers}")


def words_of(text: str) -> list[str]:
    """Without case and punctuation; scripts without spaces by characters."""
    spaced = "".join(f" {char} " if is_unspaced(char) else char for char in text.casefold())
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", spaced)


def distance(expected: Sequence[str], heard: Sequence[str]) -> int:
    """The fewest words to replace, leave out and put in that make one the other (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, one in enumerate(expected, 1):
        above, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (one != other))
    return row[-1]


@contextmanager
def in_memory(trial: Trial) -> Iterator[tuple[int, PcmLayout]]:
    """The clip as the workers take audio. Raises CanaryFailed when it is no WAV of 16 kHz, mono, 16 bit."""
    samples = read_clip(trial.clip, trial.model.id)
    fd = os.memfd_create("canary", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(fd), "wb") as memory:
            memory.write(samples)
        yield fd, PcmLayout(len(samples) // BYTES_PER_SAMPLE, 1)
    finally:
        os.close(fd)


def read_clip(path: Path, model_id: str) -> bytes:
    try:
        with path.open("rb") as file, wave.open(file) as clip:
            shape = clip.getframerate(), clip.getnchannels(), clip.getsampwidth()
            if shape != (SAMPLE_RATE_HZ, 1, BYTES_PER_SAMPLE) or clip.getnframes() > MAX_CLIP_S * SAMPLE_RATE_HZ:
                raise CanaryFailed(model_id, f"the clip is not {SAMPLE_RATE_HZ} Hz, mono, 16 bit, at most {MAX_CLIP_S:.0f} s")
            return bytes(clip.readframes(clip.getnframes()))
    except (wave.Error, EOFError) as error:
        raise CanaryFailed(model_id, "the clip is not a WAV file") from error


def _ignore(_event: EngineEvent) -> None:
    """Nobody watches a trial."""
