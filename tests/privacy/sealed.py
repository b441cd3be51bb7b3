"""Runs a command, `make test` its tests, where the only way out is a sink; fails when a packet left, or an upload lies on a disk.

As root on Linux: a network of its own with loopback, a default route into the sink (IPv4 and IPv6) and name servers behind it; and
an empty folder in place of /tmp and /var/tmp. Elsewhere it says so and runs the command as it is.

What is looked for afterwards: the recordings that the tests send most (`marks`), as they were sent or as they are decoded, in every
file left there. Files with a media name that tests made to send count only inside data folders. It sees neither compressed
recordings nor files that are gone or never had a name: for those, `confined.py` watches every write.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import wave
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import psutil

from appliance.domain import Value
from appliance.settings import Settings
from tests.recordings import telephone_call

ROOT = Path(__file__).resolve().parent.parent.parent
CANARY = b"canary-in-the-audio-7f3a91c4"
TONE = b"\x00\x01\x00\xff" * 32  # tests/api: two seconds of this
MEDIA = (".wav", ".flac", ".mp3", ".m4a", ".mp4", ".aac", ".ogg", ".opus", ".webm", ".mkv", ".mov", ".aiff", ".amr", ".3gp")
TEMPORARY = ("/tmp", "/var/tmp")
INSIDE = "--inside"
NOBODY = "198.18.0.99"  # the runner's own knock at the sink
SINK = (
    "ip link set lo up",
    "sysctl -qw net.ipv6.conf.default.accept_ra=0",
    "ip link add sink type veth peer name drain",
    "ip link set sink arp off addrgenmode none",  # or the kernel would ask for neighbours where there is none
    "ip link set drain arp off addrgenmode none",
    "ip link set drain up",
    "ip link set sink up",
    "ip addr add 198.18.0.1/32 dev sink",
    "ip -6 addr add fd00:5ea1::1/128 dev sink nodad",
    "ip route add default dev sink",
    "ip -6 route add default dev sink",
    "mount --make-rprivate /",
)


class Departure(Value, frozen=True):
    """A packet that would have left the machine."""

    address: str
    what: str  # "tcp 443"
    process: str

    def __str__(self) -> str:
        return f"{self.what} to {self.address}, from {self.process}"


# --- the sink ---------------------------------------------------------------------------------------------------------


class Sink(threading.Thread):
    """Keeps what arrives at the end that leads nowhere."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.departures: list[Departure] = []
        self._knocked = threading.Event()
        self._drain = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))
        self._drain.bind(("drain", 0x0003))

    def run(self) -> None:
        while True:
            packet, (_, _, kind, *_) = self._drain.recvfrom(65_535)
            if kind == socket.PACKET_OUTGOING:
                continue
            departure = read_packet(packet)
            if departure and departure.address == NOBODY:
                self._knocked.set()
            elif departure:
                self.departures.append(departure)

    def knock(self) -> bool:
        """Whether it sees a packet, now: everything sent before has then been seen as well, and none means none."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as knocker:
            knocker.sendto(b"is anybody there", (NOBODY, 9))
        return self._knocked.wait(30)


def read_packet(packet: bytes) -> Departure | None:
    """None for what the kernel itself tells a link it comes up on: which multicast groups it listens to."""
    if packet[0] >> 4 == 4:
        protocol, destination, rest = packet[9], packet[16:20], packet[(packet[0] & 15) * 4 :]
    else:
        protocol, destination, rest = packet[6], packet[24:40], packet[40:]
        if protocol == 0 and len(rest) > 8 and rest[0] == 58 and rest[8] in (131, 132, 143):  # RFC 3810, behind hop-by-hop options
            return None
    address = str(ip_address(destination))
    if protocol not in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        return Departure(address, f"protocol {protocol}", "somebody")
    source_port, port = struct.unpack("!HH", rest[:4])
    name = "tcp" if protocol == socket.IPPROTO_TCP else "udp"
    asked = f" (asks for {question(rest[20:])})" if port == 53 and name == "udp" else ""
    return Departure(address, f"{name} {port}{asked}", process_at(source_port))


def question(labels: bytes) -> str:
    """The name in a DNS question, RFC 1035 section 4.1.2."""
    parts = []
    while labels and labels[0] and len(labels) > labels[0]:
        parts.append(labels[1 : labels[0] + 1].decode("ascii", "replace"))
        labels = labels[labels[0] + 1 :]
    return ".".join(parts)


def process_at(port: int) -> str:
    """Who has the local port now; short-lived ones may be gone."""
    for connection in psutil.net_connections("inet"):
        if connection.laddr and connection.laddr.port == port and connection.pid:
            try:
                return f"'{' '.join(psutil.Process(connection.pid).cmdline())[:200]}'"
            except psutil.Error:
                continue
    return "a process that is gone"


# --- what is left behind ----------------------------------------------------------------------------------------------


def marks() -> list[bytes]:
    """Pieces of the recordings that tests send: nothing that stands in any other file by chance."""
    with wave.open(str(telephone_call())) as call:
        samples = call.readframes(call.getnframes())
    pieces = [samples[start : start + 96] for start in range(0, len(samples) - 96, len(samples) // 400)]
    speech = [piece for piece in pieces if len(set(piece)) > 56]
    assert len(speech) >= 8
    return [CANARY, TONE, *speech[:: len(speech) // 8]]


def left_behind(folder: Path) -> Iterator[Path]:
    """Files with a recording in them that nobody but a test's own making explains."""
    wanted = marks()
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file() or is_a_test_s_own(path.relative_to(folder)):
            continue
        if any(mark in content for content in written(path) for mark in wanted):
            yield path


