"""What the decode child is told, and what it answers, as JSON lines.

The answers come from a process that strangers' bytes run through: nothing in them is longer or larger than its type allows.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from appliance.domain import ChannelMode, Value

Name = Annotated[str, Meta(max_length=80)]
MAX_LINE_BYTES = 4096


class DecodeOrder(Value, frozen=True):
    """The child's only command-line argument."""

    parent_pid: int
    source_fd: int  # the sealed recording
    size_bytes: int
    pcm_fd: int  # a pipe: int16 samples, nothing else
    answer_fd: int  # a pipe: the lines below
    channels: ChannelMode
    audio_track: int | None
    memory_bytes: int
    cpu_s: int


class Closed(Value, tag="closed", frozen=True):
    """The sandbox is closed; the recording has not been touched yet."""

    landlock: int  # version in force, 0: the kernel has none


class Opened(Value, tag="opened", frozen=True):
    """What the recording is. Sent before the first sample."""

    container: Name
    codec: Name
    sample_rate_hz: int
    channels: int  # of the recording
    audio_tracks: int
    pcm_channels: Annotated[int, Meta(ge=1, le=8)]  # of the samples that follow


class At(Value, tag="at", frozen=True):
    """How far it got, in parts of the file."""

    fraction: float


class Ended(Value, tag="ended", frozen=True):
    """All that could be read was sent."""

    truncated: bool  # some of it could not be read, or its header promised more


class Reason(StrEnum):
    NOT_MEDIA = "not_media"
    BROKEN = "broken"
    NO_AUDIO = "no_audio"
    NO_SUCH_TRACK = "no_such_track"  # `tracks` tells how many there are
    OUT_OF_MEMORY = "out_of_memory"
    NO_SANDBOX = "no_sandbox"
    FAULT = "fault"  # of the decoder itself


class Refused(Value, tag="refused", frozen=True):
    """There will be no (more) samples."""

    reason: Reason
    detail: Annotated[str, Meta(max_length=400)] = ""
    tracks: int = 0


Answer = Closed | Opened | At | Ended | Refused
