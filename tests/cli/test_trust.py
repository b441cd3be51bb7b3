"""`appliance trust`, and the command line as a client of an appliance that speaks TLS."""

from __future__ import annotations

import asyncio
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from typer.testing import CliRunner, Result

from appliance.cli import trust
from appliance.cli.configuration import read_settings
from appliance.cli.remote import Refused, authorities, remote_transcriber
from appliance.cli.wish import Wish
from appliance.errors import ApplianceError, InvalidRequest, NoAuthority, TlsIsOff
from appliance.tls import open_door
from tests.tls.live import live
from tests.tls.makers import make


@pytest.fixture(autouse=True)
def _data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPLIANCE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("APPLIANCE_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("APPLIANCE_DEVICE", "cpu")


def run(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(trust.app, list(arguments), input=answer)


def test_show_prints_the_fingerprint_to_compare() -> None:
    said = run("show")
    authority = open_door(read_settings()).authority
    assert authority
    assert f"SHA-256:      {authority.fingerprint}" in said.output
    assert "localhost" in said.output
    assert "appliance trust confirm" in said.output


def test_export_writes_the_authority_without_its_key(tmp_path: Path) -> None:
    assert run("export", "--out", str(tmp_path / "ca.pem")).exit_code == 0
    assert run("export", "--der", "--out", str(tmp_path / "ca.crt")).exit_code == 0
    from_pem = x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes())
    assert from_pem == x509.load_der_x509_certificate((tmp_path / "ca.crt").read_bytes())
    assert b"PRIVATE" not in (tmp_path / "ca.pem").read_bytes()
    assert b"BEGIN CERTIFICATE" in run("export").stdout_bytes


def test_export_to_a_place_that_is_not_there() -> None:
    assert isinstance(run("export", "--out", "/nowhere/ca.pem").exception, InvalidRequest)


def test_confirm_lengthens_hsts() -> None:
    assert run("confirm").exit_code == 0
    assert open_door(read_settings()).strict_transport_s == 365 * 86400
    assert "for a year" in run("show").output


def test_renew_keeps_the_authority() -> None:
    before = open_door(read_settings())
    assert run("renew").exit_code == 0
    after = open_door(read_settings())
    assert before.shown != after.shown
    assert before.authority
    assert after.authority
    assert before.authority.fingerprint == after.authority.fingerprint


def test_a_new_authority_is_made_after_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_door(read_settings()).authority
    assert before
    monkeypatch.setenv("APPLIANCE_TLS_NAMES", '["box.ward.example"]')
    assert "box.ward.example  (beyond the authority)" in run("names").output
    assert run("renew", "--authority", answer="n\n").exit_code == 1
    unchanged = open_door(read_settings()).authority
    assert unchanged
    assert unchanged.fingerprint == before.fingerprint
    said = run("renew", "--authority", "--yes")
    now = open_door(read_settings()).authority
    assert now
    assert now.fingerprint != before.fingerprint
    assert now.fingerprint in said.output
    assert "beyond" not in run("names").output


@pytest.mark.parametrize(
    ("mode", "refusal"), [({"APPLIANCE_TLS": "off"}, TlsIsOff), ({"APPLIANCE_TLS": "acme"}, NoAuthority)], ids=["off", "acme"]
)
def test_without_an_authority_of_its_own_there_is_nothing_to_renew(
    mode: dict[str, str], refusal: type[ApplianceError], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in mode.items():
        monkeypatch.setenv(name, value)
    assert isinstance(run("renew").exception, refusal)
    assert isinstance(run("names").exception, refusal)


def test_files_keep_their_modes() -> None:
    run("renew", "--authority", "--yes")
    folder = read_settings().tls_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


# --- as a client ---


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "talk.mp3"
    path.write_bytes(b"x")
    return path


async def sent(url: str, recording: Path, trusted: list[Path]) -> ApplianceError:
    async with remote_transcriber(url, "stt_wrong", trusted) as transcriber:
        with pytest.raises(Refused) as caught:
            await transcriber.transcribe(recording, Wish(format="txt"), lambda *_: None)
    return caught.value


def refusal(url: str, recording: Path, *trusted: Path) -> ApplianceError:
    return asyncio.run(sent(url, recording, list(trusted)))


@pytest.mark.slow
def test_an_appliance_on_this_machine_is_trusted_without_a_word(recording: Path) -> None:
    with live(read_settings()) as running:
        error = refusal(running.url, recording, *authorities(read_settings(), None))
    assert error.status == 401  # the way is open, the key is not


def test_what_stands_in_the_way_is_a_sentence(recording: Path, tmp_path: Path) -> None:
    with live(read_settings()) as running:
        unknown = refusal(running.url, recording)
        plain = refusal(f"http://127.0.0.1:{running.port}", recording)
    assert "an authority that this computer does not know" in unknown.message
    assert f"{running.url}/trust" in unknown.hint
    assert "--ca" in unknown.hint
    assert f"https://127.0.0.1:{running.port}" in plain.hint
    assert "not an address" in refusal("box.ward.example", recording).message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "year", "what", "remedy"),
    [("localhost", 2021, "has expired", "clocks"), ("other.example", 2099, "made out for other names", "APPLIANCE_TLS_NAMES")],
)
def test_a_certificate_that_does_not_fit_is_a_sentence(
    recording: Path, *, tmp_path: Path, host: str, year: int, what: str, remedy: str
) -> None:
    with live(read_settings()) as running:
        wrong = make("box", hosts=[host], begins=datetime(2020, 1, 1, tzinfo=UTC), ends=datetime(year, 1, 1, tzinfo=UTC))
        file = tmp_path / "wrong.pem"
        file.write_bytes(wrong.key_pem + wrong.pem)
        assert running.door.context
        running.door.context.load_cert_chain(file)
        error = refusal(running.url, recording, file)
    assert what in error.message
    assert remedy in error.hint


@pytest.mark.slow
def test_http_where_https_is_not_spoken(recording: Path) -> None:
    with live(read_settings(tls="off")) as running:
        error = refusal(running.url, recording)
    assert "does not speak HTTPS" in error.message
    assert f"http://localhost:{running.port}" in error.hint


def test_a_file_that_holds_no_authority(recording: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read as certificates"):
        refusal("https://localhost:1", recording, recording)


def test_a_named_authority_stands_beside_the_machine_s_own(tmp_path: Path) -> None:
    assert authorities(read_settings(), None) == []
    assert authorities(read_settings(ca_file=tmp_path / "a.pem"), None) == [tmp_path / "a.pem"]
    open_door(read_settings())
    assert authorities(read_settings(), tmp_path / "b.pem") == [tmp_path / "b.pem", read_settings().own_authority_path]


def test_the_shown_fingerprint_is_sha_256(tmp_path: Path) -> None:
    run("export", "--out", str(tmp_path / "ca.pem"))
    certificate = x509.load_pem_x509_certificate((tmp_path / "ca.pem").read_bytes())
    assert certificate.fingerprint(hashes.SHA256()).hex(":").upper() in run("show").output
