"""Decoding: times as a player shows them, every channel and track, and every kind of bad file, with nothing left behind."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import uvloop

from appliance.audio import decode as decode_module
from appliance.audio.decode import DecodeLimits, decode
from appliance.audio.memory import MemoryBudget
from appliance.domain import ChannelMode
from appliance.errors import ApplianceError, AudioTooLong, BrokenMedia, DecodeRefused, EmptyFile, MemoryFull, NoAudioTrack, NotMedia
from tests.audio.decoding import LIMITS, hear, hear_now, memory_file
from tests.audio.tones import (
    HIGH_HZ,
    LEVEL,
    LOW_HZ,
    PART_S,
    Piece,
    assert_two_tones,
    encode,
    encode_tracks,
    loudness,
    pitch_hz,
    silence,
    tone,
    two_tones,
    wav,
    with_ffmpeg,
)

RATE_HZ = 16_000


def seconds(start: float, end: float) -> slice:
    return slice(round(start * RATE_HZ), round(end * RATE_HZ))


# --- times ------------------------------------------------------------------------------------------------------------


def test_a_pause_in_the_recording_stays_a_pause(budget: MemoryBudget) -> None:
    """A recorder that was paused leaves a gap in the container's clock; a player shows it, and so do our times."""
    low, high = tone(LOW_HZ, 1.0)[:, None], tone(HIGH_HZ, 1.0)[:, None]
    heard = hear_now(encode([Piece(0.0, low), Piece(4.0, high)], RATE_HZ, "matroska", "pcm_s16le"), budget)
    assert heard.duration_s == pytest.approx(5.0, abs=0.01)
    assert pitch_hz(heard.mono[seconds(0.1, 0.9)]) == pytest.approx(LOW_HZ, abs=3)
    assert loudness(heard.mono[seconds(1.1, 3.9)]) == 0
    assert pitch_hz(heard.mono[seconds(4.05, 4.95)]) == pytest.approx(HIGH_HZ, abs=3)


def test_a_track_that_starts_late_keeps_its_place(budget: MemoryBudget) -> None:
    sound = two_tones(RATE_HZ)
    data = encode_tracks([[Piece(0.0, sound)], [Piece(0.7, sound)]], RATE_HZ, "matroska", "pcm_s16le")
    heard = hear_now(data, budget, audio_track=1)
    assert loudness(heard.mono[seconds(0, 0.68)]) == 0
    assert_two_tones(heard.mono[seconds(0.7, 9)])


def test_a_clock_that_does_not_start_at_zero_is_not_a_pause(budget: MemoryBudget) -> None:
    heard = hear_now(encode([Piece(1000.0, two_tones(RATE_HZ))], RATE_HZ, "matroska", "pcm_s16le"), budget)
    assert_two_tones(heard.mono)


def test_a_clock_that_starts_anew_loses_nothing(budget: MemoryBudget) -> None:
    """Two transport streams joined with `cat`: the second one's clock falls back to its start."""
    part = encode(two_tones(48_000), 48_000, "mpegts", "mp2")
    heard = hear_now(part + part, budget)
    assert heard.duration_s == pytest.approx(4 * PART_S, abs=0.2)
    assert pitch_hz(heard.mono[seconds(2 * PART_S + 0.15, 3 * PART_S - 0.1)]) == pytest.approx(LOW_HZ, abs=10)


def test_an_absurd_jump_of_the_clock_is_not_believed(budget: MemoryBudget) -> None:
    """TRAPS 18: a header or a time stamp cannot make us fill a day with silence."""
    low, high = tone(LOW_HZ, 1.0)[:, None], tone(HIGH_HZ, 1.0)[:, None]
    data = encode([Piece(0.0, low), Piece(100_000.0, high)], RATE_HZ, "matroska", "pcm_s16le", options={"live": "1"})
    heard = hear_now(data, budget)
    assert heard.duration_s == pytest.approx(2.0, abs=0.1)


def test_length_is_counted_not_declared(budget: MemoryBudget) -> None:
    """TRAPS 18: the header of this file promises an hour."""
    data = bytearray(wav(two_tones(RATE_HZ)))
    promised = (3600 * 2 * RATE_HZ).to_bytes(4, "little")
    data[data.index(b"data") + 4 : data.index(b"data") + 8] = promised
    heard = hear_now(bytes(data), budget)
    assert_two_tones(heard.mono)
    assert heard.media.truncated


