"""The process that decodes one recording, and ends. Everything it needs is open before the sandbox closes, and the
sandbox is closed before it reads the first byte.

It reads the sealed recording through a descriptor and writes samples and answers into two pipes; it keeps a second of
sound at a time, however long the recording is. What it says is checked by `decode.py`; limits are counted there.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, cast

import av
import av.audio.codeccontext  # what PyAV would import on first use, when no file can be opened any more
import av.subtitles.codeccontext
import av.subtitles.stream
import av.video.codeccontext
import av.video.stream
import msgspec
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.filter import Graph
from av.stream import Discard
from numpy.typing import NDArray

from appliance.audio import decode_wire as wire
from appliance.audio import formats, sandbox
from appliance.audio.mixdown import Mixdown, emphasis_of
from appliance.audio.pcm import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ
from appliance.domain import ChannelMode

_MAX_CHANNELS = 8
_WRITE_BYTES = 2**17
_ANSWER_EVERY_S = 0.25
_START_TOLERANCE_S = 0.02
_GAP_TOLERANCE_S = 0.1  # smaller jumps are rounding of the container's clock
_RESTART_S = 1.0  # a clock that falls back further than this has started anew
_UNDECLARED_GAP_S = 600.0  # longest pause believed when the container does not say how long it is
_CHECKED_CODECS = ("flac", "wavpack", "tta")  # damaged packets are known by their checksum: a hole is better than a blast of noise
_TRAILING_GARBAGE = 10  # packets after the sound that may be tags rather than damaged sound
_READ_ERRORS = 100  # places a damaged container may be unreadable at before the rest is given up


class Refusal(Exception):
    def __init__(self, reason: wire.Reason, detail: str = "", tracks: int = 0) -> None:
        super().__init__(reason)
        self.refused = wire.Refused(reason=reason, detail=detail, tracks=tracks)


class Source:
    """The recording as a seekable file. Other processes hold the same descriptor, so its own position is never used."""

    def __init__(self, fd: int, size_bytes: int) -> None:
        self._fd = fd
        self.size_bytes = size_bytes
        self.position = 0

    def read(self, n_bytes: int) -> bytes:
        data = os.pread(self._fd, n_bytes, self.position)
        self.position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.size_bytes}[whence]
        self.position = max(start + offset, 0)
        return self.position

    def tell(self) -> int:
        return self.position


class Answers:
    """The pipe of answers; progress at most every `_ANSWER_EVERY_S`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._next_s = 0.0

    def send(self, answer: wire.Answer) -> None:
        os.write(self._fd, msgspec.json.encode(answer) + b"\n")

    def progress(self, source: Source) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + _ANSWER_EVERY_S
            self.send(wire.At(fraction=min(source.position / source.size_bytes, 1.0)))


class Samples:
    """The pipe of samples, written in large pieces."""

    def __init__(self, fd: int, channels: int) -> None:
        self._fd = fd
        self._frame_bytes = channels * BYTES_PER_SAMPLE
        self._waiting = bytearray()
        self._flushed_bytes = 0

    @property
    def written(self) -> int:
        """Samples per channel."""
        return (self._flushed_bytes + len(self._waiting)) // self._frame_bytes

    def write(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) >= _WRITE_BYTES:
            self.flush()

    def write_silence(self, samples: int) -> None:
        rest = samples * self._frame_bytes
        while rest > 0:
            self.write(bytes(min(rest, _WRITE_BYTES)))
            rest -= _WRITE_BYTES

    def flush(self) -> None:
        rest = memoryview(self._waiting)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self._flushed_bytes += len(self._waiting)
        self._waiting = bytearray()


