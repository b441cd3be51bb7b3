"""Whether what answers on a port is an appliance."""

from __future__ import annotations

import httpx

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (asked, not bound)


def is_appliance(host: str, port: int) -> bool:
    reachable = WILDCARDS.get(host, host)
    address = f"[{reachable}]" if ":" in reachable else reachable
    try:
        answer = httpx.get(f"http://{address}:{port}/health", timeout=2.0, trust_env=False)
        return answer.is_success and {"status", "version"} <= set(answer.json())
    except (httpx.HTTPError, ValueError):
        return False