def test_a_hole_in_the_middle_does_not_move_what_follows(budget: MemoryBudget) -> None:
    data = bytearray(encode(two_tones(RATE_HZ), RATE_HZ, "matroska", "flac"))
    hole = len(data) // 4
    data[hole : hole + 100] = bytes(100)
    heard = hear_now(bytes(data), budget)
    assert heard.media.truncated
    assert heard.duration_s == pytest.approx(2 * PART_S, abs=0.1)
    assert pitch_hz(heard.mono[seconds(PART_S + 0.1, 2 * PART_S - 0.1)]) == pytest.approx(HIGH_HZ, abs=5)


def test_sound_that_changes_its_shape_midway_goes_on(budget: MemoryBudget) -> None:
    """Joined AAC files: 44.1 kHz stereo, then 22.05 kHz mono."""
    first = encode(two_tones(44_100, 2), 44_100, "adts", "aac")
    second = encode(two_tones(22_050), 22_050, "adts", "aac")
    heard = hear_now(first + second, budget)
    assert heard.duration_s == pytest.approx(4 * PART_S, abs=0.25)
    assert pitch_hz(heard.mono[seconds(0.1, PART_S - 0.1)]) == pytest.approx(LOW_HZ, abs=10)
    assert pitch_hz(heard.mono[-round(0.4 * RATE_HZ) :]) == pytest.approx(HIGH_HZ, abs=10)


def test_channels_that_change_midway_stay_two_when_kept_apart(budget: MemoryBudget) -> None:
    first = encode(two_tones(44_100, 2), 44_100, "adts", "aac")
    second = encode(two_tones(44_100), 44_100, "adts", "aac")
    heard = hear_now(first + second, budget, channels=ChannelMode.SEPARATE)
    assert heard.samples.shape[1] == 2
    assert heard.duration_s == pytest.approx(4 * PART_S, abs=0.25)


def test_a_fifth_of_a_second_is_enough(budget: MemoryBudget) -> None:
    heard = hear_now(wav(tone(LOW_HZ, 0.2)[:, None]), budget)
    assert heard.duration_s == pytest.approx(0.2, abs=0.001)
    assert pitch_hz(heard.mono) == pytest.approx(LOW_HZ, abs=10)


# --- channels and tracks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 8, *(pytest.param(count, marks=pytest.mark.slow) for count in range(3, 8))])
def test_channels_kept_apart_are_the_channels_recorded(count: int, budget: MemoryBudget) -> None:
    sound = np.stack([tone(300.0 + 100 * channel, 0.3) for channel in range(count)], axis=1)
    heard = hear_now(wav(sound), budget, channels=ChannelMode.SEPARATE)
    assert heard.samples.shape == (len(sound), count)
    for channel in range(count):
        assert pitch_hz(heard.samples[:, channel]) == pytest.approx(300 + 100 * channel, abs=5)
    assert heard.media.channels == count


