"""The address in links and announcements is one that a browser elsewhere can use."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from appliance.cli.configuration import page_address
from appliance.settings import Settings


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ({"host": "127.0.0.1", "port": 8443}, "https://127.0.0.1:8443"),
        ({"host": "0.0.0.0", "port": 8443}, f"https://{socket.gethostname()}:8443"),
        ({"host": "0.0.0.0", "public_port": 443, "tls_names": ("asr.example.org", "10.0.0.5")}, "https://asr.example.org:443"),
        ({"host": "::", "port": 8443, "tls_names": ("fd00::5",)}, "https://[fd00::5]:8443"),
        ({"host": "127.0.0.1", "port": 8080, "tls": "off"}, "http://127.0.0.1:8080"),
    ],
)
def test_a_configured_name_wins_over_that_of_a_container(values: dict[str, Any], address: str) -> None:
    assert page_address(Settings(**values)) == address
