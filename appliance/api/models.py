"""Models and languages: one listing that serves OpenAI's clients (`data`) and STT.ai's (`models`)."""

from __future__ import annotations

import asyncio

from litestar import get

from appliance.api.auth import TRANSCRIBE
from appliance.api.errors import OPENAI, SHARED
from appliance.api.services import ApiRequest, Services, services_of
from appliance.api.site_models import is_loaded, resolve_model
from appliance.catalogue import Model
from appliance.domain import Value
from appliance.errors import ModelNotInstalled, UnknownModel

OWNER = "appliance"
CREATED = 0  # the interface wants a time stamp; when weights were made is not known here


class ModelEntry(Value, frozen=True):
    """A model as OpenAI's clients know it; its aliases have entries of their own."""

    id: str
    object: str = "model"
    created: int = CREATED
    owned_by: str = OWNER


class ModelAnswer(Value, frozen=True):
    id: str
    name: str
    description: str
    languages: tuple[str, ...]  # codes
    size: int  # bytes
    memory: int  # bytes of the device, about
    translation: bool
    word_timestamps: bool
    licence: str
    aliases: tuple[str, ...]
    default: bool
    loaded: bool  # in memory now, so that the first words come sooner


class ModelListing(Value, frozen=True):
    object: str
    data: tuple[ModelEntry, ...]
    models: tuple[ModelAnswer, ...]


@get("/v1/models", opt=TRANSCRIBE | SHARED, tags=["Models"], summary="What is installed, and every name that works")
async def list_models(request: ApiRequest) -> ModelListing:
    return await asyncio.to_thread(_listing, services_of(request))


@get("/v1/models/{name:path}", opt=TRANSCRIBE | OPENAI, tags=["Models"], summary="One model, by id or alias")
async def read_model(request: ApiRequest, name: str) -> ModelEntry:
    services = services_of(request)
    wanted = name.removeprefix("/")
    resolve_model(services, wanted)
    return ModelEntry(wanted)


def recognition_models(services: Services) -> tuple[Model, ...]:
    return tuple(model for model in services.shelf.installed() if model.kind == "recognition")


def _listing(services: Services) -> ModelListing:
    names = services.shelf.usable_names(services.settings.default_model, services.settings.model_aliases)
    return ModelListing(
        object="list",
        data=tuple(ModelEntry(name) for name in names),
        models=tuple(_answer(services, model, names) for model in recognition_models(services)),
    )


def _answer(services: Services, model: Model, names: tuple[str, ...]) -> ModelAnswer:
    meant = [name for name in names if _meaning(services, name) == model.id]
    return ModelAnswer(
        id=model.id,
        name=model.name,
        description=model.description,
        languages=model.languages,
        size=model.download_bytes,
        memory=model.memory_bytes,
        translation=model.translation,
        word_timestamps=model.word_timestamps,
        licence=model.licence,
        aliases=tuple(name for name in meant if name != model.id),
        default=_meaning(services, services.settings.default_model) == model.id,
        loaded=is_loaded(services, model.id),
    )


def _meaning(services: Services, name: str) -> str | None:
    """The id of the model that a name stands for; None for an alias whose model is not installed."""
    try:
        return resolve_model(services, name).id
    except (UnknownModel, ModelNotInstalled):
        return None
