"""The gate between the LAN and the appliance: passes TCP connections on, encrypted as they are, and opens none by itself.

The appliance stands in a network without a way out; this process stands in that one and in the published one. It holds no
key and sees no text. usage: gate.py HOST PORT[:INNER]…. Standard library only.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress

CHUNK_BYTES = 2**16
CONNECT_TIMEOUT_S = 10.0
MAX_CONNECTIONS = 2000


async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Until the source ends; then the sink is told so, and may still answer."""
    with suppress(ConnectionError, TimeoutError):
        while chunk := await source.read(CHUNK_BYTES):
            sink.write(chunk)
            await sink.drain()
    with suppress(OSError, RuntimeError):
        sink.write_eof()


class Gate:
    """One for all ports, so that they share the places."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._places = asyncio.Semaphore(MAX_CONNECTIONS)

    async def open(self, port: int, inner_port: int) -> asyncio.Server:
        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async with self._places:
                await self._pass_on(inner_port, reader, writer)

        return await asyncio.start_server(pass_on, None, port)

    async def _pass_on(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                inner_reader, inner_writer = await asyncio.open_connection(self._host, port)
        except (OSError, TimeoutError) as error:  # it is starting or stopping; the client learns by the close
            print(f"{self._host}:{port} cannot be reached: {error or 'no answer'}.", file=sys.stderr, flush=True)
            writer.close()
            return
        try:
            await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))
        finally:
            writer.close()
            inner_writer.close()


async def main(host: str, ports: dict[int, int]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    gate = Gate(host)
    servers = [await gate.open(port, inner_port) for port, inner_port in ports.items()]
    print(f"Connections to {', '.join(map(str, ports))} are passed on to {host}.", flush=True)
    await stopped.wait()
    for server in servers:
        server.close()


if __name__ == "__main__":
    pairs = (word.partition(":") for word in sys.argv[2:])
    asyncio.run(main(sys.argv[1], {int(port): int(inner or port) for port, _, inner in pairs}))
