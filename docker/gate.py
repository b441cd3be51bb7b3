"""The gate between the LAN and the appliance: passes TCP connections on, encrypted as they are, and opens none by itself.

The appliance stands in a network without a way out; this process stands in that one and in the published one. It holds no
key and sees no text. usage: gate.py HOST PORT[:INNER]…. Standard library only.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]

CHUNK_BYTES = 2**16
CONNECT_TIMEOUT_S = 10.0
MAX_CONNECTIONS = 2000
# Event streams say something every 15 s, but whoever waits for a whole text hears nothing until it is there: for hours, on a small
# machine. The appliance itself closes what keeps it waiting; this is for what it never learns of.
IDLE_S = 12 * 3600.0
ABSENT_S = 120  # since the other side took what was sent to it, or answered the kernel's question whether it is there


async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, moved: Callable[[], object]) -> None:
    """Until the source ends; then the sink is told so, and may still answer. `moved`: something was passed on."""
    with suppress(ConnectionError, TimeoutError):
        while chunk := await source.read(CHUNK_BYTES):
            moved()
            sink.write(chunk)
            await sink.drain()
    with suppress(OSError, RuntimeError):
        sink.write_eof()


def let_go_of_the_absent(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, ABSENT_S // 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ABSENT_S // 8)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, ABSENT_S * 1000)


async def exchange(outer: Ends, inner: Ends) -> None:
    """Until the appliance has ended: what a client sends after that reaches nobody, and its place is free for others."""
    loop = asyncio.get_running_loop()
    with suppress(TimeoutError):
        async with asyncio.timeout(IDLE_S) as patience:

            def moved() -> None:
                if not patience.expired():
                    patience.reschedule(loop.time() + IDLE_S)

            inwards = asyncio.create_task(copy(outer[0], inner[1], moved))
            try:
                await copy(inner[0], outer[1], moved)
            finally:
                inwards.cancel()


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
        let_go_of_the_absent(writer)
        try:
            await exchange((reader, writer), (inner_reader, inner_writer))
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
