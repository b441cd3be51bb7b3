"""The plain HTTP port: sends everybody on to HTTPS, answers ACME servers, and does nothing else. Plain ASGI."""

from __future__ import annotations

from urllib.parse import quote

from appliance.tls.door import Door, host_name
from appliance.tls.front import Receive, Scope, Send, answer, refuse_host

CHALLENGES = "/.well-known/acme-challenge/"


class Redirect:
    """`public_port`: where the HTTPS of the appliance is to be found."""

    def __init__(self, door: Door, public_port: int) -> None:
        self._door = door
        self._port = "" if public_port == 443 else f":{public_port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        proof = self._door.answers.get(scope["path"].removeprefix(CHALLENGES)) if scope["path"].startswith(CHALLENGES) else None
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        if proof is not None:
            await answer(send, 200, {b"content-type": b"text/plain"}, proof.encode())
        elif self._door.admits(host):  # else it would send people wherever a link says
            await answer(send, 308, {b"location": self._target(host, scope)})
        else:
            await refuse_host(send)

    def _target(self, host: str, scope: Scope) -> bytes:
        name = host_name(host)
        shown = f"[{name}]" if ":" in name else name
        query = scope.get("query_string", b"")
        return f"https://{shown}{self._port}{quote(scope['path'])}".encode() + (b"?" + query if query else b"")
