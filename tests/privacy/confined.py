"""One upload inside a cage, as evidence: no writable disk but the data directory, no network but loopback and a sink.

Run by `test_uploads_stay_in_memory.py` as root under `unshare --net --mount`; prints what was seen as JSON. Everything
the appliance writes or connects to is recorded by strace (TRAPS 4).
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import wave
from pathlib import Path

import httpx
import psutil

from appliance.settings import Settings
from tests.recordings import telephone_call
from tests.served import Served, serve

CANARY = b"canary-in-the-audio-7f3a91c4"
UPLOAD_BYTES = 50 * 2**20
TRACED = (
    "open,openat,openat2,creat,write,pwrite64,writev,pwritev,pwritev2,sendfile,splice,copy_file_range,"
    "connect,bind,sendto,sendmsg,sendmmsg,mknod,mknodat,mkdir,mkdirat,rename,renameat,renameat2,truncate,swapon"
)


def build_cage(work_dir: Path) -> None:
    """A read-only root with one small writable tmpfs, and a network whose only way out is a sink that counts."""
    for command in (
        "ip link set lo up",
        "sysctl -qw net.ipv6.conf.default.disable_ipv6=1",  # or the kernel itself would greet the network
        "ip link add sink type veth peer name drain",
        "ip addr add 192.0.2.1/24 dev sink",
        "ip link set drain up",
        "ip link set sink up",
        "ip route add default dev sink",
        "mount --make-rprivate /",
        f"mount -t tmpfs -o size=64m tmpfs {work_dir}",
        "mount -o remount,bind,ro /",
    ):
        subprocess.run(command.split(), check=True)
    for folder in ("/dev/shm", "/tmp", "/var/tmp", "/run"):  # places a library might spool to, where they are mounts of their own
        if Path(folder).is_mount():
            subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)


def canary_recording() -> bytes:
    """50 MiB of 16 kHz mono WAV: half a minute of speech, then the canary over and over; decoding leaves it as it is."""
    with wave.open(str(telephone_call())) as call:
        assert (call.getframerate(), call.getnchannels(), call.getsampwidth()) == (16_000, 1, 2)
        speech: bytes = call.readframes(call.getnframes())
    room = UPLOAD_BYTES - len(speech) - 44
    samples = speech + (CANARY * (room // len(CANARY) + 1))[: room // 2 * 2]
    size = len(samples)
    header = b"RIFF" + (size + 36).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += (1).to_bytes(2, "little") * 2 + (16_000).to_bytes(4, "little") + (32_000).to_bytes(4, "little")
    header += (2).to_bytes(2, "little") + (16).to_bytes(2, "little") + b"data" + size.to_bytes(4, "little")
    return header + samples


def transcribe_everywhere(served: Served, recording: bytes) -> list[str]:
    """The same upload through every dialect and shape, one failing, one left halfway; answers their texts."""
    texts = []
    with served.client() as client:
        form = {"file": ("canary.wav", recording, "audio/wav")}
        answer = client.post("/v1/transcribe", files=form, data={"diarize": "false"})
        texts.append(answer.raise_for_status().json()["text"])
        call = {"file": ("call.wav", telephone_call().read_bytes(), "audio/wav")}
        answer = client.post("/v1/transcribe", files=call, data={"diarize": "true"}).raise_for_status()
        assert len(answer.json()["speakers"]) == 2, answer.json()["warnings"]
        short = recording[: 16_000 * 2 * 40]
        answer = client.post("/v1/audio/transcriptions", files={"file": ("a.wav", short)}, data={"model": "whisper-1"})
        texts.append(answer.raise_for_status().json()["text"])
        answer = client.post("/api/v1/transcripts/", content=short, headers={"Content-Type": "audio/wav"})
        texts.append(wait_for_text(client, answer.raise_for_status().json()["id"]))
        assert client.post("/v1/transcribe", files={"file": ("b.mp3", CANARY * 50_000)}).status_code == 415
    leave_halfway(served, recording)
    return texts


def wait_for_text(client: httpx.Client, transcript_id: int) -> str:
    while True:
        answer = client.get(f"/api/v1/transcripts/{transcript_id}/").raise_for_status().json()
        if answer["status"] not in ("queued", "processing"):
            assert answer["status"] == "completed", answer
            return str(answer["text"])
        time.sleep(0.2)


def leave_halfway(served: Served, recording: bytes) -> None:
    def half() -> object:
        yield recording[: len(recording) // 2]
        raise ConnectionError

    try:
        with served.client() as client:
            client.post("/api/v1/transcripts/", content=half())  # type: ignore[arg-type]
    except ConnectionError:
        pass


def sink_packets() -> int:
    return int(psutil.net_io_counters(pernic=True)["sink"].packets_sent)


def sink_packets_after_a_knock() -> int:
    """Shows that the sink notices: a datagram to nowhere makes the kernel ask who has the address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as knocker:
        knocker.sendto(b"is anybody there", ("192.0.2.77", 9))
    time.sleep(5)  # the kernel asks three times, a second apart; they must not be counted later
    return sink_packets()