def test_more_channels_than_eight_are_folded_not_dropped(budget: MemoryBudget) -> None:
    sound = np.zeros((8000, 10), dtype=np.float32)
    sound[:, 9] = tone(LOW_HZ, 0.5)
    heard = hear_now(encode(sound, RATE_HZ, "wav", "pcm_s16le", layout="10 channels"), budget, channels=ChannelMode.SEPARATE)
    assert heard.samples.shape[1] == 8
    assert loudness(heard.samples[:, 1]) == pytest.approx(LEVEL / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize(("left", "right"), [(1, -1), (1, 0), (0, 1), (1, 1)])
def test_a_stereo_recording_mixed_to_one_keeps_its_voice(left: int, right: int, budget: MemoryBudget) -> None:
    voice = two_tones(44_100)
    heard = hear_now(wav(np.hstack([left * voice, right * voice]), 44_100), budget)
    mono = heard.mono if left > 0 or right > 0 else -heard.mono
    assert_two_tones(mono)


@pytest.mark.slow
def test_the_track_that_is_asked_for(budget: MemoryBudget) -> None:
    tracks = [[Piece(0.0, tone(pitch, 0.5, 48_000)[:, None])] for pitch in (300.0, 500.0, 700.0)]
    data = encode_tracks(tracks, 48_000, "mp4", "aac")
    for track, pitch in ((0, 300), (1, 500), (2, 700), (None, 300)):
        heard = hear_now(data, budget, audio_track=track)
        assert pitch_hz(heard.mono) == pytest.approx(pitch, abs=5)
        assert heard.media.audio_tracks == 3
    with pytest.raises(NoAudioTrack, match="no audio track 3") as error:
        hear_now(data, budget, audio_track=3)
    assert "It has 3" in error.value.hint


def test_the_track_the_container_marks_as_default(tmp_path: Path, budget: MemoryBudget) -> None:
    mix = ("-filter_complex", "[0:a]asplit[a][b];[b]volume=0.1[c]", "-map", "[a]", "-map", "[c]")
    marked = with_ffmpeg(tmp_path, wav(two_tones(RATE_HZ)), *mix, "-disposition:a:0", "0", "-disposition:a:1", "default", "a.mkv")
    assert loudness(hear_now(marked, budget).mono) < 0.1 * LEVEL
    assert loudness(hear_now(marked, budget, audio_track=0).mono) > 0.5 * LEVEL


# --- progress and memory ----------------------------------------------------------------------------------------------


def test_progress_rises_to_one(budget: MemoryBudget) -> None:
    fractions: list[float] = []
    data = encode(np.tile(two_tones(RATE_HZ), (100, 1)), RATE_HZ, "flac", "flac")
    asyncio.run(hear(data, budget, on_fraction=fractions.append))
    assert fractions == sorted(set(fractions))
    assert fractions[-1] == 1.0


def test_a_budget_that_fills_up_midway_frees_everything(budget: MemoryBudget) -> None:
    data = encode(silence(200, 8_000), 8_000, "flac", "flac")
    with budget.reserve(budget.total_bytes - 4 * 2**20), pytest.raises(MemoryFull) as full:
        hear_now(data, budget)
    assert full.value.retry_after_s == 7


def test_what_would_not_fit_an_empty_budget_is_too_long(budget: MemoryBudget) -> None:
    """MemoryFull would promise that waiting helps."""
    small = MemoryBudget(2**20)
    with pytest.raises(AudioTooLong):
        hear_now(encode(silence(200, 8_000), 8_000, "flac", "flac"), small)
    assert small.used_bytes == 0


def test_a_recording_longer_than_allowed_is_refused(budget: MemoryBudget) -> None:
    with pytest.raises(AudioTooLong):
        hear_now(wav(silence(3, RATE_HZ)), budget, limits=DecodeLimits(max_duration_s=2.9, memory_bytes=2**30, cpu_s=60))


# --- bad files --------------------------------------------------------------------------------------------------------


TEXT = b"Minutes of the meeting. Present: all. " * 200


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\0", NotMedia),
        (TEXT, NotMedia),
        (bytes(100_000), NotMedia),
        (random.Random(1).randbytes(50_000), NotMedia),
        (b"%PDF-1.7\n" + TEXT, NotMedia),
        (b"ID3" + TEXT, BrokenMedia),
        (b"RIFF\xff\xff\xff\xffWAVEfmt ", BrokenMedia),
        (b"fLaC" + bytes(2000), BrokenMedia),
    ],
    ids=["one byte", "text called mp3", "zeros", "random bytes", "pdf", "only a tag", "cut header", "no frames"],
)
def test_what_is_no_recording_is_named_so(data: bytes, error: type[ApplianceError], budget: MemoryBudget) -> None:
    with pytest.raises(error):
        hear_now(data, budget)


def test_an_empty_file_is_empty(budget: MemoryBudget) -> None:
    with pytest.raises(EmptyFile):
        hear_now(b"", budget)


