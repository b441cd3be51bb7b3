"""The served appliance from outside: what it speaks, whom it answers, and how its certificate changes under it."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from appliance.cli import slow_clients
from appliance.store.database import connect
from appliance.tls import built_in, door
from tests.served import free_port
from tests.tls.conftest import MakeSettings, settings_in
from tests.tls.live import Live, live, wait_until
from tests.tls.makers import DAY, customer_files, make


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("served")
    settings = settings_in(folder, http_port=free_port(), tls_names=["box.ward.example"])
    with live(settings) as running:
        yield running


@pytest.fixture
def _checked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "CHECK_EVERY_S", 0.05)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_client_that_trusts_the_authority_is_served(served: Live, host: str) -> None:
    with served.client(url=f"https://{host}:{served.port}") as client:
        answer = client.get("/healthz")
    assert answer.status_code == 200
    assert answer.headers["strict-transport-security"] == "max-age=300"


def test_a_client_that_does_not_is_warned(served: Live) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{served.url}/healthz", trust_env=False)


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1", "-tls1_2"])
def test_openssl_gets_no_older_version(served: Live, version: str) -> None:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{served.port}", version, "-cipher", "ALL:@SECLEVEL=0"]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=20)
    assert "Cipher is (NONE)" in done.stdout
    assert done.returncode != 0


def test_openssl_agrees_on_tls_1_3_and_http_1_1(served: Live) -> None:
    command = [
        "openssl",
        "s_client",
        "-connect",
        f"127.0.0.1:{served.port}",
        "-servername",
        "box.ward.example",
        "-alpn",
        "h2,http/1.1",
    ]
    trust = ["-CAfile", str(served.settings.own_authority_path), "-verify_return_error", "-verify_hostname", "box.ward.example"]
    done = subprocess.run([*command, *trust], input="", capture_output=True, text=True, check=True, timeout=20)
    assert "TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384" in done.stdout
    assert "ALPN protocol: http/1.1" in done.stdout
    assert "Verify return code: 0 (ok)" in done.stdout


def test_a_page_of_elsewhere_is_not_answered(served: Live) -> None:
    """DNS rebinding: the browser takes us for evil.example."""
    with served.client() as client:
        answer = client.get("/", headers={"Host": f"evil.example:{served.port}"})
    assert answer.status_code == 421
    assert answer.json()["code"] == "wrong_host"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "APPLIANCE_TLS_NAMES" in answer.json()["hint"]


@pytest.mark.parametrize("hosts", ["", "Host: localhost\r\nHost: evil.example\r\n"])
def test_none_or_two_host_headers_are_not_answered(served: Live, hosts: str) -> None:
    trust = ssl.create_default_context(cafile=served.settings.own_authority_path)
    plain = socket.create_connection(("127.0.0.1", served.port), timeout=10)
    with trust.wrap_socket(plain, server_hostname="localhost") as connection:
        connection.sendall(f"GET /healthz HTTP/1.0\r\n{hosts}\r\n".encode())
        first = connection.recv(100).split(b"\r\n")[0]
    assert first.split()[1] in (b"400", b"421")


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_client_that_does_not_say_what_it_wants_is_not_waited_for(
    served: Live, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_clients, "OWED_S", 0.2)
    trust = ssl.create_default_context(cafile=served.settings.own_authority_path)
    plain = socket.create_connection(("127.0.0.1", served.port), timeout=10)
    with trust.wrap_socket(plain, server_hostname="localhost") as connection:
        connection.sendall(begun)
        assert connection.recv(100) == b""


# --- plain HTTP ---


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [("/", "/"), ("/t/a%20b?x=1&y=2", "/t/a%20b?x=1&y=2"), ("//evil.example/x", "//evil.example/x"), ("/v1/tls", "/v1/tls")],
)
def test_plain_http_only_leads_to_https(served: Live, path: str, leads_to: str) -> None:
    for method in ("GET", "POST"):
        answer = httpx.request(method, f"http://localhost:{served.http_port}{path}", trust_env=False)
        assert (answer.status_code, answer.content) == (308, b"")
        assert answer.headers["location"] == f"https://localhost:{served.port}{leads_to}"
        assert "strict-transport-security" not in answer.headers


def test_plain_http_leads_nobody_elsewhere(served: Live) -> None:
    answer = httpx.get(f"http://127.0.0.1:{served.http_port}/", headers={"Host": "evil.example"}, trust_env=False)
    assert answer.status_code == 421
    assert "location" not in answer.headers


def test_plain_http_has_no_challenge_that_was_not_asked_for(served: Live) -> None:
    path = f"http://localhost:{served.http_port}/.well-known/acme-challenge/abc"
    assert httpx.get(path, trust_env=False).status_code == 308
    served.door.answers["abc"] = "abc.thumbprint"
    answer = httpx.get(path, headers={"Host": "not-yet-ours.example"}, trust_env=False)
    del served.door.answers["abc"]
    assert (answer.status_code, answer.text) == (200, "abc.thumbprint")


# --- trust ---


def test_the_authority_is_handed_out_with_its_fingerprint(served: Live, tmp_path: Path) -> None:
    authority = served.door.authority
    assert authority
    with served.client() as client:
        state = client.get("/v1/tls").json()
        pem, der = client.get("/trust/ca.pem"), client.get("/trust/ca.crt")
    assert state["mode"] == "builtin"
    assert state["authority"]["fingerprint_sha256"] == authority.fingerprint
    assert {"localhost", "box.ward.example", "127.0.0.1"} <= set(state["certificate"]["names"])
    assert pem.headers["content-type"] == "application/x-pem-file"
    assert der.headers["content-type"] == "application/x-x509-ca-cert"
    (tmp_path / "ca.crt").write_bytes(der.content)
    openssl = ["openssl", "x509", "-inform", "der", "-in", str(tmp_path / "ca.crt"), "-noout", "-fingerprint", "-sha256"]
    assert subprocess.run(openssl, capture_output=True, text=True, check=True).stdout.strip().endswith(authority.fingerprint)
    assert pem.content == authority.pem
    assert b"PRIVATE" not in pem.content + der.content


def test_only_an_administrator_confirms(served: Live) -> None:
    with served.client() as client:
        assert client.post("/v1/tls/confirm").status_code == 401
    assert not served.door.trust_confirmed


# --- changes under way ---


def recorded(running: Live) -> list[str]:
    """Of certificates, in the audit log of the appliance that runs."""
    with closing(connect(running.settings.database_path)) as db:
        found = db.query("SELECT event FROM audit WHERE event LIKE 'certificate.%' ORDER BY sequence")
        return [row["event"] for row in found]


@pytest.mark.slow
@pytest.mark.usefixtures("_checked_often")
def test_a_renewed_certificate_is_seen_by_new_connections_and_disturbs_no_old_one(settings: MakeSettings) -> None:
    with live(settings()) as running, running.client() as client:
        assert client.get("/healthz").status_code == 200
        before = running.shown_serial()
        built_in(running.settings).renew(datetime.now(UTC))  # as `appliance trust renew` does beside it
        wait_until(lambda: running.shown_serial() != before)
        assert client.get("/healthz").status_code == 200  # on the connection of before
        with running.client() as another:
            assert another.get("/healthz").status_code == 200
        wait_until(lambda: recorded(running) == ["certificate.issued", "certificate.renewed"])


@pytest.mark.slow
@pytest.mark.usefixtures("_checked_often")
def test_the_customer_s_files_are_exchanged_under_way(settings: MakeSettings, tmp_path: Path) -> None:
    files, now = customer_files(tmp_path), datetime.now(UTC)
    root = tmp_path / "root.pem"
    root.write_bytes(files.root.pem)
    changes = {"tls": "files", "tls_certificate_file": files.certificate, "tls_key_file": files.key}
    with live(settings(**changes)) as running:
        with running.client(root) as client:
            assert client.get("/healthz").status_code == 200
            assert client.get("/trust/ca.pem").status_code == 404
            assert client.get("/v1/tls").json()["authority"] is None
        fresh = make("box", files.root, hosts=["localhost"], begins=now - DAY, ends=now + timedelta(days=50))
        files.put(fresh)
        wait_until(lambda: running.shown_serial() == fresh.certificate.serial_number)
        files.key.write_bytes(b"broken")
        with running.client(root) as client:
            for _ in range(5):
                assert client.get("/healthz", headers={"Connection": "close"}).status_code == 200
