"""The appliance in a cage, as evidence: no writable disk but the data directory, no network but loopback and a sink.

Recordings come in through every dialect, over HTTPS as by default; uploads end halfway; a worker, a decoder and the appliance
itself are killed at their work, and it is started again on what is left. Run by `test_uploads_stay_in_memory.py` as root under
`unshare --net --mount`; prints what was seen as JSON. Everything that is written or connected to is recorded by strace (TRAPS 4).
"""

from __future__ import annotations

import base64
import json
import re
import socket
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from appliance.settings import Settings
from tests.privacy.sealed import CANARY
from tests.recordings import telephone_call
from tests.served import Served, serve

# In the audio: as it is, and as base64 has it at each of the three places where a group of three bytes may begin.
CANARIES = (CANARY[:16], *(base64.b64encode(CANARY[shift : shift + 15]) for shift in range(3)))
TRANSCRIPTS = "/api/v1/transcripts/"
MINUTES = 10  # of speech that is killed at
QUICK = {"model": "whisper-tiny.en", "diarize": "false"}  # where it matters that it is at work, not what it hears
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
        f"mount -t tmpfs -o size=512m tmpfs {work_dir}",
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
    return as_wav(speech + (CANARY * (room // len(CANARY) + 1))[: room // 2 * 2])


def looped_call(minutes: int) -> bytes:
    with wave.open(str(telephone_call())) as call:
        return as_wav(call.readframes(call.getnframes()) * (2 * minutes))


def as_wav(samples: bytes) -> bytes:
    """16 kHz, mono, 16 bit."""
    size = len(samples)
    header = b"RIFF" + (size + 36).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    header += (1).to_bytes(2, "little") * 2 + (16_000).to_bytes(4, "little") + (32_000).to_bytes(4, "little")
    header += (2).to_bytes(2, "little") + (16).to_bytes(2, "little") + b"data" + size.to_bytes(4, "little")
    return header + samples


def short(recording: bytes) -> bytes:
    """The speech, and five seconds of canary."""
    return as_wav(recording[44 : 44 + 32_000 * 35])


def transcribe_everywhere(served: Served, recording: bytes) -> dict[str, str]:
    """An upload through every dialect and shape; answers what each heard."""
    with served.client() as client:
        form = {"file": ("canary.wav", recording, "audio/wav")}
        answer = client.post("/v1/transcribe", files=form, data={"diarize": "false"})
        texts = {"native, waiting": str(answer.raise_for_status().json()["text"])}
        call = {"file": ("call.wav", telephone_call().read_bytes(), "audio/wav")}
        answer = client.post("/v1/transcribe", files=call, data={"diarize": "true"}).raise_for_status()
        assert len(answer.json()["speakers"]) == 2, answer.json()["warnings"]
        body = short(recording)
        answer = client.post(TRANSCRIPTS, content=body, headers={"Content-Type": "audio/wav"})
        texts["native, raw"] = wait_for(client, answer)["text"]
        answer = client.post(TRANSCRIPTS, files={"file": ("a.wav", body)}, data={"diarize": "false"})
        texts["native, form"] = wait_for(client, answer)["text"]
        texts["private"] = transcribe_privately(client, body)
        texts |= {f"openai, {name}": transcribe_as_openai(client, body, **more) for name, more in OPENAI_WAYS.items()}
        answer = client.post("/v1/audio/translations", files={"file": ("a.wav", body)}, data={"model": "whisper-1"})
        texts["openai, translated"] = str(answer.raise_for_status().json()["text"])
        assert client.post("/v1/transcribe", files={"file": ("b.mp3", CANARY * 50_000)}).status_code == 415
    return texts


OPENAI_WAYS: dict[str, dict[str, Any]] = {
    "waiting": {},
    "streamed": {"stream": "true"},
    "diarized": {"response_format": "diarized_json", "known_speaker_names[]": ["Ada"], "known_speaker_references[]": ["a voice"]},
}


def transcribe_as_openai(client: httpx.Client, recording: bytes, **more: Any) -> str:
    """A known speaker's voice has the canary as well."""
    if "known_speaker_references[]" in more:
        more["known_speaker_references[]"] = [voice_with_canary()]
    form = {"model": "whisper-1", **more}
    answer = client.post("/v1/audio/transcriptions", files={"file": ("a.wav", recording)}, data=form).raise_for_status()
    if "stream" not in more:
        return str(answer.json()["text"])
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: {")]
    return str(next(event["text"] for event in events if event["type"] == "transcript.text.done"))


def voice_with_canary() -> str:
    """Eight seconds of speech, and the canary in the hundredth of a second after them, as a data URL."""
    with wave.open(str(telephone_call())) as call:
        call.setpos(7 * 16_000)
        samples = call.readframes(8 * 16_000) + CANARY * 10
    return "data:audio/wav;base64," + base64.b64encode(as_wav(samples)).decode()


def transcribe_privately(client: httpx.Client, recording: bytes) -> str:
    answer = client.post(TRANSCRIPTS, files={"file": ("a.wav", recording)}, data={"private": "true", "diarize": "false"})
    key = wait_for(client, answer)["slug"]
    text = client.get(f"{TRANSCRIPTS}{key}/result/").raise_for_status().json()["transcript"]["text"]
    client.post(f"{TRANSCRIPTS}{key}/result/ack/").raise_for_status()
    return str(text)


def wait_for(client: httpx.Client, answer: httpx.Response, wanted: str = "completed") -> dict[str, Any]:
    """The transcript that a 202 promised, ended."""
    transcript_id = answer.raise_for_status().json()["id"]
    while True:
        found: dict[str, Any] = client.get(f"{TRANSCRIPTS}{transcript_id}/").raise_for_status().json()
        if found["status"] not in ("queued", "processing"):
            assert found["status"] == wanted, found
            return found
        time.sleep(0.2)


# --- what goes wrong --------------------------------------------------------------------------------------------------


def break_things(served: Served, recording: bytes) -> str:
    """The last kill takes the whole appliance, in an upload and in a job; answers the job."""
    leave_halfway(served, recording)
    with served.client() as client:
        job = client.post(TRANSCRIPTS, files={"file": ("long.wav", looped_call(MINUTES))}, data=QUICK)
        wait_until_recognized(client, job)
        kill(served, "appliance.engine.worker", '"recognize"')
        wait_until_recognized(client, job)  # by a fresh one
        client.post(f"{TRANSCRIPTS}{job.json()['id']}/cancel/").raise_for_status()
        wait_for(client, job, "cancelled")
        job = client.post(TRANSCRIPTS, files={"file": ("canary.wav", recording)}, data=QUICK)
        kill(served, "appliance.audio.decode_child")
        assert wait_for(client, job, "failed")["failure"]["code"] == "decode_refused"
        job = client.post(TRANSCRIPTS, files={"file": ("long.wav", looped_call(MINUTES))}, data=QUICK)
        wait_until_recognized(client, job)
        leave_halfway(served, recording, at_half=lambda: kill(served, "appliance.cli", "serve"))
    served.process.wait(30)  # the tracer ends when nobody is left of those it traced
    return str(job.json()["id"])


def wait_until_recognized(client: httpx.Client, answer: httpx.Response) -> None:
    """Until the engine is at what was sent."""
    transcript_id = answer.raise_for_status().json()["id"]
    stage = ""
    while stage not in ("detect", "recognize"):
        found = client.get(f"{TRANSCRIPTS}{transcript_id}/").raise_for_status().json()
        assert found["status"] in ("queued", "processing"), "it was over before it could be killed"
        stage = (found["progress"] or {}).get("stage") or ""


def kill(served: Served, *words: str) -> None:
    """-9 to whom of the appliance's processes has the words in its command line, as soon as there is one."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for process in psutil.Process(served.process.pid).children(recursive=True):
            try:
                if all(word in " ".join(process.cmdline()) for word in words):
                    process.kill()
                    return
            except psutil.Error:  # gone in between
                continue
    raise AssertionError(f"no process with {words}")


def leave_halfway(served: Served, recording: bytes, at_half: Callable[[], object] = lambda: None) -> None:
    def half() -> Iterator[bytes]:
        yield recording[: len(recording) // 2]
        at_half()
        raise ConnectionError

    try:
        with served.client() as client:
            client.post(TRANSCRIPTS, content=half())
    except (ConnectionError, httpx.TransportError):
        pass


def what_became_of(served: Served, transcript_id: str, secret: str) -> str:
    """Of the job that ran when everything was killed; the appliance works again."""
    with served.client() as client:
        again = client.post("/v1/transcribe", files={"file": ("a.wav", telephone_call().read_bytes())}, data=QUICK)
        assert "Jersey" in again.raise_for_status().json()["text"]
        found = client.get(f"{TRANSCRIPTS}{transcript_id}/", headers={"Authorization": f"Bearer {secret}"})
        return str(found.raise_for_status().json()["status"])


# --- what was seen ----------------------------------------------------------------------------------------------------


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


def read_trace(lines: list[str], own: re.Pattern[str]) -> dict[str, list[str]]:
    """What the traces show outside the allow-list: files opened for writing, files written to, addresses spoken to."""
    opened, written, addresses = set(), set(), set()
    for line in lines:
        if (match := OPENED_FOR_WRITING.match(line)) and not is_allowed(match[1], own):
            opened.add(match[1])
        if (match := WRITTEN_TO.match(line)) and match[1].startswith("/") and not is_allowed(match[1], own):
            written.add(match[1])
        if match := SPOKEN_TO.match(line):
            addresses.add(match[1] or match[2])
    outside = {address for address in addresses if not address.startswith("127.") and address not in ("::1", "::ffff:127.0.0.1")}
    return {"opened": sorted(opened), "written": sorted(written), "addresses": sorted(outside)}


def is_allowed(path: str, own: re.Pattern[str]) -> bool:
    """Memory that has a name for the kernel only, and a process's own knobs, are no files."""
    return bool(own.fullmatch(path)) or path.startswith(("/memfd:", "/proc/self/", "/dev/nvidia"))


def files_with_canary(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and any(mark in path.read_bytes() for mark in CANARIES)]


def own_files(work_dir: Path) -> re.Pattern[str]:
    """What the appliance may write, by name: its database, the licence's mark, its authority and certificate, and its output."""
    names = (
        r"data/appliance\.db(-wal|-shm|\.lock|\.reserve)?",
        r"data/licensing/\.mark(\.key)?\.[0-9a-f]{8}",
        r"data/tls/\.(authority|ca|server)\.pem\.new",
        r"data/tls/\.lock",
        r"log\.txt",
    )
    return re.compile(f"/dev/null|{re.escape(str(work_dir))}/({'|'.join(names)})")


def main(work_dir: Path) -> None:
    build_cage(work_dir)
    before = sink_packets_after_a_knock()
    (home := work_dir / "home").mkdir()  # writable, so that a library that wants to leave something there does, and is seen
    traces = [work_dir / "trace-1.txt", work_dir / "trace-2.txt"]
    env = {"HOME": str(home), "APPLIANCE_MODELS_DIR": str(Settings().models_dir), "APPLIANCE_TLS": "builtin"}  # type: ignore[call-arg]  # all have defaults
    strace = ["strace", "-f", "--seccomp-bpf", "-y", "-qq", "-s", "0", "-e", f"trace={TRACED}", "-o"]
    recording = canary_recording()
    with serve(work_dir, env=env, wrapper=[*strace, str(traces[0])]) as served:
        texts = transcribe_everywhere(served, recording)
        on_disk = disk_bytes(psutil.Process(served.process.pid))
        interrupted, secret = break_things(served, recording), served.key
    with serve(work_dir, env=env, wrapper=[*strace, str(traces[1])]) as served:
        became = what_became_of(served, interrupted, secret)
    lines = [line for trace in traces for line in trace.read_text(errors="replace").splitlines()]
    report = {
        **read_trace(lines, own_files(work_dir)),
        "texts": texts,
        "interrupted": became,
        "sink_packets": sink_packets() - before,
        "sink_counts": before > 0,
        "saw_database": any(f"{work_dir}/data/appliance.db" in line for line in lines),
        "saw_keys": any(f"{work_dir}/data/tls/" in line for line in lines),
        "canary_in": files_with_canary(work_dir),
        "disk_bytes": on_disk,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
