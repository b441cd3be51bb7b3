"""Where webhooks may point, and that signatures are plain."""

from __future__ import annotations

from pathlib import Path

import pytest

import appliance.api
from appliance.api.fields import Fields
from appliance.api.native_fields import KNOWN, read_callback_url
from appliance.errors import InvalidField, NotAvailable
from tests.api.conftest import settings_for

TARGETS = ("https://hooks.lan/appliance/", "http://10.0.0.5:9000")


def callback(url: str, tmp_path: Path, targets: tuple[str, ...] = TARGETS) -> str | None:
    return read_callback_url(Fields([("callback_url", url)], KNOWN), settings_for(tmp_path, webhook_targets=targets))


@pytest.mark.parametrize("url", ["https://hooks.lan/appliance/done", "https://hooks.lan/appliance", "http://10.0.0.5:9000/any?x=1"])
def test_targets_that_are_allowed(tmp_path: Path, url: str) -> None:
    assert callback(url, tmp_path) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.lan.evil.example/appliance/done",
        "https://hooks.lan/appliances",
        "https://hooks.lan/appliance/../admin",
        "https://hooks.lan/appliance/%2e%2e/admin",
        "https://hooks.lan@evil.example/appliance/",
        "https://user@hooks.lan/appliance/",
        "http://hooks.lan/appliance/",
        "http://10.0.0.5:9001/",
        "http://10.0.0.5:port/",
        "http://10.0.0.5:9000\\@evil.example/",
        "/appliance/",
        "javascript:alert(1)",
    ],
)
def test_targets_that_only_look_allowed(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidField):
        callback(url, tmp_path)


def test_without_targets_webhooks_are_off(tmp_path: Path) -> None:
    with pytest.raises(NotAvailable, match="switched off"):
        callback("https://hooks.lan/x", tmp_path, ())


def test_no_handler_type_hides_from_litestar() -> None:
    """TRAPS 28: types of signatures are imported normally, so that no registry of names is needed."""
    folder = Path(appliance.api.__file__).parent
    assert not [path.name for path in folder.glob("*.py") if "TYPE_CHECKING" in path.read_text()]
