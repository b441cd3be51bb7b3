"""A stand-in for the appliance's API: the JSON and the events of the real one, told by the test what to say and when.

The pages are the subject here, so nothing is recognised; `tests/web/test_page_on_the_appliance.py` uses the real thing.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from litestar import Litestar, Request, Response, delete, get, patch, post
from litestar.response import Stream

from appliance.web import routes

KEY = "stt_standin"
Json = dict[str, Any]


class Standin:
    """Holds transcripts; every method may be called from the test's thread."""

    def __init__(self) -> None:
        self.transcripts: dict[str, Json] = {}
        self.uploads: list[dict[str, str]] = []  # the form fields and headers of each
        self.patches: list[Json] = []
        self.refusals: list[tuple[int, Json, dict[str, str]]] = []  # answers to the next uploads
        self.upload_gate = threading.Event()  # an upload is read to the half until this is set
        self.upload_gate.set()
        self.requests: list[str] = []
        self.key_in_use: Json = {"name": "make run", "owner": None}
        self.forbidden: set[str] = set()  # paths the key lacks the scope for
        self._events: dict[str, asyncio.Queue[tuple[str, Json] | None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server = uvicorn.Server(
            uvicorn.Config(self._app(), port=0, log_level="warning", timeout_graceful_shutdown=1, lifespan="off", ws="none")
        )
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._started = threading.Event()
        self._thread.start()
        assert self._started.wait(20), "the stand-in did not start"

    def stop(self) -> None:
        self._server.should_exit = True
        for slug in list(self._events):
            self.hang_up(slug)
        self._thread.join(20)
        assert not self._thread.is_alive()

    @property
    def url(self) -> str:
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/"

    def put(self, record: Json) -> None:
        self.transcripts[str(record["slug"])] = record

    def tell(self, slug: str, event: str, data: Json) -> None:
        """One server-sent event to whoever follows that transcript, or will."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._queue(slug).put_nowait, (event, data))

    def hang_up(self, slug: str) -> None:
        """The connection of the events breaks."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._queue(slug).put_nowait, None)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        serving = asyncio.create_task(self._server.serve())
        while not self._server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
            await asyncio.sleep(0.01)
        self._started.set()
        await serving

    def _queue(self, slug: str) -> asyncio.Queue[tuple[str, Json] | None]:
        return self._events.setdefault(slug, asyncio.Queue())

    def _app(self) -> Litestar:
        handlers = [*self._reading(), *self._writing(), *routes()]
        return Litestar(handlers, openapi_config=None, before_request=self._check, request_max_body_size=None)

    async def _check(self, request: Request[Any, Any, Any]) -> Response[Json] | None:
        self.requests.append(f"{request.method} {request.url.path}")
        public = request.url.path in ("/", "/api/v1/session", "/v1/licence") or request.url.path.startswith("/static/")
        if request.url.path in self.forbidden:
            return refuse(403, "forbidden", "This API key may not do that.")
        if public or request.headers.get("Authorization") == f"Bearer {KEY}":
            return None
        return refuse(401, "unauthorized", "This API key is not valid here, or no longer.")

    def _reading(self) -> list[Any]:
        @get("/v1/models")
        async def models() -> Json:
            names = {"whisper-large-v3-turbo": "Whisper large v3 turbo", "whisper-base": "Whisper base"}
            answers = [{"id": i, "name": n, "description": "", "default": i == "whisper-base"} for i, n in names.items()]
            return {"object": "list", "data": [], "models": answers}

        @get("/api/v1/session")
        async def session(request: Request[Any, Any, Any]) -> Json:
            key = self.key_in_use if request.headers.get("Authorization") == f"Bearer {KEY}" else None
            return {"signed_in": False, "setup_needed": False, "csrf_token": None, "person": None, "scopes": [], "key": key}

        @get("/v1/licence")
        async def licence() -> Json:
            return {"notices": []}

        @get("/v1/languages")
        async def languages() -> Json:
            known = {"en": "English", "de": "German", "tr": "Turkish", "fr": "French"}
            return {"languages": [{"code": code, "name": name} for code, name in known.items()]}

        @get("/api/v1/transcripts")
        async def transcripts(q: str = "", limit: int = 30, offset: int = 0) -> Json:
            found = [t for t in reversed(self.transcripts.values()) if q.lower() in json.dumps(t).lower()]
            return {"results": found[offset : offset + limit], "count": len(found), "next": None, "previous": None}

        @get("/api/v1/transcripts/{slug:str}")
        async def transcript(slug: str) -> Response[Json]:
            if slug not in self.transcripts:
                return refuse(404, "not_found", "There is no such transcript.")
            return Response(self.transcripts[slug])

        @get("/api/v1/transcripts/{slug:str}/events")
        async def events(slug: str) -> Stream:
            return Stream(self._stream(slug), media_type="text/event-stream")

        @get("/api/v1/transcripts/{slug:str}/export/{format:str}")
        async def export(slug: str, format: str) -> Response[bytes]:
            name = {"Content-Disposition": f'attachment; filename="{slug}.{format}"'}
            return Response(f"{slug} as {format}".encode(), media_type="application/octet-stream", headers=name)

        return [session, licence, models, languages, transcripts, transcript, events, export]

    def _writing(self) -> list[Any]:
        @post("/api/v1/transcripts", status_code=202)
        async def accept(request: Request[Any, Any, Any]) -> Response[Json]:
            return await self._accept(request)

        @patch("/api/v1/transcripts/{slug:str}")
        async def edit(slug: str, request: Request[Any, Any, Any]) -> Response[Json]:
            changes = await request.json()
            self.patches.append(changes)
            record = self.transcripts[slug]
            if changes["revision"] != record["revision"]:
                return refuse(409, "stale_revision", "The transcript has changed since.")
            record["title"] = changes.get("title", record["title"])
            names = changes.get("speakers", {})
            for speaker in record["speakers"]:
                speaker["name"] = names.get(speaker["label"], speaker["name"])
            record["revision"] += 1
            return Response(record)

        @delete("/api/v1/transcripts/{slug:str}")
        async def erase(slug: str) -> None:
            self.transcripts = {key: record for key, record in self.transcripts.items() if slug not in (key, str(record["id"]))}

        return [accept, edit, erase]

    async def _accept(self, request: Request[Any, Any, Any]) -> Response[Json]:
        total, seen, head = int(request.headers["Content-Length"]), 0, b""
        async for chunk in request.stream():
            head, seen = (head + chunk)[:4096], seen + len(chunk)
            if seen > total / 2:
                await asyncio.to_thread(self.upload_gate.wait)
        if self.refusals:
            status, body, headers = self.refusals.pop(0)
            return Response(body, status_code=status, headers=headers)
        self.uploads.append({"head": head.decode(errors="replace"), "key": request.headers["Idempotency-Key"]})
        slug = f"sent-{len(self.uploads)}"
        self.put({"id": len(self.uploads), "slug": slug, "title": slug, "status": "queued", "created_at": "2026-11-22T09:00:00Z"})
        return Response({"id": len(self.uploads), "slug": slug, "status": "queued", "events_url": ""}, status_code=202)

    async def _stream(self, slug: str) -> AsyncIterator[str]:
        queue = self._queue(slug)
        while (item := await queue.get()) is not None:
            event, data = item
            yield f"event: {event}\r\ndata: {json.dumps(data)}\r\n\r\n"
            if event in ("done", "error"):
                return


def refuse(status: int, code: str, sentence: str, hint: str = "Do something else.") -> Response[Json]:
    return Response({"error": sentence, "code": code, "hint": hint}, status_code=status)