def test_an_mp4_has_its_index_at_its_end_and_is_damaged_without_it(budget: MemoryBudget) -> None:
    """TRAPS 22: only what can be read back and forth can be decoded, and memory can."""
    data = encode(two_tones(44_100), 44_100, "mp4", "aac")
    assert data.index(b"moov") > len(data) / 2
    assert hear_now(data, budget).duration_s > 0.5
    with pytest.raises(BrokenMedia) as error:
        hear_now(data[: data.index(b"moov") - 8], budget)
    assert "no index" in error.value.hint


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("mp3", "libmp3lame"),
        ("wav", "pcm_s16le"),
        pytest.param("flac", "flac", marks=pytest.mark.slow),
        pytest.param("matroska", "aac", marks=pytest.mark.slow),
        pytest.param("aiff", "pcm_s16be", marks=pytest.mark.slow),
    ],
)
def test_what_a_cut_off_file_still_holds_is_kept_and_flagged(container: str, codec: str, budget: MemoryBudget) -> None:
    sound = np.tile(two_tones(44_100), (4, 1))
    data = encode(sound, 44_100, container, codec, bit_rate=64_000)
    heard = hear_now(data[: len(data) * 6 // 10], budget)
    assert heard.media.truncated
    assert heard.duration_s == pytest.approx(0.6 * len(sound) / 44_100, rel=0.15)
    assert pitch_hz(heard.mono[seconds(0.1, PART_S - 0.1)]) == pytest.approx(LOW_HZ, abs=10)


def test_an_mp4_with_its_index_first_and_its_end_missing_is_kept(tmp_path: Path, budget: MemoryBudget) -> None:
    sound = np.tile(two_tones(44_100), (4, 1))
    data = with_ffmpeg(tmp_path, wav(sound, 44_100), "-c:a", "aac", "-movflags", "faststart", "a.mp4")
    heard = hear_now(data[: len(data) * 6 // 10], budget)
    assert heard.media.truncated
    assert 1.0 < heard.duration_s < 4.0


def test_a_video_without_sound_says_so(tmp_path: Path, budget: MemoryBudget) -> None:
    picture = ("-f", "lavfi", "-i", "color=c=blue:size=64x64:duration=0.5", "-map", "1:v", "-c:v", "mpeg4")
    with pytest.raises(NoAudioTrack, match="no audio track"):
        hear_now(with_ffmpeg(tmp_path, wav(two_tones(RATE_HZ)), *picture, "a.mp4"), budget)


# --- tricks -----------------------------------------------------------------------------------------------------------


def tricks(secret: Path) -> dict[str, bytes]:
    """Texts that make FFmpeg open other files or the network when it is let."""
    path = str(secret).encode()
    return {
        "ffconcat": b"ffconcat version 1.0\nfile " + secret.name.encode() + b"\n",
        "ffconcat with a path": b"ffconcat version 1.0\nfile '" + path + b"'\n",
        "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\na=rtpmap:0 PCMU/8000\n",
        "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://" + path + b"\n#EXT-X-ENDLIST\n",
        "hls over http": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "dash": b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
        b"<Representation><BaseURL>file://" + path + b"</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "a path": b"file:" + path + b"\n",
        "an address": b"http://127.0.0.1:9/a.mp3\n",
        "a tag before a playlist": b"ID3\x04\0\0\0\0\0\0#EXTM3U\n#EXTINF:10,\nfile://" + path + b"\n",
    }


QUICK_TRICKS = ("ffconcat", "sdp", "hls")


@pytest.mark.parametrize(
    "trick", [pytest.param(trick, marks=() if trick in QUICK_TRICKS else pytest.mark.slow) for trick in tricks(Path("/"))]
)
def test_a_file_that_names_other_files_opens_none(
    trick: str, tmp_path: Path, budget: MemoryBudget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRAPS 12, seen from outside: after the filter is set the child asks the kernel for no file, socket or process."""
    secret = tmp_path / "secret.wav"
    secret.write_bytes(wav(two_tones(RATE_HZ)))
    log = tmp_path / "trace"
    traced = shutil.which("strace") is not None
    if traced:
        strace = ("strace", "-D", "-f", "-e", "trace=%file,%network,%process,seccomp", "-o", str(log))
        monkeypatch.setattr(decode_module, "_COMMAND", (*strace, *decode_module._COMMAND))
    with pytest.raises((NotMedia, BrokenMedia)):
        hear_now(tricks(secret)[trick], budget)
    if traced:
        calls = finished_trace(log).partition("seccomp(SECCOMP_SET_MODE_FILTER")[2].splitlines()[1:]
        assert [line for line in calls if "exit" not in line and "+++" not in line and "---" not in line] == []


def finished_trace(log: Path) -> str:
    """strace runs beside the child and may write its last lines after it."""
    deadline = time.monotonic() + 10
    while "+++" not in (text := log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return text


# --- limits and deaths ------------------------------------------------------------------------------------------------


def silent_aac(hours: float) -> bytes:
    """One frame of silence (23 ms in a few bytes), over and over."""
    data = encode(silence(1.0, 44_100), 44_100, "adts", "aac")
    frames = data.split(data[:3])[1:]
    frame = data[:3] + frames[len(frames) // 2]
    return frame * round(hours * 3600 * 44_100 / 1024)


@pytest.mark.slow
def test_a_decode_bomb_is_stopped_by_counting(budget: MemoryBudget) -> None:
    """TRAPS 18: forty hours of silence in a few megabytes; a child of 400 MiB is enough to find out."""
    data = silent_aac(hours=40)
    assert len(data) < 80 * 2**20
    roomy = MemoryBudget(256 * 2**20)
    limits = DecodeLimits(max_duration_s=600, memory_bytes=400 * 2**20, cpu_s=60)
    with pytest.raises(AudioTooLong):
        hear_now(data, roomy, limits=limits)
    assert roomy.used_bytes == 0


@pytest.mark.slow
def test_computing_time_is_limited(budget: MemoryBudget) -> None:
    roomy = MemoryBudget(2**30)
    with pytest.raises(DecodeRefused, match="computing time"):
        hear_now(silent_aac(hours=40), roomy, limits=DecodeLimits(max_duration_s=10**6, memory_bytes=2**30, cpu_s=1))
    assert roomy.used_bytes == 0


def test_memory_of_the_child_is_limited(budget: MemoryBudget) -> None:
    one_packet_a_second = encode(silence(2, 96_000, 8), 96_000, "tta", "tta")
    with pytest.raises(DecodeRefused, match="more memory"):
        hear_now(one_packet_a_second, budget, limits=DecodeLimits(max_duration_s=60, memory_bytes=64 * 2**20, cpu_s=60))


def long_recording() -> bytes:
    return encode(silence(1200, 8_000), 8_000, "flac", "flac")


def test_a_killed_child_is_an_error_and_leaves_nothing(budget: MemoryBudget) -> None:
    with pytest.raises(DecodeRefused, match="SIGKILL"):
        asyncio.run(hear(long_recording(), budget, on_fraction=lambda _: the_child().kill()))


def decoding() -> list[psutil.Process]:
    """This process's decode children; servers of other tests may be its children too."""
    return [child for child in psutil.Process().children() if decode_module.__name__ in " ".join(child.cmdline())]


def the_child() -> psutil.Process:
    (child,) = decoding()
    return child


@pytest.mark.slow
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_cancelling_kills_the_child_and_frees_everything(
    new_loop: Callable[[], asyncio.AbstractEventLoop], budget: MemoryBudget
) -> None:
    """uvloop is what the appliance runs on."""

    async def cancel_midway() -> None:
        started = asyncio.Event()
        task = asyncio.create_task(hear(long_recording(), budget, on_fraction=lambda _: started.set()))
        await started.wait()
        assert decoding() != []
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert decoding() == []
        assert budget.used_bytes == 0

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(cancel_midway())
        assert_two_tones(runner.run(hear(wav(two_tones(RATE_HZ)), budget)).mono)


def test_cancelling_before_the_child_runs_leaves_nothing(budget: MemoryBudget) -> None:
    async def cancel_at_once() -> None:
        for turns in range(4):
            task = asyncio.create_task(hear(wav(two_tones(RATE_HZ)), budget))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert budget.used_bytes == 0

    asyncio.run(cancel_at_once())


def test_a_silent_child_is_given_up(budget: MemoryBudget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "_SILENCE_S", 0.1)
    monkeypatch.setattr(decode_module, "_COMMAND", ("sh", "-c", "exec sleep 600"))
    with pytest.raises(DecodeRefused, match="stopped answering"):
        hear_now(wav(two_tones(RATE_HZ)), budget)


@pytest.mark.parametrize(
    "answer",
    ["not json", '{"type":"at"}', '{"type":"ended","truncated":false}', "x" * 10_000],
    ids=["no json", "wrong type", "no samples", "endless line"],
)
def test_a_child_that_lies_is_refused(answer: str, budget: MemoryBudget, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import json, os, sys; os.write(json.loads(sys.argv[2])['answer_fd'], sys.argv[1].encode() + b'\\n')"
    monkeypatch.setattr(decode_module, "_COMMAND", (sys.executable, "-I", "-c", program, answer))
    with pytest.raises(DecodeRefused):
        hear_now(wav(two_tones(RATE_HZ)), budget)


def test_the_child_inherits_no_secret(budget: MemoryBudget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPLIANCE_WEBHOOK_SECRET", "whsec_canary")
    seen: list[bytes] = []

    def look(_: float) -> None:
        pid = the_child().pid
        seen.append(Path(f"/proc/{pid}/environ").read_bytes() if os.geteuid() == 0 else b"")
        os.kill(pid, signal.SIGKILL)

    with pytest.raises(DecodeRefused):
        asyncio.run(hear(long_recording(), budget, on_fraction=look))
    assert b"canary" not in b"".join(seen)


# --- anything at all --------------------------------------------------------------------------------------------------


def seeds() -> list[bytes]:
    sound = two_tones(RATE_HZ)[:8000]
    kinds = (
        ("mp3", "libmp3lame"), ("wav", "adpcm_ms"), ("flac", "flac"), ("ogg", "flac"), ("matroska", "aac"), ("mp4", "aac"),
        ("asf", "wmav2"), ("caf", "alac"), ("aiff", "pcm_s16be"), ("mpegts", "mp2"), ("avi", "pcm_s16le"), ("flv", "aac"),
        ("adts", "aac"), ("ac3", "ac3"), ("wv", "wavpack"), ("tta", "tta"),
    )  # fmt: skip
    return [encode(sound, RATE_HZ if codec != "ac3" else 48_000, container, codec, bit_rate=64_000) for container, codec in kinds]


def mutate(data: bytes, dice: random.Random) -> bytes:
    mutated = bytearray(data)
    for _ in range(dice.choice((1, 3, 20))):
        at = dice.randrange(len(mutated))
        change = dice.randrange(4)
        if change == 0:
            mutated[at] = dice.randrange(256)
        elif change == 1:
            mutated[at : at + 4] = dice.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\x01"))
        elif change == 2:
            del mutated[at : at + dice.randrange(1, 200)]
        else:
            mutated[at:at] = dice.randbytes(dice.randrange(1, 50))
        mutated = mutated or bytearray(b"\0")
    return bytes(mutated)


async def survive(files: list[bytes], budget: MemoryBudget) -> dict[str, int]:
    """Decode all, two at a time; every one must end in sound or an error of ours."""
    outcomes: dict[str, int] = {}
    turns = asyncio.Semaphore(2)

    async def one(data: bytes) -> None:
        async with turns:
            try:
                with memory_file(data, budget) as source:
                    pcm = await decode(source, budget, LIMITS, channels=ChannelMode.MIX, audio_track=None, on_fraction=ignore)
                pcm.close()
                outcome = "sound"
            except ApplianceError as error:
                outcome = str(error) if isinstance(error, DecodeRefused) else error.code
            outcomes[outcome] = outcomes.get(outcome, 0) + 1

    await asyncio.gather(*(one(data) for data in files))
    return outcomes


def ignore(_: float) -> None:
    """Progress is not looked at."""


@pytest.mark.parametrize("count", [8, pytest.param(400, marks=pytest.mark.slow)])
def test_no_mutated_file_does_harm(count: int, budget: MemoryBudget) -> None:
    dice = random.Random(count)
    originals = seeds()
    files = [mutate(originals[n % len(originals)], dice) for n in range(count)]
    outcomes = asyncio.run(survive(files, budget))
    assert sum(outcomes.values()) == count
    assert outcomes.get("sound", 0) > count // 4
    assert [outcome for outcome in outcomes if "fault" in outcome] == []  # a fault is a path the decoder did not foresee


@pytest.mark.slow
def test_eight_hours(budget: MemoryBudget) -> None:
    block = encode(silence(10.0, 8_000), 8_000, "adts", "aac", bit_rate=16_000)
    block_s = hear_now(block, budget).duration_s
    blocks = round(8 * 3600 / block_s)
    roomy = MemoryBudget(2 * 2**30)
    limits = DecodeLimits(max_duration_s=24 * 3600, memory_bytes=400 * 2**20, cpu_s=300)
    heard = hear_now(block * blocks, roomy, limits=limits)
    assert heard.duration_s == pytest.approx(8 * 3600, rel=0.001)
    assert roomy.used_bytes == 0
