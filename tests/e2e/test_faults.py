"""What people do wrong and what breaks, through the front door: the right status, a sentence that helps, nothing leaked.

After every test the appliance holds no audio and no reservation, has no more open files than before, and still works.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.media import ffmpeg, looped, synthetic, video
from tests.recordings import telephone_call
from tests.served import Served, serve

pytestmark = [pytest.mark.engine, pytest.mark.slow]

FORM = {"diarize": "false", "model": "tiny.en"}


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The fast model, and little room, so that running out of it is quick to see."""
    env = {"APPLIANCE_DEFAULT_MODEL": "whisper-tiny.en", "APPLIANCE_MEMORY_BUDGET_BYTES": str(1200 * 2**20)}
    with serve(tmp_path_factory.mktemp("appliance"), env=env) as served:
        yield served


@pytest.fixture(autouse=True)
def nothing_leaks(appliance: Served) -> Iterator[None]:
    process = psutil.Process(appliance.process.pid)
    files_before = process.num_fds()
    yield
    eventually(lambda: metric(appliance, "appliance_audio_memory_used_bytes") == 0, "memory is still held for audio")
    eventually(lambda: process.num_fds() <= files_before + 2, "files are still open")
    assert post(appliance, telephone_call().read_bytes()).status_code == 200


def post(served: Served, recording: bytes, name: str = "a.wav", **form: str) -> httpx.Response:
    with served.client() as client:
        return client.post("/v1/transcribe", files={"file": (name, recording)}, data={**FORM, **form})


def metric(served: Served, name: str, **labels: str) -> float:
    text = httpx.get(f"{served.url}/metrics", headers=served.headers, timeout=10).raise_for_status().text
    found = [line for line in text.splitlines() if line.startswith(name) and all(f'{k}="{v}"' in line for k, v in labels.items())]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


