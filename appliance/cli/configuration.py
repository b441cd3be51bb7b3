"""Reads the settings for a command; a wrong one is named in a sentence, not in a traceback."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from appliance.errors import StartRefused
from appliance.settings import Settings

LISTED = "'appliance settings' lists them all."
PREFIX = "APPLIANCE_"
CONFIG = "APPLIANCE_CONFIG"
# Not settings: where they are, and what commands and scripts read.
OTHER_NAMES = (CONFIG, "APPLIANCE_SERVER", "APPLIANCE_KEY", "APPLIANCE_SAMPLE", "APPLIANCE_SIGNING_PASSPHRASE")


def read_settings(**overrides: Any) -> Settings:  # noqa: ANN401
    """Environment and file, with the options of the command line (those that are not None) on top. Raises StartRefused."""
    _check_environment()
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise _refused(error) from error


def _check_environment() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}.union(OTHER_NAMES)
    for name in os.environ:
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            raise StartRefused(f"There is no setting '{name}'.", LISTED)
    file = os.environ.get(CONFIG)
    if file and not Path(file).is_file():
        raise StartRefused(f"There is no settings file '{file}'.", f"Correct {CONFIG}, or leave it out.")


def _refused(error: ValidationError) -> StartRefused:
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return StartRefused(f"There is no setting '{name}'.", LISTED)
    return StartRefused(
        f"The setting '{name}' cannot be {first.get('input')!r}: {first['msg']}.",
        f"Correct APPLIANCE_{name.upper()}, its line in the settings file, or the option; 'appliance settings' explains it.",
    )


def page_address(settings: Settings, port: int = 0) -> str:
    """Where a browser finds the appliance; `port` where it was not known before it listened."""
    scheme = "http" if settings.tls == "off" else "https"
    return f"{scheme}://{_shown_host(settings)}:{settings.public_port or port or settings.port}"


def _shown_host(settings: Settings) -> str:
    """Inside a container the host's own name means nothing to a browser; a configured one does."""
    host = settings.host
    if host in ("0.0.0.0", "::"):  # noqa: S104 (only shown)
        host = settings.tls_names[0] if settings.tls_names else socket.gethostname()
    return f"[{host}]" if ":" in host else host
