"""The native dialect's fields, as `TranscribeOptions`. API.md section 1 names them; every other name is refused."""

from __future__ import annotations

from msgspec.structs import replace

from appliance.api.fields import MAX_PROMPT_CHARS, MAX_TITLE_CHARS, Fields
from appliance.api.intake import Ask
from appliance.api.services import Services
from appliance.api.site_models import check_capabilities, resolve_model
from appliance.catalogue import Model
from appliance.crypto.encoding import from_base64url
from appliance.crypto.sealing import check_public_key
from appliance.domain import ChannelMode, Priority, SpeakerCount, Task, TranscribeOptions
from appliance.errors import InvalidField, NotAvailable, SealKeyInvalid
from appliance.jobs import Privacy
from appliance.jobs.webhooks import check_target
from appliance.settings import Settings

RESPONSE_FORMATS = ("json", "verbose_json", "text", "srt", "vtt")
MAX_SPEAKERS = 50
MAX_MODELS = 6

KNOWN = (
    "model",
    "models",
    "language",
    "languages",
    "task",
    "diarize",
    "speakers",
    "min_speakers",
    "max_speakers",
    "channels",
    "audio_track",
    "hotwords",
    "prompt",
    "temperature",
    "word_timestamps",
    "title",
    "workspace",
    "filename",
    "priority",
    "private",
    "hide_name",
    "seal_to",
    "callback_url",
    "response_format",
)


def parse_native(fields: Fields, services: Services) -> Ask:
    """Raises `InvalidField`, `NotAvailable`, `UnknownModel`, `LanguageUnsupported`, each naming the field."""
    models = read_models(fields, services)
    options = read_options(fields, models[0])
    for model in models:
        check_capabilities(model, options)
    privacy = read_privacy(fields, models)
    return Ask(
        options=replace(options, private=privacy is not None),
        privacy=privacy,
        models=tuple(model.id for model in models),
        title=fields.limited("title", MAX_TITLE_CHARS) or "",
        workspace=fields.text("workspace") or None,
        priority=Priority(priority) if (priority := fields.choice("priority", [*Priority])) else None,
        callback_url=read_callback_url(fields, services.settings),
        response_format=fields.choice("response_format", RESPONSE_FORMATS) or "json",
    )


def read_models(fields: Fields, services: Services) -> tuple[Model, ...]:
    """The model, or the several to compare; the first of them is the transcript, the others its alternatives."""
    names = fields.many("models", separators=",")
    if not names:
        return (resolve_model(services, fields.text("model")),)
    if "model" in fields:
        raise InvalidField("models", "cannot be combined with 'model'", "Name them all in 'models'; the first is the main one.")
    models = tuple(resolve_model(services, name) for name in names)
    if len(models) > MAX_MODELS:
        raise InvalidField("models", f"may name {MAX_MODELS} at most")
    if len({model.id for model in models}) < len(models):
        raise InvalidField("models", f"names the same model twice ({', '.join(model.id for model in models)})")
    return models


def read_options(fields: Fields, model: Model) -> TranscribeOptions:
    channels = ChannelMode(fields.choice("channels", [*ChannelMode]) or ChannelMode.MIX)
    speakers = read_speakers(fields)
    diarize = read_diarize(fields, speakers, channels)
    language = fields.language("language")
    languages = fields.languages("languages", separators=",")
    if language and languages:
        raise InvalidField("languages", "cannot be combined with 'language'", "'languages' limits what is detected.")
    return TranscribeOptions(
        model=model.id,
        language=language,
        allowed_languages=languages,
        task=read_task(fields),
        word_timestamps=read_word_timestamps(fields, model),
        diarize=diarize,
        speakers=speakers,
        channels=channels,
        audio_track=fields.integer("audio_track", 0, 99),
        hotwords=fields.hotwords("hotwords", separators=",\n"),
        initial_prompt=fields.limited("prompt", MAX_PROMPT_CHARS),
        temperature=fields.number("temperature", 0.0, 1.0),
    )


def read_task(fields: Fields) -> Task:
    return "translate" if fields.choice("task", ("transcribe", "translate")) == "translate" else "transcribe"


def read_word_timestamps(fields: Fields, model: Model) -> bool:
    """Wanted unless declined; a model that has none is only refused to those who ask for them."""
    asked = fields.boolean("word_timestamps")
    return model.word_timestamps if asked is None else asked


def read_speakers(fields: Fields) -> SpeakerCount:
    exact = fields.integer("speakers", 0, MAX_SPEAKERS) or None  # 0: detect
    least = fields.integer("min_speakers", 1, MAX_SPEAKERS)
    most = fields.integer("max_speakers", 1, MAX_SPEAKERS)
    if exact and (least or most):
        raise InvalidField("speakers", "cannot be combined with 'min_speakers' or 'max_speakers'")
    if least and most and least > most:
        raise InvalidField("min_speakers", f"({least}) is larger than 'max_speakers' ({most})")
    return SpeakerCount(exact=exact, at_least=least, at_most=most)


def read_diarize(fields: Fields, speakers: SpeakerCount, channels: ChannelMode) -> bool:
    """Asked for by name or by a number of speakers; the two must not contradict each other, nor `channels=separate`."""
    counted = speakers != SpeakerCount()
    asked = fields.boolean("diarize")
    if counted and asked is False:
        raise InvalidField("speakers", "was sent together with 'diarize=false'", "Leave one of the two out.")
    if channels is ChannelMode.SEPARATE and counted:
        raise InvalidField("speakers", "has no meaning with 'channels=separate'", "There, each channel is one speaker.")
    return counted if asked is None else asked


def read_privacy(fields: Fields, models: tuple[Model, ...]) -> Privacy | None:
    """What goes with `private`, and what does not."""
    hide_name, seal_to = fields.boolean("hide_name"), fields.text("seal_to")
    if not fields.boolean("private"):
        if hide_name or seal_to:
            raise InvalidField("hide_name" if hide_name else "seal_to", "has a meaning only with 'private=true'")
        return None
    if len(models) > 1:
        raise NotAvailable("models", "a private transcript is made by one model", "Send 'model'.")
    return Privacy(hide_name=bool(hide_name), seal_to=_read_seal_key(seal_to) if seal_to else b"")


def _read_seal_key(text: str) -> bytes:
    try:
        key = from_base64url(text)
    except ValueError as error:
        raise SealKeyInvalid("is not base64url") from error
    check_public_key(key)
    return key


def read_callback_url(fields: Fields, settings: Settings) -> str | None:
    url = fields.text("callback_url")
    if url is not None:
        check_target(url, settings.webhook_targets)
    return url