class Converter:
    """Frames of one shape (rate, layout, sample format) to int16 at 16 kHz with the channels that are wanted."""

    def __init__(self, frame: AudioFrame, channels: ChannelMode, pcm_channels: int) -> None:
        self.shape = shape_of(frame)
        self._inputs = frame.layout.nb_channels
        self._outputs = pcm_channels
        self._mixdown = None
        if channels is ChannelMode.MIX and self._inputs > 1:
            self._mixdown = Mixdown(emphasis_of(tuple(channel.name for channel in frame.layout.channels)))
        self._graph = _resampler(frame, "flt" if self._mixdown else "s16")

    def convert(self, frame: AudioFrame | None) -> Iterator[bytes]:
        """None: what is still inside comes out, and the converter is used up."""
        self._graph.push(frame)
        for resampled in self._pull():
            yield self._fit(resampled)
        if frame is None and self._mixdown:
            yield self._mixdown.flush()

    def _pull(self) -> Iterator[AudioFrame]:
        while True:
            try:
                yield cast(AudioFrame, self._graph.pull())
            except (av.error.BlockingIOError, av.error.EOFError):
                return

    def _fit(self, frame: AudioFrame) -> bytes:
        values = frame.samples * self._inputs
        if self._mixdown:
            return self._mixdown.push(np.frombuffer(bytes(frame.planes[0]), np.float32, values).reshape(-1, self._inputs))
        if self._inputs == self._outputs:
            return bytes(memoryview(frame.planes[0])[: values * BYTES_PER_SAMPLE])
        return self._fold(np.frombuffer(bytes(frame.planes[0]), np.int16, values).reshape(-1, self._inputs))

    def _fold(self, samples: NDArray[np.int16]) -> bytes:
        """More or fewer channels than there is room for: surplus ones join the others, missing ones are silent."""
        folded = np.zeros((len(samples), self._outputs), dtype=np.int32)
        for channel in range(self._inputs):
            folded[:, channel % self._outputs] += samples[:, channel]
        return np.clip(folded, -32768, 32767).astype("<i2").tobytes()


class Decoder:
    """One audio track from first to last sample, each at its own time."""

    def __init__(self, container: InputContainer, stream: AudioStream, order: wire.DecodeOrder) -> None:
        self._container = container
        self._stream = stream
        self._mode = order.channels
        self._samples_fd = order.pcm_fd
        self._samples: Samples | None = None
        self._converter: Converter | None = None
        self._pcm_channels = 0
        self._zero_s = (container.start_time or 0) / av.time_base  # what a player shows as 0:00
        self._anchor_s = 0.0  # where the present converter's first sample lies
        self._consumed = 0  # samples of the recording since then
        self._failed = 0  # packets that could not be decoded since the last good one
        self.truncated = False

    def first_channels(self, frame: AudioFrame) -> int:
        return 1 if self._mode is ChannelMode.MIX else min(frame.layout.nb_channels, _MAX_CHANNELS)

    def frames(self) -> Iterator[AudioFrame]:
        for packet in self._packets():
            self.truncated |= packet.is_corrupt  # the container ended in the middle of it
            try:
                decoded = self._stream.codec_context.decode(packet if packet.size else None)
            except av.error.EOFError:
                return
            except av.FFmpegError as error:
                _raise_if_memory(error)
                self._failed += 1
                continue
            if decoded and self._failed:  # sound goes on after the hole
                self.truncated, self._failed = True, 0
            yield from (frame for frame in decoded if frame.samples and frame.sample_rate)

    def take(self, frame: AudioFrame) -> None:
        if self._samples is None:
            self._pcm_channels = self.first_channels(frame)
            self._samples = Samples(self._samples_fd, self._pcm_channels)
        self._keep_time(frame)
        try:
            self._convert(frame)
        except av.FFmpegError as error:  # a shape that no resampler takes
            _raise_if_memory(error)
            self._converter, self._failed = None, self._failed + 1

    def _convert(self, frame: AudioFrame) -> None:
        assert self._samples is not None
        if self._converter is None:
            self._converter = Converter(frame, self._mode, self._pcm_channels)
            self._anchor_s, self._consumed = self._samples.written / SAMPLE_RATE_HZ, 0
        for data in self._converter.convert(frame):
            self._samples.write(data)
        self._consumed += frame.samples

    def finish(self) -> float:
        """Returns the seconds that were decoded."""
        self._drain()
        self.truncated |= self._failed > _TRAILING_GARBAGE
        if self._samples is None:
            return 0.0
        self._samples.flush()
        return self._samples.written / SAMPLE_RATE_HZ

    def _packets(self) -> Iterator[Any]:
        for _ in range(_READ_ERRORS):
            try:
                yield from self._container.demux(self._stream)
            except av.FFmpegError as error:
                _raise_if_memory(error)
                self.truncated = True
            else:
                return

    def _keep_time(self, frame: AudioFrame) -> None:
        """Fill a pause between what was written and where this frame belongs, and start anew where the sound changes shape."""
        gap_s = self._gap_before(frame)
        if gap_s or (self._converter and self._converter.shape != shape_of(frame)):
            self._drain()
        if gap_s:
            assert self._samples is not None
            self._samples.write_silence(round(gap_s * SAMPLE_RATE_HZ))

    def _gap_before(self, frame: AudioFrame) -> float:
        """Seconds of silence that belong before this frame; 0 when it follows on."""
        if frame.time is None:
            return 0.0
        starts_s = frame.time - self._zero_s
        now_s = self._anchor_s + (self._consumed / self._converter.shape[0] if self._converter else 0.0)
        gap_s = starts_s - now_s
        if gap_s < -_RESTART_S or not self._is_believable(starts_s, gap_s):
            self._zero_s += gap_s  # the clock jumped: what follows is taken to follow on
            return 0.0
        return gap_s if gap_s > (_GAP_TOLERANCE_S if now_s else _START_TOLERANCE_S) else 0.0

    def _is_believable(self, starts_s: float, gap_s: float) -> bool:
        declared = self._container.duration
        return gap_s < _UNDECLARED_GAP_S if declared is None else starts_s <= declared / av.time_base + 1.0

    def _drain(self) -> None:
        if self._converter and self._samples:
            for data in self._converter.convert(None):
                self._samples.write(data)
            self._anchor_s = self._samples.written / SAMPLE_RATE_HZ
        self._converter, self._consumed = None, 0


