"""What goes to support: enough to help, and no word of what people said or who they are."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from appliance.cli.support_bundle import app, shown
from appliance.settings import Settings
from appliance.store import Scope, Store
from tests.store.samples import new_transcript, save

CANARY = "zebrafinch"


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database with the canary in every place where people leave words, and settings that hold it as well."""
    monkeypatch.setenv("APPLIANCE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("APPLIANCE_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("APPLIANCE_DEVICE", "cpu")
    monkeypatch.setenv("APPLIANCE_WEBHOOK_SECRET", f"whsec_{CANARY}")
    monkeypatch.setenv("APPLIANCE_WEBHOOK_TARGETS", f'["https://{CANARY}.example.org/"]')
    monkeypatch.setenv("APPLIANCE_LDAP_BIND_PASSWORD", CANARY)
    monkeypatch.setenv("APPLIANCE_LDAP_URL", f"ldaps://{CANARY}.invalid")
    monkeypatch.setenv("APPLIANCE_LDAP_BASE_DN", f"dc={CANARY}")
    monkeypatch.setenv("APPLIANCE_ACME_CONTACT", f"{CANARY}@example.org")
    asyncio.run(leave_words(tmp_path / "data" / "appliance.db"))
    return tmp_path / "data"


async def leave_words(path: Path) -> None:
    store = await Store.open(path)
    try:
        await store.keys.create(CANARY, [Scope.READ])
        await save(store, [f"My {CANARY} is ill."], new_transcript(title=f"{CANARY}.mp3"))
    finally:
        await store.close()


def test_no_word_that_was_said_and_no_name_is_in_it(data_dir: Path, tmp_path: Path) -> None:
    assert CANARY.encode() in b"".join(file.read_bytes() for file in data_dir.glob("appliance.db*"))
    output = tmp_path / "support.json"
    assert CliRunner().invoke(app, ["--output", str(output)]).exit_code == 0
    content = output.read_bytes()
    assert CANARY.encode() not in content.lower()
    bundle = msgspec.json.decode(content)
    assert bundle["database"]["rows"]["transcripts"] == 1
    assert bundle["database"]["sound"]
    assert bundle["settings"]["webhook_secret"] == "set, not shown"
    assert {"device", "swap", "sandbox", "model"} <= {finding["point"] for finding in bundle["findings"]}


def test_a_text_setting_is_hidden_until_it_is_known_to_be_harmless() -> None:
    hidden = [name for name in Settings.model_fields if shown(name, "x") == "set, not shown"]
    assert {"webhook_secret", "oidc_client_secret", "ldap_bind_password", "host", "ca_file", "tls_names"} <= set(hidden)
    assert shown("port", 8443) == "8443"
    assert shown("ldap_url", "") == "not set"
