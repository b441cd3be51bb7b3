"""The OpenAI dialect's fields, as `TranscribeOptions`. API.md section 2 names them; every other name is refused."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Literal

import msgspec

from appliance.api.fields import MAX_PROMPT_CHARS, Fields
from appliance.api.intake import Ask
from appliance.api.services import Services
from appliance.api.site_models import check_capabilities, check_diarization, resolve_model
from appliance.catalogue import Model
from appliance.domain import Task, TranscribeOptions, Value
from appliance.errors import InvalidField, NotAvailable, UnknownField
from appliance.jobs import KnownVoice

TRANSLATION_FIELDS = ("model", "prompt", "response_format", "temperature")
VAD_FIELDS = ("type", "prefix_padding_ms", "silence_duration_ms", "threshold")
TRANSCRIPTION_FIELDS = (
    *TRANSLATION_FIELDS,
    "language",
    "languages",
    "keywords",
    "include",
    "timestamp_granularities",
    "stream",
    "chunking_strategy",
    *(f"chunking_strategy[{name}]" for name in VAD_FIELDS),  # how the packages send the object in a form
    "known_speaker_names",
    "known_speaker_references",
)
TRANSLATION_FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
TRANSCRIPTION_FORMATS = (*TRANSLATION_FORMATS, "diarized_json")
STREAMED_FORMATS = ("json", "text", "diarized_json")
MAX_KNOWN_SPEAKERS = 4
MAX_VOICE_BYTES = 12 * 2**20  # of all fields but the recording: four samples of 10 s, 48 kHz, stereo, as data URLs
DATA_URL = re.compile(r"data:(?:(?:audio|video)/[\w.+-]+|application/octet-stream)?(?:;[\w=.+-]+)*;base64,", re.ASCII)
MAX_NAME_CHARS = 200
MAX_PADDING_MS = 10_000


class OpenAiAsk(Ask, frozen=True):
    granularities: tuple[str, ...] = ("segment",)
    logprobs: bool = False
    stream: bool = False


class ServerVad(Value, frozen=True, forbid_unknown_fields=True):
    type: Literal["server_vad"]
    prefix_padding_ms: int | None = None
    silence_duration_ms: int | None = None
    threshold: float | None = None


def parse_translation(fields: Fields, services: Services) -> OpenAiAsk:
    """Speech in any language to English text."""
    model = resolve_model(services, fields.text("model"))
    response_format = fields.choice("response_format", TRANSLATION_FORMATS) or "json"
    options = read_options(fields, model, "translate", response_format)
    check_capabilities(model, options)
    return OpenAiAsk(options=options, models=(model.id,), response_format=response_format)


def parse_transcription(fields: Fields, services: Services) -> OpenAiAsk:
    """Raises `InvalidField`, `NotAvailable`, `UnknownModel`, `LanguageUnsupported`, each naming the field."""
    model = resolve_model(services, fields.text("model"))
    response_format = fields.choice("response_format", TRANSCRIPTION_FORMATS) or "json"
    options = read_options(fields, model, "transcribe", response_format)
    check_capabilities(model, options)
    if options.diarize:
        check_diarization(services, "response_format", response_format)
    ask = OpenAiAsk(
        options=options,
        models=(model.id,),
        known_voices=read_known_speakers(fields, response_format),
        needs_speakers=options.diarize,
        response_format=response_format,
        granularities=read_granularities(fields, response_format),
        logprobs=read_logprobs(fields, response_format),
        stream=read_stream(fields, response_format),
    )
    if ("word" in ask.granularities or ask.logprobs) and not model.word_timestamps:
        raise NotAvailable("timestamp_granularities", f"the model '{model.id}' gives no word times")
    return ask


def read_options(fields: Fields, model: Model, task: Task, response_format: str) -> TranscribeOptions:
    language, languages = fields.language("language"), fields.languages("languages")
    if language and languages:
        raise InvalidField("languages", "cannot be combined with 'language'")
    vad = read_chunking(fields)
    return TranscribeOptions(
        model=model.id,
        language=language,
        allowed_languages=languages,
        task=task,
        word_timestamps=model.word_timestamps,
        diarize=response_format == "diarized_json",
        hotwords=fields.hotwords("keywords"),
        initial_prompt=fields.limited("prompt", MAX_PROMPT_CHARS),
        temperature=fields.number("temperature", 0.0, 1.0) or None,  # 0 here means: 0, rising where the text looks invented
        vad_threshold=vad.threshold if vad else None,
        vad_min_silence_ms=vad.silence_duration_ms if vad else None,
        vad_speech_pad_ms=vad.prefix_padding_ms if vad else None,
    )


def read_granularities(fields: Fields, response_format: str) -> tuple[str, ...]:
    asked = fields.many("timestamp_granularities")
    if wrong := [name for name in asked if name not in ("word", "segment")]:
        raise InvalidField("timestamp_granularities", f"must be 'word', 'segment' or both, not '{wrong[0]}'")
    if asked and response_format != "verbose_json":
        raise InvalidField("timestamp_granularities", "needs 'response_format=verbose_json'")
    return asked or ("segment",)


def read_logprobs(fields: Fields, response_format: str) -> bool:
    asked = fields.many("include")
    if wrong := [name for name in asked if name != "logprobs"]:
        raise InvalidField("include", f"may only hold 'logprobs', not '{wrong[0]}'")
    if asked and response_format != "json":
        raise InvalidField("include", "gives log probabilities with 'response_format=json' only")
    return bool(asked)


def read_stream(fields: Fields, response_format: str) -> bool:
    stream = fields.boolean("stream") or False
    if stream and response_format not in STREAMED_FORMATS:
        raise InvalidField("stream", f"cannot be combined with 'response_format={response_format}'")
    return stream


def read_known_speakers(fields: Fields, response_format: str) -> tuple[KnownVoice, ...]:
    """A name and a sample of the voice, 2 to 10 s as a data URL, for each."""
    names, samples = fields.many("known_speaker_names"), fields.many("known_speaker_references")
    if max(len(names), len(samples)) > MAX_KNOWN_SPEAKERS:
        raise InvalidField("known_speaker_names", f"may hold {MAX_KNOWN_SPEAKERS} at most")
    if len(names) != len(samples):
        raise InvalidField("known_speaker_references", f"must hold one sample for each of the {len(names)} known_speaker_names")
    if len(set(names)) < len(names) or any(not name.strip() or len(name) > MAX_NAME_CHARS for name in names):
        raise InvalidField("known_speaker_names", f"must hold different names of 1 to {MAX_NAME_CHARS} characters")
    if names and response_format != "diarized_json":
        raise InvalidField("known_speaker_names", "needs 'response_format=diarized_json'")
    return tuple(KnownVoice(name, _from_data_url(sample)) for name, sample in zip(names, samples, strict=True))


def _from_data_url(text: str) -> bytes:
    start = DATA_URL.match(text)
    try:
        media = base64.b64decode(text[start.end() :], validate=True) if start else b""
    except binascii.Error:
        media = b""
    if not media:
        raise InvalidField(
            "known_speaker_references", "must hold data URLs", "Like 'data:audio/wav;base64,UklGR…', 2 to 10 s each."
        )
    return media


# --- voice activity ---------------------------------------------------------------------------------------------------


def read_chunking(fields: Fields) -> ServerVad | None:
    """`auto`, a JSON object, or the object's keys as form fields of their own. None: the site's own values."""
    text = fields.text("chunking_strategy")
    parts = {name: value for name in VAD_FIELDS if (value := fields.text(f"chunking_strategy[{name}]")) is not None}
    if text and parts:
        raise InvalidField("chunking_strategy", "was sent in two forms at once")
    if text == "auto" or not (text or parts):
        return None
    vad = _from_json(text) if text else _from_parts(parts)
    _check_range("prefix_padding_ms", vad.prefix_padding_ms, MAX_PADDING_MS)
    _check_range("silence_duration_ms", vad.silence_duration_ms, MAX_PADDING_MS)
    _check_range("threshold", vad.threshold, 1.0)
    return vad


def _from_json(text: str) -> ServerVad:
    try:
        return msgspec.json.decode(text, type=ServerVad)
    except msgspec.MsgspecError as error:
        _refuse_unknown_key(str(error))
        raise InvalidField("chunking_strategy", f"must be 'auto' or a 'server_vad' object ({error})") from error


def _from_parts(parts: dict[str, str]) -> ServerVad:
    try:
        return msgspec.convert(parts, ServerVad, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidField("chunking_strategy", f"must be 'auto' or a 'server_vad' object ({error})") from error


def _refuse_unknown_key(problem: str) -> None:
    if "unknown field" in problem:
        name = problem.split("`")[1]
        raise UnknownField(f"chunking_strategy.{name}", [f"chunking_strategy.{known}" for known in VAD_FIELDS])


def _check_range(name: str, value: float | None, highest: float) -> None:
    if value is not None and not 0 <= value <= highest:
        raise InvalidField("chunking_strategy", f"has a {name} outside 0 to {highest:g}: {value:g}")
