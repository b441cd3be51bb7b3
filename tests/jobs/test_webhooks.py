"""Webhooks against a real HTTP receiver on this machine."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from appliance.domain import JobState
from appliance.errors import InvalidField, NotAvailable, StartRefused
from appliance.jobs import webhooks
from appliance.jobs.webhooks import Webhooks, check_target, pause_s, read_secret, sign
from appliance.settings import Settings
from appliance.store import Deliveries, Delivery
from tests.jobs.bench import Bench, bench, run

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


class Receiver:
    """Answers with the statuses given, the last one again and again, and remembers what came."""

    def __init__(self, *statuses: int) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self._statuses = list(statuses)
        self.arrived = threading.Semaphore(0)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        self.requests.append((path, headers, body))
        self.arrived.release()
        return self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]

    async def wait(self, requests: int = 1) -> None:
        for _ in range(requests):
            assert await asyncio.to_thread(self.arrived.acquire, timeout=20)


@contextmanager
def receiving(*statuses: int) -> Iterator[tuple[Receiver, str]]:
    receiver = Receiver(*statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = receiver.take(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def verify(headers: dict[str, str], body: bytes) -> None:
    """As a receiver would, written from the specification and not from our code."""
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 300
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    version, _, signature = headers["webhook-signature"].partition(",")
    assert version == "v1"
    assert hmac.compare_digest(base64.b64decode(signature), hmac.new(KEY, signed, hashlib.sha256).digest())


async def ended_job(b: Bench, url: str) -> int:
    b.model(text="secret words")
    job = await b.submit(callback_url=url)
    await b.jobs.wait(job)
    return job.id


async def queue_empties(b: Bench) -> None:
    while await b.store.webhooks.next_due_at() is not None:  # noqa: ASYNC110 -- the database tells nobody
        await asyncio.sleep(0.02)


def hooked(tmp_path: Path, target: str) -> Any:
    return bench(tmp_path, webhook_targets=(target,), webhook_secret=SECRET)


@pytest.mark.slow
def test_the_end_of_a_job_is_told_signed_and_without_text(tmp_path: Path) -> None:
    async def test() -> None:
        with receiving(204) as (receiver, address):
            async with hooked(tmp_path, address) as b:
                job_id = await ended_job(b, f"{address}/hook?token=1")
                await receiver.wait()
                await queue_empties(b)
            ((path, headers, body),) = receiver.requests
            assert path == "/hook?token=1"
            verify(headers, body)
            message = json.loads(body)
            assert message["type"] == "transcript.completed"
            assert message["data"] == {"id": job_id, "slug": message["data"]["slug"], "status": "completed"}
            assert b"secret" not in body

    run(test())


@pytest.mark.slow
def test_a_failed_attempt_is_repeated_with_the_same_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "PAUSES_S", (0.05,))

    async def test() -> None:
        with receiving(500, 302, 200) as (receiver, address):
            async with hooked(tmp_path, address) as b:
                await ended_job(b, f"{address}/hook")
                await receiver.wait(3)
                await queue_empties(b)
            assert [path for path, _, _ in receiver.requests] == ["/hook"] * 3  # a redirect is not followed
            assert len({headers["webhook-id"] for _, headers, _ in receiver.requests}) == 1
            for _, headers, body in receiver.requests:
                verify(headers, body)

    run(test())


@pytest.mark.slow
def test_410_switches_the_target_off(tmp_path: Path) -> None:
    async def test() -> None:
        with receiving(410) as (receiver, address):
            async with hooked(tmp_path, address) as b:
                await ended_job(b, f"{address}/hook")
                await receiver.wait()
                await queue_empties(b)
                with pytest.raises(InvalidField, match=f"answered 410 on {datetime.now(UTC):%Y-%m-}") as refused:
                    await ended_job(b, f"{address}/hook")
                assert (refused.value.status, refused.value.param) == (422, "callback_url")
                assert "appliance webhooks allow" in refused.value.hint
                assert b.budget.used_bytes == 0
                assert len(receiver.requests) == 1
                await b.store.webhooks.allow(f"{address}/hook")
                await ended_job(b, f"{address}/hook")
                await receiver.wait()

    run(test())


@pytest.mark.slow
def test_a_repetition_is_answered_although_its_target_is_switched_off(tmp_path: Path) -> None:
    async def test() -> None:
        with receiving(410) as (receiver, address):
            async with hooked(tmp_path, address) as b:
                b.model()
                more = {"callback_url": f"{address}/hook", "idempotency_key": "k"}
                first = await b.submit(**more)
                await b.jobs.wait(first)
                await receiver.wait()
                await queue_empties(b)
                assert (await b.submit(**more)).id == first.id

    run(test())


@pytest.mark.slow
def test_an_undelivered_message_survives_a_restart(tmp_path: Path) -> None:
    async def test() -> None:
        with receiving(503) as (receiver, address):
            async with hooked(tmp_path, address) as b:
                await ended_job(b, f"{address}/hook")
                await receiver.wait()
                while (due := await b.store.webhooks.next_due_at()) is None or due < datetime.now(UTC):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            async with hooked(tmp_path, address) as b:
                (delivery,) = await b.store.webhooks.due(datetime.now(UTC) + timedelta(minutes=1))
                assert (delivery.attempts, delivery.state) == (1, JobState.COMPLETED)

    run(test())


@pytest.mark.slow
def test_a_target_that_does_not_answer_troubles_nobody(tmp_path: Path) -> None:
    async def test() -> None:
        async with hooked(tmp_path, "http://127.0.0.1:9") as b:
            await ended_job(b, "http://127.0.0.1:9/hook")
            while not (due := await b.store.webhooks.next_due_at()) or due < datetime.now(UTC):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    run(test())


def test_attempts_spread_over_a_day() -> None:
    pauses = [pause_s(n, 0.0) for n in range(1, 12)]
    assert pauses[:6] == list(webhooks.PAUSES_S)
    assert pauses == sorted(pauses)
    assert pause_s(1, 1.0) == pytest.approx(6.0)


def test_a_published_signature_is_ours() -> None:
    """The example of the specification's reference libraries."""
    key = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == expected


