"""What the outside sees when something is full, damaged or slow, and that the service goes on."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from appliance.errors import DiskFull
from tests.api.conftest import Api, settings_for, start, until
from tests.api.standins import HOLD
from tests.api.test_transcripts import make, send


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An appliance with one place to work and one to wait, which shows its metrics to everybody."""
    settings = settings_for(tmp_path_factory.mktemp("small"), max_waiting_jobs=1, jobs_per_worker=1, metrics_public=True)
    server, api = start(settings, "whisper-base")
    yield api
    api.pool.release()
    server.stop()


def test_a_full_queue_is_503_in_every_dialect_with_a_time_to_come_back(small: Api, wav: bytes) -> None:
    with small.client() as client:
        running = send(client, wav, prompt=HOLD)
        assert small.pool.holding.acquire(timeout=10)
        waiting = send(client, wav)
        shown = client.get(waiting["url"]).json()
        assert shown["status"] == "queued"
        assert shown["progress"]["queue_position"] == 1
        for path in ("/v1/transcribe", "/api/v1/transcripts/", "/v1/audio/transcriptions"):
            answer = client.post(path, files={"file": ("a.wav", wav)})
            assert answer.status_code == 503
            assert answer.headers["Retry-After"].isdecimal()
            assert "queue_full" in answer.text
        small.pool.release()
        assert until(lambda: client.get(waiting["url"]).json()["status"] == "completed")
        assert client.get(running["url"]).json()["status"] == "completed"
    assert until(lambda: small.services.budget.used_bytes == 0)


def test_metrics_without_a_key_where_the_administrator_said_so(small: Api) -> None:
    assert "appliance_jobs_queued" in httpx.get(f"{small.url}/metrics").text


def test_a_damaged_model_is_named_and_refused(api: Api, client: httpx.Client, wav: bytes) -> None:
    file = api.services.settings.models_dir / "whisper-tiny.en" / "config.json"
    file.write_text("[]")
    try:
        answer = client.post("/v1/transcribe", data={"model": "whisper-tiny.en"}, files={"file": ("a.wav", wav)})
    finally:
        file.write_text("{}")
    assert answer.status_code == 503
    assert answer.json()["code"] == "model_damaged"
    assert "whisper-tiny.en" in answer.json()["error"]
    assert make(client, wav, model="whisper-tiny.en")["model"] == "whisper-tiny.en"


def test_a_full_disk_is_507_and_the_service_goes_on(
    api: Api, client: httpx.Client, wav: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise DiskFull

    with monkeypatch.context() as patch:
        patch.setattr(api.services.store.transcripts, "complete", full)
        answer = client.post("/v1/transcribe", files={"file": ("a.wav", wav)})
    assert answer.status_code == 507
    assert answer.json()["code"] == "disk_full"
    assert make(client, wav)["status"] == "completed"