def disk_bytes(process: psutil.Process) -> int:
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.io_counters().write_bytes
        except psutil.Error:
            continue
    return total


OPENED_FOR_WRITING = re.compile(
    r'^\d+ (?:openat|open|creat)\((?:[^"]*, )?"([^"]*)", [^)]*O_(?:WRONLY|RDWR|CREAT|TMPFILE)[^)]*\) = \d+'
)
WRITTEN_TO = re.compile(r"^\d+ (?:p?writev?2?|pwrite64|sendfile|splice|copy_file_range)\((?:\d+<[^>]*>, NULL, )?\d+<([^>]*)>")
SPOKEN_TO = re.compile(
    r'^\d+ (?:connect|sendto|sendmsg|sendmmsg|bind)\(.*(?:sin_addr=inet_addr\("([^"]+)"\)|sin6_addr=[^,]*"([^"]+)")'
)


def read_trace(trace: Path, allowed: tuple[str, ...]) -> dict[str, list[str]]:
    """What the trace shows outside the allow-list: files opened for writing, files written to, addresses spoken to."""
    opened, written, addresses = set(), set(), set()
    for line in trace.read_text(errors="replace").splitlines():
        if (match := OPENED_FOR_WRITING.match(line)) and not match[1].startswith(allowed):
            opened.add(match[1])
        if (match := WRITTEN_TO.match(line)) and match[1].startswith("/") and not match[1].startswith(allowed):
            written.add(match[1])
        if match := SPOKEN_TO.match(line):
            addresses.add(match[1] or match[2])
    outside = {address for address in addresses if not address.startswith("127.") and address not in ("::1", "::ffff:127.0.0.1")}
    return {"opened": sorted(opened), "written": sorted(written), "addresses": sorted(outside)}


def files_with_canary(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and CANARY[:16] in path.read_bytes()]


def main(work_dir: Path) -> None:
    build_cage(work_dir)
    before = sink_packets_after_a_knock()
    trace = work_dir / "trace.txt"
    strace = ["strace", "-f", "--seccomp-bpf", "-y", "-qq", "-s", "0", "-e", f"trace={TRACED}", "-o", str(trace)]
    (home := work_dir / "home").mkdir()  # writable, so that a library that wants to leave something there does, and is seen
    env = {"HOME": str(home), "APPLIANCE_MODELS_DIR": str(Settings().models_dir)}  # type: ignore[call-arg]  # all have defaults
    with serve(work_dir, env=env, wrapper=strace) as served:
        texts = transcribe_everywhere(served, canary_recording())
        on_disk = disk_bytes(psutil.Process(served.process.pid))
    allowed = (f"{work_dir}/data/appliance.db", "/memfd:", "/dev/null", f"{work_dir}/log.txt", "/proc/self/", "/dev/nvidia")
    seen = read_trace(trace, allowed)
    left = sink_packets() - before
    saw_database = f"{work_dir}/data/appliance.db" in trace.read_text(errors="replace")
    trace.unlink()
    report = {
        **seen,
        "texts": texts,
        "sink_packets": left,
        "sink_counts": before > 0,
        "saw_database": saw_database,
        "canary_in": files_with_canary(work_dir),
        "disk_bytes": on_disk,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
