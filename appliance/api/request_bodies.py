"""How the bodies that handlers read themselves stand in the OpenAPI document."""

from __future__ import annotations

from dataclasses import dataclass

from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, Parameter, RequestBody, Schema

from appliance.api.answer_bodies import EVENTS, SUBTITLES, also_answers


def _text(description: str, *choices: str) -> Schema:
    return Schema(type=OpenAPIType.STRING, description=description, enum=list(choices) or None)


def _flag(description: str) -> Schema:
    return Schema(type=OpenAPIType.BOOLEAN, description=description)


def _count(description: str) -> Schema:
    return Schema(type=OpenAPIType.INTEGER, description=description)


def _number(description: str) -> Schema:
    return Schema(type=OpenAPIType.NUMBER, description=description)


def _list(description: str) -> Schema:
    return Schema(type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.STRING), description=description)


FILE = Schema(
    type=OpenAPIType.STRING,
    content_media_type="application/octet-stream",
    description="The recording: nearly any audio or video format.",
)

NATIVE_FIELDS: dict[str, Schema] = {
    "model": _text("A model's id or alias; the site's default when absent."),
    "models": _text("Several models with commas, to compare them on one upload; the first is the main one."),
    "language": _text("A code or an English name; `auto` (the default) detects it."),
    "languages": _text("Codes with commas: detection chooses among these."),
    "task": _text("`translate` gives English.", "transcribe", "translate"),
    "diarize": _flag("Who said what. Implied by `speakers`, `min_speakers` and `max_speakers`."),
    "speakers": _count("How many people speak; 0 detects it."),
    "min_speakers": _count("At least this many speakers."),
    "max_speakers": _count("At most this many speakers."),
    "channels": _text("`separate`: each channel is one speaker, as in telephone recordings.", "mix", "separate"),
    "audio_track": _count("Which audio track of a video, from 0."),
    "hotwords": _text("Names and terms to expect, with commas or one a line."),
    "prompt": _text("Text that could stand before the recording: style, names, spelling."),
    "temperature": _number("0 to 1; when absent 0, and more where the text shows signs of being invented."),
    "word_timestamps": _flag("Times of single words; on by default."),
    "title": _text("The file's name when absent."),
    "workspace": _text("Id of the workspace it belongs to; the caller's own when absent. Not with `private`."),
    "filename": _text("Name of the recording when it is the whole body."),
    "priority": _text("The site's default when absent.", "high", "normal", "low"),
    "private": _flag("Only your browser can read the text: docs/private-transcripts.md. Not on `/v1/transcribe`."),
    "hide_name": _flag("With `private`: the file's name is not stored either."),
    "seal_to": _text("With `private`: a P-256 public key (base64url, 65 bytes); the result is sealed to it."),
    "callback_url": _text("Told when the transcript ends; only targets the administrator allows, and none that has answered 410."),
    "response_format": _text("Which document stands beside the text.", "json", "verbose_json", "text", "srt", "vtt"),
}

OPENAI_TRANSLATION_FIELDS: dict[str, Schema] = {
    "model": _text("A model's id or alias, e.g. `whisper-1`."),
    "prompt": _text("Text that could stand before the recording, in English."),
    "response_format": _text("`json` when absent.", "json", "text", "srt", "verbose_json", "vtt"),
    "temperature": _number("0 to 1; 0 rises by itself where the text shows signs of being invented."),
}

OPENAI_FIELDS: dict[str, Schema] = OPENAI_TRANSLATION_FIELDS | {
    "response_format": _text("`json` when absent.", "json", "text", "srt", "verbose_json", "vtt", "diarized_json"),
    "language": _text("A code or an English name; detected when absent."),
    "languages[]": _list("Detection chooses among these."),
    "keywords[]": _list("Names and terms to expect."),
    "include[]": _list("`logprobs`, with `json` only: one entry per word, its log probability the mean over the word's tokens."),
    "timestamp_granularities[]": _list("`word`, `segment`; with `verbose_json` only."),
    "stream": _flag("Server-sent events as the text is decided; with `json`, `text` and `diarized_json`."),
    "chunking_strategy": _text("`auto`, or a `server_vad` object with prefix_padding_ms, silence_duration_ms, threshold."),
    "known_speaker_names[]": _list("At most 4; with `diarized_json`, whoever sounds like a sample is called by its name."),
    "known_speaker_references[]": _list("One sample of 2 to 10 s for each name, as a data URL."),
}

REVISION = _count("The revision the edit was made on; a stale one gets 409.")


def _form(fields: dict[str, Schema]) -> RequestBody:
    schema = Schema(type=OpenAPIType.OBJECT, properties={"file": FILE, **fields}, required=["file"], additional_properties=False)
    return RequestBody(content={"multipart/form-data": OpenAPIMediaType(schema=schema)}, required=True)


def _json(properties: dict[str, Schema]) -> RequestBody:
    schema = Schema(type=OpenAPIType.OBJECT, properties={"revision": REVISION, **properties}, required=["revision"])
    return RequestBody(content={"application/json": OpenAPIMediaType(schema=schema)}, required=True)


@dataclass
class NativeUpload(Operation):
    def __post_init__(self) -> None:
        self.request_body = _form(NATIVE_FIELDS)
        self.request_body.content["application/octet-stream"] = OpenAPIMediaType(schema=FILE)
        query = [
            Parameter(name=name, param_in="query", schema=schema, description=schema.description)
            for name, schema in NATIVE_FIELDS.items()
        ]
        key = Parameter(
            name="Idempotency-Key",
            param_in="header",
            schema=_text("The same key again gives the same transcript."),
            description="Makes sending again safe: the same key gives the same transcript.",
        )
        self.parameters = [*(self.parameters or []), key, *query]
        also_answers(self, SUBTITLES)


@dataclass
class OpenAiUpload(Operation):
    def __post_init__(self) -> None:
        self.request_body = _form(OPENAI_FIELDS)
        also_answers(self, [*SUBTITLES, EVENTS])


@dataclass
class OpenAiTranslationUpload(Operation):
    def __post_init__(self) -> None:
        self.request_body = _form(OPENAI_TRANSLATION_FIELDS)
        also_answers(self, SUBTITLES)


@dataclass
class TranscriptPatchBody(Operation):
    def __post_init__(self) -> None:
        names = Schema(type=OpenAPIType.OBJECT, description="Label to name; null takes the name away.")
        workspace = _text("Id of the workspace to move it to; null moves it to the caller's own.")
        self.request_body = _json({"title": _text("The new title."), "speakers": names, "workspace": workspace})


@dataclass
class SegmentPatchBody(Operation):
    def __post_init__(self) -> None:
        self.request_body = _json({"text": _text("The corrected text."), "speaker": _text("A speaker's label, or null.")})


@dataclass
class EnvelopeBody(Operation):
    def __post_init__(self) -> None:
        schema = Schema(type=OpenAPIType.OBJECT, description="The envelope that docs/private-transcripts.md describes.")
        self.request_body = RequestBody(content={"application/json": OpenAPIMediaType(schema=schema)}, required=True)