def shape_of(frame: AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name


def _resampler(frame: AudioFrame, sample_format: str) -> Graph:
    graph = Graph()
    graph.threads = 1  # the sandbox allows no more
    rate, layout, format_name = shape_of(frame)
    source = graph.add("abuffer", sample_rate=str(rate), sample_fmt=format_name, channel_layout=layout, time_base=f"1/{rate}")
    target = graph.add("aformat", sample_rates=str(SAMPLE_RATE_HZ), sample_fmts=sample_format)
    sink = graph.add("abuffersink")
    source.link_to(target)
    target.link_to(sink)
    graph.configure()
    return graph


def open_recording(source: Source) -> InputContainer:
    options = {
        "format_whitelist": ",".join(format.demuxer for format in formats.FORMATS),
        "codec_whitelist": ",".join(formats.CODECS),
        "protocol_whitelist": "none",
    }
    try:
        container: InputContainer = av.open(source, "r", options=options, io_open=_open_nothing, metadata_errors="replace")
    except av.FFmpegError as error:
        _raise_if_memory(error)
        source.seek(0)
        looks_damaged = formats.looks_like_media(source.read(512))
        raise Refusal(wire.Reason.BROKEN if looks_damaged else wire.Reason.NOT_MEDIA) from error
    return container


def choose_track(container: InputContainer, track: int | None) -> AudioStream:
    tracks = container.streams.audio
    if not tracks:
        raise Refusal(wire.Reason.NO_AUDIO)
    if track is not None and not 0 <= track < len(tracks):
        raise Refusal(wire.Reason.NO_SUCH_TRACK, tracks=len(tracks))
    stream = tracks[track or 0]
    if track is None and isinstance(best := container.streams.best("audio"), AudioStream):
        stream = best
    if stream.codec_context is None or stream.codec_context.name not in formats.CODECS:
        raise Refusal(wire.Reason.NOT_MEDIA, "its sound is coded in a way that is not known here")
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all  # a video's pictures are skipped over, not read
    stream.codec_context.thread_count = 1  # the sandbox allows no more
    if stream.codec_context.name in _CHECKED_CODECS:
        stream.codec_context.options = {"err_detect": "crccheck+explode"}
    return stream


def decode(order: wire.DecodeOrder, answers: Answers) -> None:
    source = Source(order.source_fd, order.size_bytes)
    container = open_recording(source)
    stream = choose_track(container, order.audio_track)
    decoder = Decoder(container, stream, order)
    opened = False
    for frame in decoder.frames():
        if not opened:
            answers.send(_describe(container, stream, frame, decoder))
            opened = True
        decoder.take(frame)
        answers.progress(source)
    decoded_s = decoder.finish()
    if not decoded_s:
        raise Refusal(wire.Reason.BROKEN)
    answers.send(wire.Ended(truncated=decoder.truncated or _promised_more(source, container, stream, decoded_s)))


def _describe(container: InputContainer, stream: AudioStream, frame: AudioFrame, decoder: Decoder) -> wire.Opened:
    return wire.Opened(
        container=container.format.name,
        codec=stream.codec_context.name,
        sample_rate_hz=frame.sample_rate,
        channels=frame.layout.nb_channels,
        audio_tracks=len(container.streams.audio),
        pcm_channels=decoder.first_channels(frame),
    )


def _promised_more(source: Source, container: InputContainer, stream: AudioStream, decoded_s: float) -> bool:
    """Whether the header gives a length that is clearly more than what was there. Lengths guessed from a bit rate do not count."""
    format = formats.by_name(container.format.name)
    if format is None or not (format.tells_length or (format.demuxer == "mp3" and _mp3_tells_length(source))):
        return False
    if stream.duration is not None and stream.time_base is not None:
        promised_s = float(stream.duration * stream.time_base)
    elif container.duration is not None and len(container.streams) == 1:  # of several streams another may be the longer one
        promised_s = container.duration / av.time_base
    else:
        return False
    return promised_s - decoded_s > max(0.5, promised_s * 0.005)


def _mp3_tells_length(source: Source) -> bool:
    """Whether the first frame, after an ID3v2 tag, is the one in which encoders count the others."""
    source.seek(0)
    head = source.read(10)
    if head.startswith(b"ID3"):
        size = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False))
        source.seek(10 + size)
    first_frame = source.read(256)
    return any(name in first_frame for name in (b"Xing", b"Info", b"VBRI"))