@pytest.mark.parametrize("secret", ["", "whsec_", "hush", "whsec_c2hvcnQ=", "whsec_!!!!", base64.b64encode(KEY).decode()])
def test_an_unusable_secret_refuses_to_start(secret: str) -> None:
    with pytest.raises(StartRefused) as refused:
        read_secret(secret)
    assert "whsec_" in refused.value.hint


@pytest.mark.parametrize("target", ["hooks.ward.example", "https://", "ftp://ward.example/", "http://10.0.0.5:80800/"])
def test_a_malformed_target_refuses_to_start(tmp_path: Path, target: str) -> None:
    settings: dict[str, Any] = {"data_dir": tmp_path, "webhook_targets": (target,), "webhook_secret": SECRET}
    with pytest.raises(StartRefused, match="webhook target"):
        Webhooks(Settings(**settings), Deliveries.__new__(Deliveries))


@pytest.mark.slow
def test_an_unexpected_error_does_not_end_all_deliveries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "_TROUBLE_S", 0.05)
    sends = [webhooks.Webhooks._send]

    async def fails_once(self: Webhooks, delivery: Delivery) -> None:
        if len(sends) == 1:
            sends.append(sends[0])
            raise KeyError("a bug")
        await sends[0](self, delivery)

    async def test() -> None:
        with receiving(204) as (receiver, address):
            async with hooked(tmp_path, address) as b:
                await ended_job(b, f"{address}/hook")
                await receiver.wait()
                await queue_empties(b)

    monkeypatch.setattr(webhooks.Webhooks, "_send", fails_once)
    run(test())


ALLOWED = ("https://hooks.ward.example/in/", "http://10.0.0.5:8080")


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.ward.example/in/",
        "https://hooks.ward.example/in/a?b=c",
        "https://hooks.ward.example:443/in",
        "http://10.0.0.5:8080/x",
    ],
)
def test_allowed_targets(url: str) -> None:
    check_target(url, ALLOWED)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.ward.example/inside",
        "https://hooks.ward.example/in/../admin",
        "https://hooks.ward.example/in/%2e%2e/admin",
        "https://hooks.ward.example/in/%252e%252e/admin",
        "https://hooks.ward.example/in\\..\\admin",
        "http://hooks.ward.example/in/",
        "https://hooks.ward.example:8443/in/",
        "https://hooks.ward.example.evil.example/in/",
        "https://hooks.ward.example@evil.example/in/",
        "http://10.0.0.5:80800/",
        "http://10.0.0.5/x",
        "file:///etc/passwd",
        "https://",
        "nonsense",
    ],
)
def test_everything_else_is_refused(url: str) -> None:
    with pytest.raises(InvalidField):
        check_target(url, ALLOWED)


def test_off_by_default(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model()
            with pytest.raises(NotAvailable, match="switched off"):
                await b.submit(callback_url="http://127.0.0.1/x")

    run(test())
