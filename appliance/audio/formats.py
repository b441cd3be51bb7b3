"""The formats a recording may come in: FFmpeg's names for them, and the names people use.

FFmpeg can read hundreds more, among them playlists that open other files and games' formats nobody maintains; what is
not listed here is refused before its parser sees a byte (TRAPS 12).
"""

from __future__ import annotations

from appliance.domain import Value


class Format(Value, frozen=True):
    demuxer: str  # FFmpeg's name
    known_as: str  # what people call it
    magic: tuple[bytes, ...] = ()  # how such files begin: tells a damaged recording from something else
    magic_at: int = 0
    tells_length: bool = False  # its header gives a length to hold the decoded one against


FORMATS = (
    Format(demuxer="mp3", known_as="MP3, MP2, MP1", magic=(b"ID3", b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xfd")),
    Format(demuxer="mov", known_as="MP4, M4A, MOV, 3GP, 3G2", magic=(b"ftyp", b"moov", b"mdat"), magic_at=4, tells_length=True),
    Format(demuxer="matroska", known_as="MKV, MKA, WebM", magic=(b"\x1a\x45\xdf\xa3",), tells_length=True),
    Format(demuxer="ogg", known_as="OGG, OGA, Opus, Speex", magic=(b"OggS",)),
    Format(demuxer="flac", known_as="FLAC", magic=(b"fLaC",), tells_length=True),
    Format(demuxer="wav", known_as="WAV", magic=(b"RIFF", b"RF64", b"RIFX"), tells_length=True),
    Format(demuxer="w64", known_as="Sony Wave64", magic=(b"riff",), tells_length=True),
    Format(demuxer="avi", known_as="AVI", magic=(b"RIFF",), tells_length=True),
    Format(demuxer="aac", known_as="AAC (ADTS)", magic=(b"\xff\xf1", b"\xff\xf9")),
    Format(demuxer="loas", known_as="AAC (LATM)"),
    Format(demuxer="aiff", known_as="AIFF, AIFC", magic=(b"FORM",), tells_length=True),
    Format(demuxer="caf", known_as="CAF", magic=(b"caff",), tells_length=True),
    Format(demuxer="au", known_as="AU, SND", magic=(b".snd",), tells_length=True),
    Format(demuxer="amr", known_as="AMR", magic=(b"#!AMR",)),
    Format(demuxer="amrnb", known_as="AMR without header"),
    Format(demuxer="amrwb", known_as="AMR wideband without header"),
    Format(demuxer="gsm", known_as="GSM 06.10"),
    Format(demuxer="g722", known_as="G.722"),
    Format(demuxer="asf", known_as="WMA, WMV, ASF", magic=(b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",)),
    Format(demuxer="xwma", known_as="XWMA", magic=(b"RIFF",)),
    Format(demuxer="flv", known_as="FLV", magic=(b"FLV",), tells_length=True),
    Format(demuxer="mpegts", known_as="MPEG transport stream (TS, M2TS, MTS)", magic=(b"\x47",)),
    Format(demuxer="mpeg", known_as="MPEG program stream (MPG, VOB)", magic=(b"\x00\x00\x01\xba",)),
    Format(demuxer="ac3", known_as="AC-3 (Dolby Digital)", magic=(b"\x0b\x77",)),
    Format(demuxer="eac3", known_as="E-AC-3", magic=(b"\x0b\x77",)),
    Format(demuxer="dts", known_as="DTS", magic=(b"\x7f\xfe\x80\x01",)),
    Format(demuxer="wv", known_as="WavPack", magic=(b"wvpk",), tells_length=True),
    Format(demuxer="tta", known_as="True Audio (TTA)", magic=(b"TTA1", b"TTA2"), tells_length=True),
    Format(demuxer="ape", known_as="Monkey's Audio (APE)", magic=(b"MAC ",), tells_length=True),
    Format(demuxer="mpc", known_as="Musepack 7", magic=(b"MP+",)),
    Format(demuxer="mpc8", known_as="Musepack 8", magic=(b"MPCK",)),
    Format(demuxer="rm", known_as="RealAudio, RealMedia", magic=(b".RMF", b".ra\xfd")),
    Format(demuxer="dss", known_as="DSS (dictation machines)", magic=(b"\x02dss", b"\x03dss")),
    Format(demuxer="nistsphere", known_as="NIST Sphere", magic=(b"NIST_1A",)),
    Format(demuxer="voc", known_as="Creative VOC", magic=(b"Creative Voice File",)),
    Format(demuxer="mxf", known_as="MXF", magic=(b"\x06\x0e\x2b\x34",)),
    Format(demuxer="ircam", known_as="IRCAM SF"),
    Format(demuxer="sox", known_as="SoX native", magic=(b".SoX", b"XoS.")),
)  # fmt: skip


# Only sound is decoded: pictures and video in a file never reach their decoders, which are the larger part of FFmpeg.
CODECS = (
    "aac", "aac_latm", "ac3", "adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "adpcm_swf", "adpcm_yamaha", "alac", "amrnb",
    "amrwb", "libopencore_amrnb", "libopencore_amrwb", "ape", "atrac3", "cook", "dca", "dss_sp", "dvaudio", "eac3", "flac",
    "g722", "g723_1", "g726", "g726le", "g729", "gsm", "gsm_ms", "ilbc", "mp1", "mp1float", "mp2", "mp2float", "mp3",
    "mp3float", "mp3adu", "mp3adufloat", "mp3on4", "mp3on4float", "mpc7", "mpc8", "nellymoser", "opus", "libopus", "pcm_alaw",
    "pcm_bluray", "pcm_dvd", "pcm_mulaw", "pcm_f32be", "pcm_f32le", "pcm_f64be", "pcm_f64le", "pcm_s8", "pcm_s8_planar",
    "pcm_s16be", "pcm_s16be_planar", "pcm_s16le", "pcm_s16le_planar", "pcm_s24be", "pcm_s24le", "pcm_s24le_planar", "pcm_s32be",
    "pcm_s32le", "pcm_s32le_planar", "pcm_s64be", "pcm_s64le", "pcm_u8", "pcm_u16be", "pcm_u16le", "pcm_u24be", "pcm_u24le",
    "pcm_u32be", "pcm_u32le", "qcelp", "qdm2", "real_144", "real_288", "s302m", "sipr", "speex", "libspeex", "truespeech",
    "tta", "mlp", "truehd", "vorbis", "wavpack", "wmalossless", "wmapro", "wmav1", "wmav2", "wmavoice",
)  # fmt: skip


def by_name(demuxer: str) -> Format | None:
    """`demuxer`: as FFmpeg reports it, perhaps several names joined by commas."""
    names = demuxer.split(",")
    return next((format for format in FORMATS if format.demuxer in names), None)


def looks_like_media(head: bytes) -> bool:
    """Whether a file that could not be opened begins like a recording, and so is a damaged one."""
    return any(head.startswith(magic, format.magic_at) for format in FORMATS for magic in format.magic)
