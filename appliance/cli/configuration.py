"""Reads the settings for a command; a wrong one is named in a sentence, not in a traceback."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from appliance.errors import StartRefused
from appliance.settings import Settings


def read_settings(**overrides: Any) -> Settings:  # noqa: ANN401
    """Environment and file, with the options of the command line (those that are not None) on top. Raises StartRefused."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise _refused(error) from error


def _refused(error: ValidationError) -> StartRefused:
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return StartRefused(f"There is no setting '{name}'.", "'appliance settings' lists them all.")
    return StartRefused(
        f"The setting '{name}' cannot be {first.get('input')!r}: {first['msg']}.",
        f"Correct APPLIANCE_{name.upper()}, its line in the settings file, or the option; 'appliance settings' explains it.",
    )
