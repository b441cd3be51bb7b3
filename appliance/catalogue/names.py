"""Which model a name in a request means. Pure: nothing is read here.

A name that means nothing is refused, never replaced. Names of other vendors' models, which no appliance can have, stand
for the site's default; whoever resolves one must put the id of the model that really works into the result.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from appliance.catalogue.catalogue import Catalogue
from appliance.catalogue.model import Model
from appliance.errors import ModelNotInstalled, UnknownModel

# `large-v3-turbo` is a real model as well; it is here because STT.ai's client sends it when its user names none.
STAND_INS = (
    "whisper-1",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-transcribe-diarize",
    "gpt-transcribe",
    "large-v3-turbo",
)
_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")  # vendors name their snapshots so


def resolve_name(name: str, default: str, aliases: Mapping[str, str], catalogue: Catalogue, installed: Collection[str]) -> Model:
    """The installed recognition model that a name means.

    In this order: the site's own `aliases`, ids and short names of installed models, vendors' names for the `default`.
    Raises UnknownModel, which lists what would work, and ModelNotInstalled when the site's own choice is missing.
    """
    wanted = name.strip()
    model = _meaning(wanted, default, aliases, catalogue, installed)
    is_recognition = model is not None and model.kind == "recognition"
    if model and is_recognition and model.id in installed:
        return model
    if model and is_recognition and (wanted in aliases or _stands_for_default(wanted, default)):
        raise ModelNotInstalled(model.id)
    usable = usable_names(default, aliases, catalogue, installed)
    raise UnknownModel(aliases.get(wanted, name), usable, model.id if model and is_recognition else "")


def usable_names(default: str, aliases: Mapping[str, str], catalogue: Catalogue, installed: Collection[str]) -> tuple[str, ...]:
    """Every name that `resolve_name` accepts, ids of installed models first."""
    models = [m for m in catalogue.models.values() if m.id in installed and m.kind == "recognition"]
    candidates = (*(m.id for m in models), *aliases, *(alias for m in models for alias in m.aliases), *STAND_INS)
    return tuple(name for name in dict.fromkeys(candidates) if _meaning(name, default, aliases, catalogue, installed) in models)


def _meaning(name: str, default: str, aliases: Mapping[str, str], catalogue: Catalogue, installed: Collection[str]) -> Model | None:
    """The model of a name, installed or not; None when it has none."""
    if name in aliases:
        return catalogue.find(aliases[name])
    model = catalogue.find(name)
    if _stands_for_default(name, default) and (model is None or model.id not in installed):
        return catalogue.find(default)
    return model


def _stands_for_default(name: str, default: str) -> bool:
    return name == default or _DATE.sub("", name) in STAND_INS
