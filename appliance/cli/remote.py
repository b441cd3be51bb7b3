"""A running appliance as the command line sees it: its native REST dialect, through httpx."""

from __future__ import annotations

import asyncio
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any

import httpx
import msgspec

from appliance.cli.wish import OnProgress, Wish, report
from appliance.domain import JobState, Progress, Stage, Value
from appliance.errors import ApplianceError, InvalidRequest
from appliance.settings import Settings

TRANSCRIPTS = "/api/v1/transcripts/"
TIMEOUT = httpx.Timeout(60.0, read=60.0, write=None)  # a heartbeat comes every 15 s
ATTEMPTS = 6  # of an upload that is refused for want of room
RECONNECTS = 20  # while the work goes on


class Refused(ApplianceError):
    """What the appliance answered, in its own words."""

    code = "refused"


class _Answer(Value, frozen=True):
    error: str = ""
    hint: str = ""


class _Accepted(Value, frozen=True):
    id: int
    slug: str


class _ProgressData(Value, frozen=True):
    stage: Stage | None = None
    fraction: float = 0.0
    queue_position: int | None = None


class _State(Value, frozen=True):
    status: JobState
    progress: _ProgressData = _ProgressData()


class ReportingFile(BufferedReader):
    """A file that tells how much of it has been read."""

    def __init__(self, path: Path, on_progress: OnProgress) -> None:
        super().__init__(FileIO(path))
        self._size = max(1, path.stat().st_size)
        self._on_progress = on_progress

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = super().read(size)
        self._on_progress("sending", self.tell() / self._size)
        return chunk


class RemoteTranscriber:
    """Recordings are sent to an appliance; the transcripts stay there, readable on its page, until somebody deletes them."""

    at_once = 2  # one is sent while another is worked on

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def transcribe(self, recording: Path, wish: Wish, on_progress: OnProgress) -> bytes:
        accepted = await self._send(recording, wish, on_progress)
        try:
            await self._until_done(accepted, on_progress)
            return (await self._ask("GET", f"{TRANSCRIPTS}{accepted.id}/export/{wish.format}/")).content
        except asyncio.CancelledError:
            await asyncio.shield(self._ask("DELETE", f"{TRANSCRIPTS}{accepted.id}/"))
            raise

    async def _send(self, recording: Path, wish: Wish, on_progress: OnProgress) -> _Accepted:
        key = secrets.token_hex(16)  # one for all attempts: a repeated upload becomes one transcript
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._attempt(recording, wish, key, on_progress)
            except Refused as error:
                if error.status != 503 or not error.retry_after_s or attempt == ATTEMPTS:
                    raise
                on_progress(f"no room yet, again in {error.retry_after_s} s", None)
                await asyncio.sleep(error.retry_after_s)
        raise AssertionError("unreachable")

    async def _attempt(self, recording: Path, wish: Wish, key: str, on_progress: OnProgress) -> _Accepted:
        try:
            file = ReportingFile(recording, on_progress)
        except OSError as error:
            raise InvalidRequest(
                f"'{recording}' cannot be read: {error.strerror}.", "Check its name and its permissions."
            ) from error
        with file:
            answer = await self._ask(
                "POST",
                TRANSCRIPTS,
                data=fields_for(wish),
                files={"file": (recording.name, file, "application/octet-stream")},
                headers={"Idempotency-Key": key},
            )
        return msgspec.json.decode(answer.content, type=_Accepted)

    async def _until_done(self, accepted: _Accepted, on_progress: OnProgress) -> None:
        """Follows the events; a broken connection is made again, for the work goes on without it."""
        for _ in range(RECONNECTS):
            try:
                if await self._follow(accepted, on_progress):
                    return
            except httpx.TransportError:
                on_progress("connection lost, trying again", None)
            await asyncio.sleep(1.0)
        raise Refused("The connection to the appliance broke again and again.", "The transcript may be finished: look at its page.")

    async def _follow(self, accepted: _Accepted, on_progress: OnProgress) -> bool:
        async with self._client.stream("GET", f"{TRANSCRIPTS}{accepted.id}/events") as response:
            if response.is_error:
                await response.aread()
                raise refusal(response)
            async for event, data in _events(response):
                if event == "state":
                    report(_progress(msgspec.json.decode(data, type=_State)), on_progress)
                elif event == "error":
                    answer = msgspec.json.decode(data, type=_Answer)
                    raise Refused(answer.error, answer.hint)
                elif event == "done":
                    return True
        return False

    async def _ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:  # noqa: ANN401
        try:
            response = await self._client.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise unreachable(str(self._client.base_url).rstrip("/"), error) from error
        if response.is_error:
            raise refusal(response)
        return response