def written(path: Path) -> Iterator[bytes]:
    """What is in a file, without the room that is only kept for it, of which there is much."""
    with path.open("rb") as file:
        end = 0
        while True:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:  # there is no more
                return
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            yield os.pread(file.fileno(), end - start, start)


def is_a_test_s_own(path: Path) -> bool:
    """pytest's folders hold what tests send, under media names; a data folder, and a folder nobody named, must hold none."""
    in_a_test_s_folder = any(part.startswith("pytest-of-") for part in path.parts) and "data" not in path.parts
    return in_a_test_s_folder and path.suffix.lower() in MEDIA


# --- the run ----------------------------------------------------------------------------------------------------------


def why_not() -> str:
    """Empty where it can be done."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it needs root on Linux"
    if lacking := [tool for tool in ("unshare", "ip", "mount", "sysctl") if shutil.which(tool) is None]:
        return f"there is no {', '.join(lacking)}"
    models = Settings().models_dir  # type: ignore[call-arg]  # all have defaults
    for what, place in (("the repository lies", ROOT), ("the models lie", models)):
        if any(place.is_relative_to(folder) for folder in TEMPORARY):
            return f"{what} in {place.parent}, which it would hide"
    if subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False).returncode:
        return "this machine allows no network of its own"
    return ""


def run_inside(command: list[str], fresh: Path) -> int:
    """In the new namespaces: the command's own exit status, or 1 for what it should not have done."""
    for step in SINK:
        subprocess.run(step.split(), check=True)
    resolv = fresh.parent / "resolv.conf"
    resolv.write_text("nameserver 198.18.0.53\noptions timeout:1 attempts:1\n")
    subprocess.run(["mount", "--bind", resolv, "/etc/resolv.conf"], check=True)
    for place in TEMPORARY:
        mine = fresh / place.strip("/").replace("/", "-")
        mine.mkdir(mode=0o1777)
        mine.chmod(0o1777)
        subprocess.run(["mount", "--bind", mine, place], check=True)
    sink = Sink()
    sink.start()
    status = subprocess.run(command, check=False).returncode
    assert sink.knock(), "the sink sees nothing, so that no packets would mean nothing"
    return report(status, sink.departures, [path for place in TEMPORARY for path in left_behind(Path(place))])


def report(status: int, departures: list[Departure], files: list[Path]) -> int:
    for line in sorted(set(map(str, departures))):
        print(f"sealed: would have left the machine: {line}", file=sys.stderr)
    for path in files:
        print(f"sealed: a recording lies in {path}", file=sys.stderr)
    print(f"sealed: {len(departures)} packets off loopback, {len(files)} files with a recording", file=sys.stderr)
    return status or int(bool(departures or files))


def main(arguments: list[str]) -> int:
    if arguments[:1] == [INSIDE]:
        return run_inside(arguments[2:], Path(arguments[1]))
    if reason := why_not():
        print(f"not sealed, because {reason}: {' '.join(arguments)}", file=sys.stderr)
        return subprocess.run(arguments, check=False).returncode
    with tempfile.TemporaryDirectory(prefix="sealed-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        (fresh := Path(folder) / "tmp").mkdir()
        inside = [sys.executable, "-m", "tests.privacy.sealed", INSIDE, str(fresh), *arguments]
        return subprocess.run(["unshare", "--net", "--mount", *inside], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
