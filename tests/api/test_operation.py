"""Health, readiness, metrics, the interface's own description, the access log, headers and errors."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import socket
from collections.abc import Iterator
from html.parser import HTMLParser

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sttai import STTClient

from appliance import __version__
from appliance.api.openapi import PAGE_POLICY
from appliance.store import Scope
from tests.api.conftest import Api, until
from tests.api.test_transcripts import make


@pytest.fixture
def admin(api: Api) -> Iterator[httpx.Client]:
    _, secret = api.new_key(Scope.ADMIN)
    with api.client(secret) as client:
        yield client


# --- health -----------------------------------------------------------------------------------------------------------


def test_health_for_people_s_clients(api: Api) -> None:
    health = STTClient(api.secret, base_url=api.url).health()
    assert health["status"] == "ok"
    assert health["version"] == __version__


def test_alive(api: Api) -> None:
    assert httpx.get(f"{api.url}/healthz").status_code == 200


def test_ready_only_when_the_default_model_is_warm_and_nothing_is_shutting_down(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.pool, "models", ())
    cold = httpx.get(f"{api.url}/readyz")
    assert cold.status_code == 503
    assert "loaded" in cold.json()["reason"]
    monkeypatch.setattr(api.pool, "models", ("whisper-base",))
    assert httpx.get(f"{api.url}/readyz").status_code == 200
    monkeypatch.setattr(api.services.jobs, "draining", True)
    assert httpx.get(f"{api.url}/readyz").json()["reason"] == "shutting down"


def test_still_ready_where_other_models_made_the_default_one_give_way(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.pool, "models", ("whisper-small", "whisper-medium"))
    assert httpx.get(f"{api.url}/readyz").status_code == 503
    monkeypatch.setattr(api.pool, "warm_model", api.services.shelf.folder("whisper-base"))
    assert httpx.get(f"{api.url}/readyz").status_code == 200


def test_while_draining_uploads_are_refused_before_they_are_read(
    api: Api, client: httpx.Client, wav: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.services.jobs, "draining", True)
    answer = client.post("/v1/transcribe", files={"file": ("a.wav", wav)})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "60"


# --- models and languages ---------------------------------------------------------------------------------------------


def test_models_and_languages_for_the_native_client(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.pool, "models", ("whisper-base",))
    stt = STTClient(api.secret, base_url=api.url)
    models = {model["id"]: model for model in stt.models()["models"]}
    assert set(models) == {"whisper-base", "whisper-tiny.en"}
    assert models["whisper-base"]["loaded"]
    assert models["whisper-base"]["default"]
    assert {"base", "whisper-1", "large-v3-turbo"} <= set(models["whisper-base"]["aliases"])
    assert not models["whisper-tiny.en"]["loaded"]
    assert {"code": "en", "name": "English"} in stt.languages()["languages"]
    stt._session.close()


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_metrics_can_be_read_and_name_nobody(api: Api, client: httpx.Client, admin: httpx.Client, wav: bytes) -> None:
    made = make(client, wav)
    client.get(f"/api/v1/transcripts/{made['id']}/")
    client.get("/a/path/that/somebody/invented")
    text = admin.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name in (
        "appliance_http_requests",
        "appliance_http_request_seconds",
        "appliance_jobs_queued",
        "appliance_jobs_running",
        "appliance_oldest_queued_job_seconds",
        "appliance_jobs_ended",
        "appliance_audio_received_seconds",
        "appliance_audio_seconds",
        "appliance_work_seconds",
        "appliance_real_time_factor_ratio",
        "appliance_stage_seconds",
        "appliance_batches",
        "appliance_batch_windows",
        "appliance_batch_size",
        "appliance_worker_restarts",
        "appliance_worker_out_of_memory",
        "appliance_audio_memory_used_bytes",
        "appliance_gpu_utilisation_ratio",
    ):
        assert name in families, name
    sizes = {sample.labels.get("le", sample.name): sample.value for sample in families["appliance_batch_size"].samples}
    assert [sizes[bound] for bound in ("1", "2", "4", "+Inf")] == [1, 1, 3, 3]
    assert sizes["appliance_batch_size_sum"] == 7
    labels = {name for family in families.values() for sample in family.samples for name in sample.labels}
    assert labels <= {"method", "route", "status", "le", "state", "stage", "role", "device", "gpu"}
    assert made["slug"] not in text
    assert str(api.key.id) not in text
    assert "invented" not in text
    assert 'route="/api/v1/transcripts/{key}"' in text


# --- the description --------------------------------------------------------------------------------------------------


class Links(HTMLParser):
    """Collects every address a page would load or lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]


