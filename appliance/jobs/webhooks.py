"""Tells other systems how a transcript ended, by Standard Webhooks 1.0 (standardwebhooks.com): ids and states, never text.

The queue is the store's, so a message survives a restart. Off unless the administrator lists targets; a redirect is a
failure, since it could lead anywhere. Proxies and credentials of the environment are not used.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import logging
import random
import ssl
from datetime import UTC, datetime, timedelta
from urllib.parse import SplitResult, unquote, urlsplit

import httpx
import msgspec

from appliance import __version__
from appliance.domain import JobState, Value
from appliance.errors import ApplianceError, InvalidField, NotAvailable, StartRefused
from appliance.settings import Settings
from appliance.store import Deliveries, Delivery

log = logging.getLogger(__name__)

GIVE_UP_AFTER = timedelta(hours=24)
# Before each further attempt, as the specification recommends; the last one repeats until the 24 hours are over.
PAUSES_S = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0)
TIMEOUT_S = 20.0
AT_ONCE = 8
_TROUBLE_S = 30.0  # before the queue is looked at again after an error of the store
_SECRET_BYTES = range(24, 65)  # by the specification
_PORTS = {"http": 80, "https": 443}


class EndedData(Value, frozen=True):
    id: int
    slug: str
    status: JobState


class Message(Value, frozen=True):
    type: str  # "transcript.completed"
    timestamp: str  # when it happened, ISO 8601
    data: EndedData


def check_target(url: str, allowed: tuple[str, ...]) -> None:
    """Raises `NotAvailable` when webhooks are off, `InvalidField` when the administrator has not allowed this address.

    An allowed prefix stands for its scheme, host and port, and for its path and what lies below it.
    """
    if not allowed:
        raise NotAvailable("callback_url", "webhooks are switched off", "An administrator allows targets with 'webhook_targets'.")
    try:
        target = _parse(url)
    except ValueError as error:
        raise InvalidField("callback_url", f"is not a usable address: {error}") from error
    if not any(_lies_below(target, _parse(prefix)) for prefix in allowed):
        raise InvalidField("callback_url", "points to a target that the administrator has not allowed")


def _check_allowed(prefixes: tuple[str, ...]) -> None:
    for prefix in prefixes:
        try:
            _parse(prefix)
        except ValueError as error:
            hint = "Write each of 'webhook_targets' like https://host/path."
            raise StartRefused(f"The webhook target '{prefix}' is not a usable address: {error}.", hint) from error


def _parse(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or parts.port == 0:  # a port beyond 65535 is a ValueError, too
        raise ValueError("it must begin with http:// or https:// and a host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ValueError("it must not carry a user name, a password or a fragment")
    if "\\" in url or any(step in (".", "..") for step in unquote(unquote(parts.path)).split("/")):
        raise ValueError("its path must be plain")
    return parts


def _lies_below(target: SplitResult, prefix: SplitResult) -> bool:
    same_host = (target.scheme, target.hostname, _port(target)) == (prefix.scheme, prefix.hostname, _port(prefix))
    folder = prefix.path.rstrip("/")
    return same_host and (target.path in (prefix.path, folder) or target.path.startswith(f"{folder}/"))


def _port(parts: SplitResult) -> int:
    return parts.port or _PORTS[parts.scheme]


def read_secret(text: str) -> bytes:
    """The key behind `whsec_…`. Raises `StartRefused`."""
    encoded = text.removeprefix("whsec_")
    with contextlib.suppress(binascii.Error, ValueError):
        key = base64.b64decode(encoded, validate=True)
        if text.startswith("whsec_") and len(key) in _SECRET_BYTES:
            return key
    raise StartRefused(
        "Webhooks are on, but 'webhook_secret' is not a signing secret.",
        "Make one with: python3 -c \"import base64, os; print('whsec_' + base64.b64encode(os.urandom(32)).decode())\"",
    )


def sign(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    """The `webhook-signature` header: HMAC-SHA256 over id, time and body, joined with full stops."""
    signed = b".".join((message_id.encode(), str(timestamp_s).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def pause_s(attempts: int, jitter: float) -> float:
    """Seconds before the next attempt, after so many; `jitter` in 0..1 spreads them by up to a fifth."""
    return PAUSES_S[min(attempts, len(PAUSES_S)) - 1] * (1 + 0.2 * jitter)


class Webhooks:
    """Sends what the store has queued, until stopped. Lives on one event loop."""

    def __init__(self, settings: Settings, deliveries: Deliveries) -> None:
        """Raises `StartRefused` when the signing secret is missing or unusable, or a target is no address."""
        _check_allowed(settings.webhook_targets)
        self._allowed = settings.webhook_targets
        self._key = read_secret(settings.webhook_secret)
        self._deliveries = deliveries
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False, verify=_trust(settings))
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="webhooks")

    async def stop(self) -> None:
        """What is not delivered stays queued for the next start."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._client.aclose()

    def notice(self) -> None:
        """Something may have been queued."""
        self._news.set()

    async def _run(self) -> None:
        while True:
            self._news.clear()
            try:
                await self._send_all_due()
                pause = await self._pause_s()
            except ApplianceError as error:  # the store is busy or full
                log.warning("webhooks wait: %s", error.message)
                pause = _TROUBLE_S
            except Exception:  # a request ends here: the trouble of one must not end the others for good
                log.exception("webhooks met an unexpected error and go on")
                pause = _TROUBLE_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()

    async def _pause_s(self) -> float | None:
        due_at = await self._deliveries.next_due_at()
        return None if due_at is None else max(0.5, (due_at - datetime.now(UTC)).total_seconds())

    async def _send_all_due(self) -> None:
        while due := await self._deliveries.due(datetime.now(UTC), AT_ONCE):
            await asyncio.gather(*(self._send(delivery) for delivery in due))

    async def _send(self, delivery: Delivery) -> None:
        """One attempt, and what follows from it."""
        status = await self._attempt(delivery)
        if status is not None and 200 <= status < 300:
            await self._deliveries.finish(delivery.id)
        elif status == httpx.codes.GONE:
            log.warning("a webhook target answered 410 and is switched off: %s", _where(delivery.url))
            await self._deliveries.switch_off(delivery.url)
        else:
            await self._put_off(delivery, status)

    async def _attempt(self, delivery: Delivery) -> int | None:
        """The status of the answer; None when there was none."""
        try:
            check_target(delivery.url, self._allowed)  # the list may have changed since it was queued
            answer = await self._client.post(delivery.url, content=(body := _body(delivery)), headers=self._headers(delivery, body))
        except (httpx.HTTPError, httpx.InvalidURL, ApplianceError) as error:
            log.info("webhook %s to %s failed: %s", delivery.id, _where(delivery.url), type(error).__name__)
            return None
        return answer.status_code

    def _headers(self, delivery: Delivery, body: bytes) -> dict[str, str]:
        now_s = int(datetime.now(UTC).timestamp())  # of this attempt: receivers refuse what is older than 300 s
        return {
            "content-type": "application/json",
            "user-agent": f"appliance/{__version__}",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(now_s),
            "webhook-signature": sign(self._key, delivery.id, now_s, body),
        }

    async def _put_off(self, delivery: Delivery, status: int | None) -> None:
        attempts = delivery.attempts + 1
        at = datetime.now(UTC) + timedelta(seconds=pause_s(attempts, random.random()))  # noqa: S311 -- no secret
        if at > delivery.created_at + GIVE_UP_AFTER:
            log.warning(
                "webhook %s to %s is given up after %d attempts, last answer: %s",
                delivery.id,
                _where(delivery.url),
                attempts,
                status,
            )
            await self._deliveries.finish(delivery.id)
        else:
            await self._deliveries.retry(delivery.id, at)


def _body(delivery: Delivery) -> bytes:
    data = EndedData(id=delivery.transcript_id, slug=delivery.slug, status=delivery.state)
    return msgspec.json.encode(Message(delivery.event, delivery.created_at.isoformat(), data))


def _where(url: str) -> str:
    """For the log: without path and query, which may hold a token."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}"


def _trust(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.ca_file:
        context.load_verify_locations(settings.ca_file)
    return context