@asynccontextmanager
async def remote_transcriber(url: str, key: str, authorities: Sequence[Path] = ()) -> AsyncIterator[RemoteTranscriber]:
    """`authorities`: PEM files trusted beside the system's own. Raises InvalidRequest when one of them is not usable.

    `trust_env=False`: a proxy setting of the shell must not carry a recording out of the building.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    trust = trusting(authorities)
    async with httpx.AsyncClient(
        base_url=url.rstrip("/"), headers=headers, timeout=TIMEOUT, trust_env=False, verify=trust
    ) as client:
        yield RemoteTranscriber(client)


def authorities(settings: Settings, named: Path | None) -> list[Path]:
    """The one that is named, and that of an appliance on this machine, where this user may read its data folder."""
    chosen, own = named or settings.ca_file, settings.own_authority_path
    return [*([chosen] if chosen else []), *([own] if os.access(own, os.R_OK) else [])]


def trusting(authorities: Sequence[Path]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for file in authorities:
        try:
            context.load_verify_locations(file)
        except (OSError, ssl.SSLError) as error:
            raise InvalidRequest(
                f"'{file}' cannot be read as certificates: {error.strerror or error}.", "Give a PEM file with --ca."
            ) from error
    return context


def unreachable(where: str, error: httpx.TransportError) -> Refused:
    """What keeps a client from an appliance, and what to do about it."""
    reason = _root_of(error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return _distrusted(where, reason)
    if isinstance(reason, ssl.SSLError) and "WRONG_VERSION_NUMBER" in str(reason):
        return Refused(f"What answers at {where} does not speak HTTPS.", f"If that is meant: {_with_scheme(where, 'http')}")
    if isinstance(error, httpx.UnsupportedProtocol):
        return Refused(f"'{where}' is not an address of an appliance.", "Write it with its beginning: https://box.example.org:8443")
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError) and where.startswith("http:"):
        return Refused(
            f"What answers at {where} does not speak plain HTTP.", f"An appliance speaks HTTPS: {_with_scheme(where, 'https')}"
        )
    return Refused(f"The appliance at {where} does not answer ({type(error).__name__}).", "Check --server, and that it is running.")


def _distrusted(where: str, reason: ssl.SSLCertVerificationError) -> Refused:
    match reason.verify_code:
        case 9 | 10:  # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED
            return Refused(
                f"The certificate of {where} has expired, or is not valid yet.",
                "Check the clocks of this computer and of the appliance.",
            )
        case 47 | 62 | 64:  # X509_V_ERR_PERMITTED_VIOLATION, _HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH
            return Refused(
                f"The certificate of {where} is made out for other names.",
                "Use one that 'appliance trust names' lists on the appliance, or add this one there with APPLIANCE_TLS_NAMES.",
            )
    return Refused(
        f"The certificate of {where} comes from an authority that this computer does not know ({reason.verify_message}).",
        f"{where}/trust hands it out, with a fingerprint to compare; then name the file with --ca or APPLIANCE_CA_FILE.",
    )


def _root_of(error: BaseException) -> BaseException:
    """httpx and httpcore wrap what happened twice."""
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    return error


def _with_scheme(where: str, scheme: str) -> str:
    return f"{scheme}://{where.partition('://')[2]}"


def fields_for(wish: Wish) -> dict[str, str]:
    fields = {
        "model": wish.model,
        "language": wish.language,
        "diarize": "true" if wish.diarize else "false",
        "speakers": str(wish.speakers) if wish.speakers else None,
        "hotwords": ",".join(wish.hotwords),
        "task": "translate" if wish.translate else None,
    }
    return {name: value for name, value in fields.items() if value}


def refusal(response: httpx.Response) -> Refused:
    try:
        answer = msgspec.json.decode(response.content, type=_Answer)
    except msgspec.DecodeError:
        answer = _Answer()
    error = Refused(answer.error or f"The server answered with status {response.status_code}.", answer.hint)
    error.status = response.status_code
    after = response.headers.get("Retry-After", "")
    hopeless = response.headers.get("x-should-retry") == "false"  # a model that is not there will not come by waiting
    error.retry_after_s = int(after) if after.isdigit() and not hopeless else None
    if response.status_code == 401:
        error.hint = "Give its key with --key, or in APPLIANCE_KEY; 'appliance keys create NAME' makes one."
    return error


def _progress(state: _State) -> Progress:
    return Progress(
        state=state.status,
        stage=state.progress.stage,
        fraction=state.progress.fraction,
        queue_position=state.progress.queue_position,
    )


async def _events(response: httpx.Response) -> AsyncIterator[tuple[str, str]]:
    event, data = "message", ""
    async for line in response.aiter_lines():
        if line.startswith("event:"):
            event = line[6:].strip()
        elif line.startswith("data:"):
            data += line[5:].strip()
        elif not line:
            if data:
                yield event, data
            event, data = "message", ""