def test_the_description_s_page_loads_nothing_from_anywhere(api: Api) -> None:
    """TRAPS 11."""
    page = httpx.get(f"{api.url}/openapi")
    links = Links()
    links.feed(page.text)
    assert page.status_code == 200
    assert links.addresses == ["/openapi/openapi.json"]
    assert not links.tags & {"script", "link", "img", "iframe"}
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "/v1/audio/transcriptions" in page.text


def test_the_document_describes_every_route_and_every_field(api: Api) -> None:
    document = httpx.get(f"{api.url}/openapi/openapi.json").json()
    described = {(method, path) for path, item in document["paths"].items() for method in item}
    served = {
        (method.lower(), re.sub(r":\w+}", "}", route.path))
        for route in api.app.routes
        for handler in getattr(route, "route_handlers", [])
        if handler.resolve_include_in_schema() and handler.http_methods != {"OPTIONS"}
        for method in handler.http_methods
    }
    assert {(m, p) for m, p in described if m in ("get", "post", "put", "patch", "delete")} == served
    form = document["paths"]["/v1/transcribe"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"file", "model", "diarize", "hotwords"} <= set(form["properties"])


def test_the_page_of_the_interface_may_use_its_own_style(api: Api) -> None:
    """A browser obeys the header and the page's own policy, both."""
    page = httpx.get(f"{api.url}/openapi")
    style = page.text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert page.headers.get_list("content-security-policy") == [PAGE_POLICY]
    assert f"style-src 'sha256-{digest}'" in PAGE_POLICY


@pytest.mark.parametrize("path", ["/openapi/redoc", "/openapi/swagger", "/schema", "/schema/openapi.json"])
def test_litestar_s_own_pages_are_not_there(api: Api, path: str) -> None:
    answer = httpx.get(api.url + path)
    assert answer.status_code == 404
    assert "cdn" not in answer.text.lower()


# --- the access log ---------------------------------------------------------------------------------------------------


def test_the_access_log_holds_no_secret_no_body_and_no_query(
    api: Api, client: httpx.Client, wav: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """TRAPS 3."""
    caplog.set_level(logging.DEBUG)
    made = make(client, wav, title="a very private visit")
    client.get(f"/api/v1/transcripts/{made['slug']}/", headers={"Cookie": "session=biscuit"})
    client.get("/api/v1/transcripts/", params={"q": "diagnosis"})
    client.get("/nobody/knows/this/path?token=hush")
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("appliance")]
    text = "\n".join(lines)
    for secret in (
        api.secret,
        "a very private visit",
        made["slug"],
        "biscuit",
        "diagnosis",
        "hush",
        "nobody/knows",
        "Good morning",
    ):
        assert secret not in text
    access = [line for line in lines if line.startswith(("GET", "POST"))]
    assert re.match(r"POST /v1/transcribe 200 in=\d+ out=\d+ \d+ ms", access[0])
    assert "GET /api/v1/transcripts/{key} 200" in access[1]
    assert "GET (no such address) 404" in access[3]


# --- headers and errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/no/such/path", "/openapi"])
def test_every_answer_is_careful_with_browsers(api: Api, path: str) -> None:
    headers = httpx.get(api.url + path, headers={"Origin": "https://elsewhere.example"}).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers


def test_no_page_of_another_origin_gets_a_preflight_answered(api: Api) -> None:
    answer = httpx.options(f"{api.url}/v1/transcribe", headers={"Origin": "https://elsewhere.example"})
    assert answer.status_code in (401, 403)
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_an_unexpected_error_tells_a_reference_and_nothing_else(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    answer = httpx.get(f"{api.url}/broken")
    assert answer.status_code == 500
    assert "blue" not in answer.text
    assert "ZeroDivision" not in answer.text
    reference = re.search(r"reference (\w+)", answer.json()["error"])
    assert reference
    assert any(reference[1] in record.getMessage() for record in caplog.records)


def test_a_client_that_leaves_within_a_body_is_no_error_of_ours(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Else anybody could fill the log, without an account."""
    with caplog.at_level(logging.INFO), socket.create_connection(("127.0.0.1", httpx.URL(api.url).port or 0)) as connection:
        head = "POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        connection.sendall(head.encode())
        connection.shutdown(socket.SHUT_RDWR)
        assert until(lambda: "POST /api/v1/session" in caplog.text)
    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_wrong_method_says_which_work(client: httpx.Client) -> None:
    answer = client.get("/v1/transcribe")
    assert answer.status_code == 405
    assert answer.json()["code"] == "method_not_allowed"
    assert "POST" in answer.headers["Allow"]


def test_an_unknown_address(client: httpx.Client) -> None:
    answer = client.get("/no/such/path")
    assert answer.status_code == 404
    assert set(answer.json()) == {"error", "code", "hint"}


def test_a_segment_that_is_no_number(client: httpx.Client) -> None:
    assert client.patch("/api/v1/transcripts/1/segments/first/", json={}).status_code == 404