def eventually(condition: Callable[[], bool], problem: str, within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, problem
        time.sleep(0.05)


def assert_helps(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    assert body["error"].endswith(".")
    assert body["hint"].endswith(".")
    return body


# --- recordings that are none, or odd ---------------------------------------------------------------------------------


def test_an_empty_file(appliance: Served) -> None:
    assert_helps(post(appliance, b""), 422, "empty_file")


def test_a_text_named_mp3(appliance: Served) -> None:
    assert_helps(post(appliance, b"Dear Sir or Madam, this is a letter.\n" * 500, "a.mp3"), 415, "unsupported_media")


def test_an_mp4_that_was_cut_off(appliance: Served, tmp_path: Path) -> None:
    whole = video(tmp_path / "a.mp4", telephone_call()).read_bytes()
    assert_helps(post(appliance, whole[: len(whole) // 2], "a.mp4"), 422, "broken_media")


def test_a_video_without_sound(appliance: Served, tmp_path: Path) -> None:
    assert_helps(post(appliance, video(tmp_path / "a.mp4", None).read_bytes(), "a.mp4"), 422, "no_audio_track")


@pytest.mark.parametrize(
    ("graph", "seconds"),
    [
        ("anullsrc=r=16000", 20),
        ("anoisesrc=color=white:amplitude=0.3:r=16000", 20),
        ("anoisesrc=color=pink:amplitude=0.5:r=16000", 20),
        ("sine=f=50:r=16000", 20),
        (
            "aevalsrc=0.2*sin(2*PI*262*t)*exp(-2*mod(t\\,0.5))+0.2*sin(2*PI*330*t)+0.1*sin(2*PI*392*t)*exp(-4*mod(t\\,0.25)):s=16000",
            30,
        ),
        ("sine=f=440:r=16000", 0.2),
    ],
    ids=["silence", "white noise", "pink noise", "hum", "music", "a fifth of a second"],
)
def test_no_word_is_invented_where_nobody_speaks(appliance: Served, tmp_path: Path, graph: str, seconds: float) -> None:
    answer = post(appliance, synthetic(tmp_path / "a.wav", graph, seconds).read_bytes())
    body = answer.raise_for_status().json()
    assert body["text"] == ""
    assert body["segments"] == []
    assert body["warnings"][0]["code"] == "silence"


def test_a_fifth_of_a_second_of_speech(appliance: Served, tmp_path: Path) -> None:
    ffmpeg("-ss", "7", "-i", str(telephone_call()), "-t", "0.2", str(tmp_path / "a.wav"))
    answer = post(appliance, (tmp_path / "a.wav").read_bytes())
    assert answer.raise_for_status().json()["duration"] == pytest.approx(0.2, abs=0.01)


def test_eight_hours(appliance: Served, tmp_path: Path) -> None:
    eight_hours = synthetic(tmp_path / "a.flac", "sine=f=50:r=8000", 8 * 3600)
    body = post(appliance, eight_hours.read_bytes(), "a.flac").raise_for_status().json()
    assert body["duration"] == pytest.approx(8 * 3600, abs=1)
    assert body["text"] == ""


def test_a_decode_bomb(appliance: Served, tmp_path: Path) -> None:
    """TRAPS 18: a few bytes a second of silence; a declared duration says nothing about it."""
    bomb = synthetic(tmp_path / "a.aac", "anullsrc=r=8000:cl=mono", 30 * 3600, "-c:a", "aac", "-b:a", "1k")
    started = time.monotonic()
    answer = post(appliance, bomb.read_bytes(), "a.aac")
    assert answer.json()["code"] in ("audio_too_long", "decode_refused"), answer.json()
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    "trick",
    [
        b"ffconcat version 1.0\nfile /etc/hostname\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b"#EXTM3U\n#EXTINF:5,\nhttp://127.0.0.1:9/x.ts\n",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 5004 RTP/AVP 0\r\n",
        b"[playlist]\nFile1=file:///etc/passwd\nNumberOfEntries=1\n",
        b'<?xml version="1.0"?><MPD><Period><BaseURL>file:///etc/passwd</BaseURL></Period></MPD>',
    ],
    ids=["ffconcat", "hls with a file", "hls with an address", "sdp", "pls", "dash"],
)
def test_playlist_tricks(appliance: Served, trick: bytes) -> None:
    """TRAPS 12: a file that names other files or addresses is no recording."""
    assert_helps(post(appliance, trick.ljust(2000, b"\n"), "a.wav"), 415, "unsupported_media")


# --- requests ---------------------------------------------------------------------------------------------------------


def test_a_wrong_key(appliance: Served) -> None:
    answer = httpx.post(f"{appliance.url}/v1/transcribe", headers={"Authorization": "Bearer stt_wrong"}, content=b"x")
    assert_helps(answer, 401, "unauthorized")


def test_an_unknown_model(appliance: Served) -> None:
    body = assert_helps(post(appliance, b"x", model="best-model-ever"), 404, "model_not_found")
    assert "whisper-tiny.en" in body["error"]


@pytest.mark.parametrize("path", ["/v1/transcribe", "/api/v1/transcripts/", "/v1/audio/transcriptions", "/v1/audio/translations"])
def test_an_unknown_field_in_each_dialect(appliance: Served, path: str) -> None:
    form = {"model": "whisper-base", "colour": "blue"}
    with appliance.client() as client:
        answer = client.post(path, files={"file": ("a.wav", telephone_call().read_bytes())}, data=form)
    assert answer.status_code == 422
    assert "colour" in answer.text


def test_two_uploads_with_one_idempotency_key(appliance: Served) -> None:
    answers: list[httpx.Response] = []

    def send() -> None:
        with appliance.client() as client:
            form = {"file": ("a.wav", telephone_call().read_bytes())}
            answers.append(client.post("/v1/transcribe", files=form, data=FORM, headers={"Idempotency-Key": "twice"}))

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["id"] == answers[1].json()["id"]


def test_a_client_that_leaves_during_its_upload(appliance: Served) -> None:
    host = appliance.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host)
    connection.putrequest("POST", "/api/v1/transcripts/")
    connection.putheader("Authorization", f"Bearer {appliance.key}")
    connection.putheader("Content-Length", str(50 * 2**20))
    connection.endheaders()
    connection.send(telephone_call().read_bytes())
    eventually(lambda: metric(appliance, "appliance_audio_memory_used_bytes") > 0, "the upload never arrived")
    connection.close()


# --- faults -----------------------------------------------------------------------------------------------------------


def workers(served: Served, role: str) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(served.process.pid).children()
        if "appliance.engine.worker" in (line := " ".join(child.cmdline())) and role in line
    ]


def submit(served: Served, recording: Path, **form: str) -> int:
    with served.client() as client, recording.open("rb") as file:
        answer = client.post("/api/v1/transcripts/", files={"file": (recording.name, file)}, data={**FORM, **form})
    return int(answer.raise_for_status().json()["id"])


def read(served: Served, transcript_id: int) -> dict[str, Any]:
    answer = httpx.get(f"{served.url}/api/v1/transcripts/{transcript_id}/", headers=served.headers, timeout=30)
    body: dict[str, Any] = answer.raise_for_status().json()
    return body


def finished(served: Served, transcript_id: int, within_s: float = 120.0) -> dict[str, Any]:
    eventually(lambda: read(served, transcript_id)["status"] not in ("queued", "processing"), "it never ended", within_s)
    return read(served, transcript_id)


def in_stage(served: Served, transcript_id: int, stage: str) -> bool:
    progress = read(served, transcript_id)["progress"]
    return progress is not None and progress["stage"] == stage


@pytest.fixture(scope="module")
def ten_minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return looped(telephone_call(), tmp_path_factory.mktemp("media") / "ten.wav", 600)


@pytest.fixture(scope="module")
def one_minute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return looped(telephone_call(), tmp_path_factory.mktemp("media") / "one.wav", 60)


def test_the_recognition_worker_killed(appliance: Served, ten_minutes: Path) -> None:
    job = submit(appliance, ten_minutes)
    eventually(lambda: in_stage(appliance, job, "recognize"), "recognition never began")
    (worker,) = workers(appliance, "recognize")
    worker.send_signal(signal.SIGKILL)
    body = finished(appliance, job)
    assert body["status"] == "completed"
    assert "Jersey" in body["text"]
    assert metric(appliance, "appliance_worker_restarts_total", role="recognize") >= 1


def test_the_diarization_worker_killed_keeps_the_transcript(appliance: Served, one_minute: Path) -> None:
    job = submit(appliance, one_minute, diarize="true")
    deadline = time.monotonic() + 120
    while read(appliance, job)["status"] not in ("completed", "failed") and time.monotonic() < deadline:
        for worker in workers(appliance, "diarize"):
            worker.send_signal(signal.SIGKILL)
        time.sleep(0.2)
    body = finished(appliance, job)
    assert body["status"] == "completed"
    assert "Jersey" in body["text"]
    assert "diarization_failed" in [warning["code"] for warning in body["warnings"]]


def test_a_decode_child_killed(appliance: Served, tmp_path: Path) -> None:
    long = synthetic(tmp_path / "a.flac", "sine=f=50:r=8000", 4 * 3600)
    job = submit(appliance, long)
    killed = []

    def kill_decoder() -> bool:
        for child in psutil.Process(appliance.process.pid).children():
            if "decode_child" in " ".join(child.cmdline()):
                os.kill(child.pid, signal.SIGKILL)
                killed.append(child.pid)
        return bool(killed)

    eventually(kill_decoder, "no decode child was seen")
    body = finished(appliance, job)
    assert body["status"] == "failed"
    assert body["failure"]["code"] == "decode_refused"


def test_full_memory(appliance: Served) -> None:
    """A second recording finds the room for uploads, three quarters of all, taken by a first one that is still arriving."""
    connection = http.client.HTTPConnection(appliance.url.removeprefix("http://"))
    connection.putrequest("POST", "/api/v1/transcripts/")
    connection.putheader("Authorization", f"Bearer {appliance.key}")
    connection.putheader("Content-Length", str(899 * 2**20))
    connection.endheaders()
    connection.send(b"RIFF" + bytes(2**20))
    eventually(lambda: metric(appliance, "appliance_audio_memory_used_bytes") > 800 * 2**20, "the room was never reserved")
    answer = post(appliance, telephone_call().read_bytes() * 3)
    assert_helps(answer, 503, "memory_full")
    assert int(answer.headers["Retry-After"]) >= 1
    connection.close()


def test_cancelling_takes_at_most_one_batch(appliance: Served, ten_minutes: Path) -> None:
    job = submit(appliance, ten_minutes)
    eventually(lambda: in_stage(appliance, job, "recognize"), "recognition never began")
    with appliance.client() as client:
        client.post(f"/api/v1/transcripts/{job}/cancel/").raise_for_status()
    assert finished(appliance, job, within_s=20)["status"] == "cancelled"


def test_a_full_disk_at_saving(tmp_path: Path) -> None:
    """On a data volume that fills up while the recording is recognised."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    data = tmp_path / "data"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(data)], check=True)
    try:
        with serve(tmp_path, env={"APPLIANCE_DEFAULT_MODEL": "whisper-tiny.en"}) as small:
            filler = data / "filler"
            free = os.statvfs(data)
            filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - 4096)))
            assert_helps(post(small, telephone_call().read_bytes()), 507, "disk_full")
            filler.unlink()
            assert post(small, telephone_call().read_bytes()).status_code == 200
    finally:
        subprocess.run(["umount", str(data)], check=True)


def test_a_damaged_model_is_named(tmp_path: Path) -> None:
    """A copy of the installed model with one flipped bit."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "appliance" / "models"
    models = tmp_path / "models"
    subprocess.run(["cp", "-a", str(home), str(models)], check=True)
    env = {"APPLIANCE_DEFAULT_MODEL": "whisper-base", "APPLIANCE_MODELS_DIR": str(models)}
    with serve(tmp_path, env=env) as served:
        weights = models / "whisper-tiny.en" / "model.bin"
        with weights.open("r+b") as file:
            file.seek(1_000_000)
            byte = file.read(1)
            file.seek(1_000_000)
            file.write(bytes([byte[0] ^ 1]))
        body = assert_helps(post(served, telephone_call().read_bytes()), 503, "model_damaged")
        assert "model.bin" in body["error"]
        assert "whisper-tiny.en" in body["error"]
        assert post(served, telephone_call().read_bytes(), model="whisper-base").status_code == 200
