"""Whether the appliance of this container answers: exit status 0 or 1, and a sentence. Standard library only, so it is quick.

It asks /healthz, not /readyz: a site without a model yet is healthy, and brings its models in through the running appliance.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys
import tomllib
from pathlib import Path

TIMEOUT_S = 8.0


def setting(name: str, default: str) -> str:
    """From the environment, else from the settings file, as the appliance itself reads it."""
    if (value := os.environ.get(f"APPLIANCE_{name.upper()}")) is not None:
        return value
    file = Path(os.environ.get("APPLIANCE_CONFIG", "/etc/appliance.toml"))
    return str(tomllib.loads(file.read_text()).get(name, default)) if file.is_file() else default


def connection() -> http.client.HTTPConnection:
    port = int(setting("port", "8443"))
    if setting("tls", "builtin") == "off":
        return http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    # Loopback inside the container, and nothing secret is sent: who answers is not in doubt, whether it answers is.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=context)


def main() -> int:
    try:
        asked = connection()
        asked.request("GET", "/healthz", headers={"Host": "localhost"})
        status = asked.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"The appliance does not answer: {error}.")
        return 1
    print(f"The appliance answers with status {status}.")
    return 0 if status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main())
