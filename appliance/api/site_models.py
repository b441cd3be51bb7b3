"""Which model a request means, what it can do, and whether it is in memory now."""

from __future__ import annotations

from pathlib import PurePath

from appliance.api.services import Services
from appliance.catalogue import Model, State
from appliance.domain import TranscribeOptions
from appliance.engine.pool import WorkerState, WorkerStatus
from appliance.engine.protocol import Role
from appliance.errors import LanguageUnsupported, NotAvailable


def resolve_model(services: Services, name: str | None) -> Model:
    """The installed recognition model of this name or alias; the default one for None.

    Raises `UnknownModel`, and `ModelNotInstalled` when the site's own choice is missing.
    """
    settings = services.settings
    return services.shelf.resolve(name or settings.default_model, settings.default_model, settings.model_aliases)


def check_capabilities(model: Model, options: TranscribeOptions) -> None:
    """Raises `LanguageUnsupported` or `NotAvailable` rather than let a model ignore what was asked of it."""
    for language in (*([options.language] if options.language else []), *options.allowed_languages):
        if language not in model.languages:
            raise LanguageUnsupported(language, model.id)
    if options.task == "translate" and not model.translation:
        raise NotAvailable("task", f"the model '{model.id}' cannot translate", "Use a multilingual model.")
    if options.word_timestamps and not model.word_timestamps:
        raise NotAvailable("word_timestamps", f"the model '{model.id}' gives no word times")


def check_diarization(services: Services, field: str, value: str) -> None:
    """Raises `NotAvailable` where the model is not installed that tells speakers apart, which this value of the field needs."""
    model_id = services.settings.diarization_model
    if services.shelf.state(model_id) is State.ABSENT:
        hint = f"An administrator should run 'appliance models fetch {model_id}'."
        raise NotAvailable(field, f"'{value}' needs the model '{model_id}', which is not installed", hint)


def is_loaded(services: Services, model_id: str) -> bool:
    folder = services.shelf.folder(model_id).name
    return any(PurePath(name).name == folder for worker in _recognizers(services) for name in worker.models)


def is_warm(services: Services, model_id: str) -> bool:
    """A worker that is ready has it in memory, or had: where another model made it give way, a job brings it back in seconds."""
    folder = services.shelf.folder(model_id)
    ready = [worker for worker in _recognizers(services) if worker.state is WorkerState.READY]
    return any(worker.warm == folder or folder.name in worker.models for worker in ready)


def _recognizers(services: Services) -> list[WorkerStatus]:
    return [worker for worker in services.pool.status() if worker.role is Role.RECOGNIZE]
