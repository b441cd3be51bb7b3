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
    if wanted in aliases:
        return _site_choice(aliases[wanted], catalogue, installed)
    model = catalogue.find(wanted)
    if model and model.id in installed and model.kind == "recognition":
        return model
    if wanted == default or _DATE.sub("", wanted) in STAND_INS:
        return _site_choice(default, catalogue, installed)
    fetchable = model.id if model and model.kind == "recognition" else ""
    raise UnknownModel(name, usable_names(default, aliases, catalogue, installed), fetchable)


def usable_names(default: str, aliases: Mapping[str, str], catalogue: Catalogue, installed: Collection[str]) -> tuple[str, ...]:
    """Every name that `resolve_name` accepts, ids of installed models first."""
    models = [m for m in catalogue.models.values() if m.id in installed and m.kind == "recognition"]
    chosen = catalogue.find(default)
    stand_ins = STAND_INS if chosen in models else ()
    return tuple(dict.fromkeys((*(m.id for m in models), *aliases, *(a for m in models for a in m.aliases), *stand_ins)))


def _site_choice(name: str, catalogue: Catalogue, installed: Collection[str]) -> Model:
    """What an administrator chose; there is no second guess when it is missing."""
    model = catalogue.find(name)
    if model is None or model.kind != "recognition":
        raise UnknownModel(name, [m.id for m in catalogue.models.values() if m.id in installed and m.kind == "recognition"])
    if model.id not in installed:
        raise ModelNotInstalled(model.id)
    return model
