"""`appliance settings`: every setting with its meaning; `--markdown` writes docs/settings.md."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from appliance.cli.configuration import read_settings
from appliance.settings import Settings

HEAD = """\
# Settings

Each is an environment variable, or a line of the TOML file that `APPLIANCE_CONFIG` names (`/etc/appliance.toml` unless set):
`APPLIANCE_PORT=9000` and `port = 9000` say the same, and the environment wins. Lists and tables are written as JSON in the
environment: `APPLIANCE_MODEL_ALIASES='{"whisper-1": "whisper-large-v3"}'`. What is not listed here is refused.

This page is made by `appliance settings --markdown`.

| setting | default | meaning |
|---|---|---|
"""
# Defaults that depend on the machine or the user, in words.
DEPENDS = {
    "data_dir": "`~/.local/share/appliance`",
    "models_dir": "`~/.cache/appliance/models`",
    "catalogue_dir": "`models/` of this project",
    "memory_budget_bytes": "half of the memory",
}
SECRET = ("webhook_secret", "oidc_client_secret", "ldap_bind_password")

app = typer.Typer()


@app.command(help="Show every setting, its value here and what it means.")
def settings(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/settings.md instead.")] = False,
) -> None:
    print(markdown_reference() if markdown else present_values(), end="")


def markdown_reference() -> str:
    rows = (
        f"| `APPLIANCE_{name.upper()}` | {_default(name, field)} | {_meaning(field)} |\n"
        for name, field in Settings.model_fields.items()
    )
    return HEAD + "".join(rows)


def present_values() -> str:
    """Three lines a setting; what differs from the default is marked."""
    present = read_settings()
    lines = []
    for name, field in Settings.model_fields.items():
        value = getattr(present, name)
        shown = "(set, not shown)" if name in SECRET and value else _plain(value)
        changed = "  (set)" if name in present.model_fields_set else ""
        lines.append(f"{name} = {shown}{changed}\n    {field.description}\n")
    return "\n".join(lines)


def _meaning(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|").replace("\n", " ")


def _default(name: str, field: FieldInfo) -> str:
    if name in DEPENDS:
        return DEPENDS[name]
    value = field.get_default(call_default_factory=True, validated_data={})
    return "required" if value is PydanticUndefined else f"`{_plain(value)}`" if value not in ("", (), {}, None) else "none"


def _plain(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case Path():
            return str(value)
        case dict() | tuple():
            return ", ".join(f"{key}: {value[key]}" for key in value) if isinstance(value, dict) else ", ".join(map(str, value))
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)
