"""People who are known by a sample of their voice: the samples decoded, checked, and handed to the diarizer. Kept nowhere."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from appliance.audio.decode import DecodeLimits, decode
from appliance.audio.memory import MemoryBudget, MemoryFile
from appliance.domain import ChannelMode, Value
from appliance.engine.protocol import VoiceSample
from appliance.errors import ApplianceError, InvalidField, MemoryFull

FIELD = "known_speaker_references"
SHORTEST_S, LONGEST_S = 2.0, 10.0
_ROUNDING_S = 0.1  # codecs add and take away a frame


class KnownVoice(Value, frozen=True):
    name: str
    media: bytes  # a recording of 2 to 10 s, as it was sent


async def read_samples(voices: Sequence[KnownVoice], budget: MemoryBudget, limits: DecodeLimits) -> tuple[VoiceSample, ...]:
    """Raises `InvalidField` for a sample that cannot be read or is too short or too long, and `MemoryFull`."""
    return tuple([await _read(voice, budget, limits) for voice in voices])


async def _read(voice: KnownVoice, budget: MemoryBudget, limits: DecodeLimits) -> VoiceSample:
    with contextlib.closing(MemoryFile.create("voice", budget)) as file:
        file.write(voice.media)
        file.seal()
        try:
            pcm = await decode(file, budget, limits, channels=ChannelMode.MIX, audio_track=None, on_fraction=_unheeded)
        except MemoryFull:
            raise
        except ApplianceError as error:
            raise InvalidField(FIELD, f"holds a sample of '{voice.name}' that cannot be read", error.message) from error
    with contextlib.closing(pcm):
        duration_s = pcm.layout.duration
        if not SHORTEST_S - _ROUNDING_S <= duration_s <= LONGEST_S + _ROUNDING_S:
            raise InvalidField(FIELD, f"holds a sample of '{voice.name}' that is {duration_s:.1f} s long", "Send 2 to 10 seconds.")
        return VoiceSample(voice.name, pcm.file.read())


def _unheeded(_fraction: float) -> None:
    """Nobody watches the decoding of a few seconds."""