def _open_nothing(*_: object) -> None:
    raise PermissionError("a recording may not open other files")


def _raise_if_memory(error: av.FFmpegError) -> None:
    if error.errno == errno.ENOMEM:
        raise MemoryError from error


def main(order_json: str) -> None:
    order = msgspec.json.decode(order_json, type=wire.DecodeOrder)
    sandbox.die_with_parent(order.parent_pid)
    answers = Answers(order.answer_fd)
    try:
        landlock = sandbox.close_sandbox(sandbox.ResourceLimits(memory_bytes=order.memory_bytes, cpu_s=order.cpu_s))
        answers.send(wire.Closed(landlock=landlock))
        decode(order, answers)
    except Refusal as refusal:
        answers.send(refusal.refused)
    except sandbox.SandboxUnavailable as error:
        answers.send(wire.Refused(reason=wire.Reason.NO_SANDBOX, detail=str(error)[:400]))
    except MemoryError:
        answers.send(wire.Refused(reason=wire.Reason.OUT_OF_MEMORY))
    except Exception as error:  # noqa: BLE001 -- the program ends here; its kind is told, not its text, which may hold content
        answers.send(wire.Refused(reason=wire.Reason.FAULT, detail=type(error).__name__))
    os._exit(0)  # nothing is left to flush, and interpreter shutdown wants calls that are closed


if __name__ == "__main__":
    main(sys.argv[1])
