"""Every format people send, as a real file made here: the sound that comes out is the sound that went in."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import av
import pytest

from appliance.audio import formats
from appliance.audio.memory import MemoryBudget
from tests.audio.decoding import hear_now
from tests.audio.tones import assert_two_tones, encode, loudness, two_tones, wav, with_ffmpeg


class Case(NamedTuple):
    name: str
    make: Callable[[Path], bytes]
    codec: str  # as the decoder reports it
    late_s: float = 0.1


def pyav(
    name: str, container: str, codec: str, *, rate_hz: int = 16_000, channels: int = 1, reads_as: str = "", **how: object
) -> Case:
    def make(_: Path) -> bytes:
        return encode(two_tones(rate_hz, channels), rate_hz, container, codec, **how)  # type: ignore[arg-type]

    return Case(name, make, reads_as or codec)


def ffmpeg(name: str, *arguments: str, codec: str, rate_hz: int = 16_000, late_s: float = 0.1) -> Case:
    def make(tmp_path: Path) -> bytes:
        return with_ffmpeg(tmp_path, wav(two_tones(rate_hz), rate_hz), *arguments)

    return Case(name, make, codec, late_s=late_s)


VIDEO = ("-f", "lavfi", "-i", "color=c=blue:size=64x64:rate=10:duration=1.2", "-map", "1:v", "-map", "0:a")

CASES = (
    pyav("mp3", "mp3", "libmp3lame", rate_hz=44_100, channels=2, reads_as="mp3float"),
    pyav("mp3-8kHz", "mp3", "libmp3lame", rate_hz=8_000, reads_as="mp3float"),
    pyav("mp2", "mp2", "mp2", rate_hz=32_000),
    pyav("wav-pcm-u8", "wav", "pcm_u8"),
    pyav("wav-pcm-s16", "wav", "pcm_s16le", rate_hz=48_000, channels=2),
    pyav("wav-pcm-s24", "wav", "pcm_s24le", rate_hz=96_000),
    pyav("wav-pcm-s32", "wav", "pcm_s32le", rate_hz=192_000),
    pyav("wav-float", "wav", "pcm_f32le", rate_hz=384_000),
    pyav("wav-double", "wav", "pcm_f64le"),
    pyav("wav-alaw", "wav", "pcm_alaw", rate_hz=8_000),
    pyav("wav-mulaw", "wav", "pcm_mulaw", rate_hz=8_000),
    pyav("wav-adpcm-ms", "wav", "adpcm_ms", rate_hz=22_050),
    pyav("wav-adpcm-ima", "wav", "adpcm_ima_wav", rate_hz=22_050),
    pyav("wav-g726", "wav", "g726", rate_hz=8_000),
    pyav("w64", "w64", "pcm_s16le"),
    pyav("rf64", "wav", "pcm_s16le", options={"rf64": "always"}),
    pyav("flac", "flac", "flac", rate_hz=44_100),
    pyav("ogg-flac", "ogg", "flac", rate_hz=48_000),
    pyav("ogg-opus", "ogg", "libopus", rate_hz=48_000, reads_as="opus"),
    pyav("webm-opus", "webm", "libopus", rate_hz=48_000, reads_as="opus"),
    pyav("mkv-aac", "matroska", "aac", rate_hz=48_000, channels=2),
    pyav("mka-vorbis", "matroska", "vorbis", rate_hz=44_100, channels=2, options={"strict": "experimental"}),
    pyav("m4a-aac", "ipod", "aac", rate_hz=44_100),
    pyav("m4a-fragmented", "mp4", "aac", rate_hz=48_000, options={"movflags": "frag_keyframe+empty_moov"}),
    pyav("m4a-alac", "ipod", "alac", rate_hz=44_100),
    pyav("mov-pcm", "mov", "pcm_s16be", rate_hz=48_000, channels=2),
    pyav("mp4-ac3", "mp4", "ac3", rate_hz=48_000, channels=2),
    pyav("aac-adts", "adts", "aac", rate_hz=44_100),
    pyav("aac-latm", "latm", "aac", rate_hz=44_100, reads_as="aac_latm"),
    pyav("3gp-amr", "3gp", "libopencore_amrnb", rate_hz=8_000, reads_as="amrnb"),
    pyav("amr-nb", "amr", "libopencore_amrnb", rate_hz=8_000, reads_as="amrnb"),
    pyav("wma2", "asf", "wmav2", rate_hz=44_100, bit_rate=64_000),
    pyav("wma1", "asf", "wmav1", rate_hz=44_100, bit_rate=64_000),
    pyav("aiff", "aiff", "pcm_s16be", rate_hz=44_100, channels=2),
    pyav("caf", "caf", "pcm_s16be", rate_hz=44_100),
    pyav("caf-alac", "caf", "alac", rate_hz=44_100),
    pyav("au", "au", "pcm_mulaw", rate_hz=8_000),
    pyav("avi-mp3", "avi", "libmp3lame", rate_hz=44_100, reads_as="mp3float"),
    pyav("flv-aac", "flv", "aac", rate_hz=44_100),
    pyav("flv-mp3", "flv", "libmp3lame", rate_hz=44_100, reads_as="mp3float"),
    pyav("mpeg-ts-aac", "mpegts", "aac", rate_hz=48_000),
    pyav("mpeg-ps-mp2", "mpeg", "mp2", rate_hz=48_000),
    pyav("ac3", "ac3", "ac3", rate_hz=48_000, channels=2),
    pyav("eac3", "eac3", "eac3", rate_hz=48_000, channels=2),
    pyav("wavpack", "wv", "wavpack", rate_hz=44_100),
    pyav("tta", "tta", "tta", rate_hz=44_100),
    pyav("voc", "voc", "pcm_s16le"),
    pyav("sox", "sox", "pcm_s32le"),
    pyav("realaudio", "rm", "ac3", rate_hz=44_100),
    ffmpeg("m4a-faststart", "-c:a", "aac", "-movflags", "faststart", "a.m4a", codec="aac"),
    ffmpeg("ogg-vorbis", "-c:a", "libvorbis", "a.ogg", codec="vorbis"),
    ffmpeg("speex", "-c:a", "libspeex", "a.spx", codec="speex"),
    ffmpeg("gsm", "-ar", "8000", "-c:a", "libgsm", "-f", "gsm", "a.gsm", codec="gsm"),
    ffmpeg("wav-gsm", "-ar", "8000", "-c:a", "libgsm_ms", "a.wav", codec="gsm_ms"),
    ffmpeg("dts", "-ar", "48000", "-ac", "2", "-strict", "-2", "-c:a", "dca", "a.dts", codec="dca"),
    ffmpeg("mp4-video-index-at-end", *VIDEO, "-c:v", "mpeg4", "-c:a", "aac", "a.mp4", codec="aac"),
    ffmpeg("mp4-video-faststart", *VIDEO, "-c:v", "mpeg4", "-c:a", "aac", "-movflags", "faststart", "a.mp4", codec="aac"),
    ffmpeg("mov-video", *VIDEO, "-c:v", "mpeg4", "-c:a", "pcm_s16le", "a.mov", codec="pcm_s16le"),
    ffmpeg("mkv-video", *VIDEO, "-c:v", "libx264", "-c:a", "libmp3lame", "a.mkv", codec="mp3float"),
    ffmpeg("webm-video", *VIDEO, "-c:v", "libvpx", "-c:a", "libopus", "a.webm", codec="opus"),
    ffmpeg("avi-video", *VIDEO, "-c:v", "mpeg4", "-c:a", "pcm_s16le", "a.avi", codec="pcm_s16le"),
    ffmpeg("mpeg-ts-video", *VIDEO, "-c:v", "mpeg2video", "-ar", "48000", "-c:a", "mp2", "a.ts", codec="mp2"),
    ffmpeg("wmv", *VIDEO, "-c:v", "wmv2", "-c:a", "wmav2", "a.wmv", codec="wmav2"),
    ffmpeg("3gp-video", *VIDEO, "-c:v", "mpeg4", "-c:a", "aac", "a.3gp", codec="aac"),
)


QUICK = (
    "mp3",
    "wav-pcm-s24",
    "flac",
    "ogg-opus",
    "webm-opus",
    "m4a-aac",
    "3gp-amr",
    "wma2",
    "mpeg-ts-aac",
    "mp4-video-index-at-end",
)


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=() if case.name in QUICK else pytest.mark.slow) for case in CASES]
)
def test_each_format_gives_back_its_sound(case: Case, tmp_path: Path, budget: MemoryBudget) -> None:
    heard = hear_now(case.make(tmp_path), budget)
    assert_two_tones(heard.mono, late_s=case.late_s)
    assert heard.media.codec == case.codec
    assert not heard.media.truncated


def test_amr_wideband(budget: MemoryBudget) -> None:
    """No encoder for it is at hand: frames of arbitrary speech parameters, 23.85 kbit/s, which decode to a second of sound."""
    parameters = random.Random(7)
    frames = b"".join(b"\x44" + parameters.randbytes(60) for _ in range(50))
    heard = hear_now(b"#!AMR-WB\n" + frames, budget)
    assert heard.media.codec == "amrwb"
    assert heard.duration_s == pytest.approx(1.0, abs=0.03)
    assert loudness(heard.mono) > 0.001


def test_every_listed_format_and_codec_is_one_ffmpeg_knows() -> None:
    assert {format.demuxer for format in formats.FORMATS} <= {name for known in av.formats_available for name in known.split(",")}
    assert set(formats.CODECS) <= set(av.codecs_available) | {"libspeex"}
