"""An hour of MP3 (about 60 MB) through the whole path: what it costs the API process, and that all of it comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.e2e.media import looped
from tests.recordings import telephone_call
from tests.served import Served, serve

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(1800)]

MIB = 2**20
LIMIT_MIB = 250


class Watch:
    """Samples what the API process holds: its resident memory, and the memory files it keeps recordings in."""

    def __init__(self, served: Served) -> None:
        self._process = psutil.Process(served.process.pid)
        self._folder = Path(f"/proc/{served.process.pid}/fd")
        self.peak = 0
        self._over = threading.Event()

    def now(self) -> int:
        """Bytes. Memory files count whole, whether they are mapped or not; they would not show in the resident memory."""
        return int(self._process.memory_info().rss) + self.memory_files()

    def memory_files(self) -> int:
        sizes = {}
        for entry in list(self._folder.iterdir()):
            try:
                if str(entry.readlink()).startswith("/memfd:"):
                    status = entry.stat()
                    sizes[status.st_ino] = status.st_blocks * 512
            except OSError:
                continue  # closed meanwhile
        return sum(sizes.values())

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._sample)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _sample(self) -> None:
        while not self._over.wait(0.02):
            self.peak = max(self.peak, self.now())


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return looped(telephone_call(), tmp_path_factory.mktemp("hour") / "hour.mp3", 3600, "-b:a", "133k", "-ar", "44100")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("appliance"), env={"APPLIANCE_DEFAULT_MODEL": "whisper-tiny.en"}) as appliance:
        yield appliance


def test_an_hour_of_mp3(served: Served, hour: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hour.stat().st_size == pytest.approx(60e6, rel=0.05)
    with served.client(timeout_s=1700) as client:
        warm_up(served)
        watch = Watch(served)
        idle = watch.now()
        with watch.watching(), hour.open("rb") as file:
            answer = client.post("/v1/transcribe", files={"file": ("hour.mp3", file)}, data={"diarize": "false"})
        answer.raise_for_status()
        after = settle(watch, idle)
        peak_mib, after_mib = (watch.peak - idle) / MIB, (after - idle) / MIB
        with capsys.disabled():
            print(f"\nan hour of MP3: peak {peak_mib:.0f} MiB above idle ({idle / MIB:.0f} MiB), {after_mib:.0f} MiB after")
        assert answer.json()["duration"] == pytest.approx(3600, abs=1)
        assert answer.json()["text"].count("Jersey") > 100
        assert peak_mib <= LIMIT_MIB
        assert watch.memory_files() == 0
        assert after_mib <= 40, "the process did not come back to what it held when idle"


def warm_up(served: Served) -> None:
    """What the first request of all leaves behind (caches, buffers) belongs to idle."""
    with served.client() as client, telephone_call().open("rb") as file:
        client.post("/v1/transcribe", files={"file": ("call.wav", file)}, data={"diarize": "false"}).raise_for_status()


def settle(watch: Watch, idle: int) -> int:
    deadline = time.monotonic() + 10
    while watch.now() > idle and time.monotonic() < deadline:
        time.sleep(0.1)
    return watch.now()
