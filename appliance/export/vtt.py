"""WebVTT: `HH:MM:SS.mmm`, speakers as `<v Name>`, text escaped. Its renderers find the direction of the text themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from appliance.export.srt import srt_time
from appliance.export.subtitles import Cue


def render_vtt(cues: Iterable[Cue], names: Mapping[str, str] | None = None) -> str:
    """`names`: what to call a speaker, by label; None: no speakers are shown."""
    return "WEBVTT\n\n" + "".join(
        f"{vtt_time(cue.start_ms)} --> {vtt_time(cue.end_ms)}\n{_payload(cue, names)}\n\n" for cue in cues
    )


def vtt_time(ms: int) -> str:
    return srt_time(ms).replace(",", ".")


def _payload(cue: Cue, names: Mapping[str, str] | None) -> str:
    text = "\n".join(map(escape, cue.lines))
    if names is None or cue.speaker is None:
        return text
    name = " ".join(names.get(cue.speaker, cue.speaker).split())
    return f"<v {escape(name)}>{text}</v>" if name else text


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
