"""A whole set of jobs on real memory, a real decoder, a real store and real worker processes; only the engine is a stand-in."""

from __future__ import annotations

import asyncio
import hashlib
import io
import math
import os
import struct
import wave
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from appliance.audio.memory import MemoryBudget, MemoryFile
from appliance.audio.upload import Upload
from appliance.catalogue import Model, Shelf
from appliance.domain import TranscribeOptions
from appliance.engine.gpu import CPU, DeviceChoice
from appliance.engine.pool import WorkerPool
from appliance.engine.protocol import Role
from appliance.engine.supervisor import Patience
from appliance.errors import ModelNotInstalled, UnknownModel
from appliance.jobs import Job, Jobs, Submission
from appliance.settings import Settings
from appliance.store import Store
from tests.engine.fake import write_script

FAKE = "tests.engine.fake:engine"
MODEL = Model(
    id="fake",
    name="Fake",
    description="",
    kind="recognition",
    backend="whisper",
    licence="MIT",
    memory_bytes=1,
    files=(),
    sources=(),
)


class FakeShelf(Shelf):
    """Models are folders with a script of the stand-in engine. "speaker-diarization" is there when it was written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def resolve(self, name: str, default: str, aliases: Mapping[str, str]) -> Model:
        if not (self._folder / name).exists():
            raise UnknownModel(name, [path.name for path in self._folder.iterdir()])
        return replace(MODEL, id=name)

    def path(self, model_id: str) -> Path:
        if not (self._folder / model_id).exists():
            raise ModelNotInstalled(model_id)
        return self._folder / model_id


@dataclass
class Bench:
    jobs: Jobs
    store: Store
    pool: WorkerPool
    budget: MemoryBudget
    models: Path

    def model(self, name: str = "fake", **script: Any) -> str:
        write_script(self.models / name, **script)
        return name

    def upload(self, seconds: float = 1.0, *, hertz: float = 440.0, channels: int = 1) -> Upload:
        return upload_of(tone(seconds, hertz, channels), "tone.wav", self.budget)

    def submission(self, upload: Upload | None = None, *, model: str = "fake", **more: Any) -> Submission:
        """`options` may be given by their fields: diarize, channels, …"""
        fields = {name: more.pop(name) for name in TranscribeOptions.__struct_fields__ if name in more}
        return Submission(upload or self.upload(), TranscribeOptions(model=model, **fields), owner="key_1", **more)

    async def submit(self, upload: Upload | None = None, **more: Any) -> Job:
        return await self.jobs.submit(self.submission(upload, **more))

    async def until_begun(self, job: Job) -> None:
        """Until its recognition has told something."""
        async for event in self.jobs.subscribe(job):
            if type(event).__name__ == "SegmentsEvent":
                return
        raise AssertionError(f"it ended before it began: {job.error}")

    def pid(self, role: Role) -> int | None:
        return next(status.pid for status in self.pool.status() if status.role is role)


class Shared:
    """One loop and one pool for all quick tests: starting processes is what takes their time."""

    runner: asyncio.Runner | None = None
    pool: WorkerPool | None = None

    @classmethod
    async def get_pool(cls) -> WorkerPool:
        if cls.pool is None:
            cls.pool = make_pool()
            await cls.pool.start()
        return cls.pool

    @classmethod
    def get_runner(cls) -> asyncio.Runner:
        cls.runner = cls.runner or asyncio.Runner()
        return cls.runner

    @classmethod
    def close(cls) -> None:
        if cls.runner and cls.pool:
            cls.runner.run(cls.pool.stop())
        if cls.runner:
            cls.runner.close()
        cls.runner = cls.pool = None


def make_pool(recognizer: str = FAKE, diarizer: str = FAKE) -> WorkerPool:
    patience = Patience(start_s=30.0, silence_s=30.0, longest_pause_s=0.05)
    settings: dict[str, Any] = {}
    backends = {Role.RECOGNIZE: recognizer, Role.DIARIZE: diarizer}
    return WorkerPool(Settings(**settings), DeviceChoice((CPU,), "a test"), backends=backends, patience=patience)


@asynccontextmanager
async def bench(folder: Path, *, diarizer: str = FAKE, budget_bytes: int = 64 * 2**20, **settings: Any) -> AsyncIterator[Bench]:
    """After it no byte of audio is held. Another diarizer means a pool of its own."""
    models = folder / "models"
    models.mkdir(exist_ok=True)
    known = Settings(data_dir=folder, models_dir=models, default_model="fake", memory_budget_bytes=budget_bytes, **settings)
    store = await Store.open(folder / "appliance.db")
    pool = await Shared.get_pool() if diarizer == FAKE else make_pool(diarizer=diarizer)
    budget = MemoryBudget(known.memory_budget_bytes)
    jobs = Jobs(known, store, pool, FakeShelf(models), budget)
    try:
        if pool is not Shared.pool:
            await pool.start()
        await jobs.start()
        yield Bench(jobs, store, pool, budget, models)
    finally:
        await jobs.stop()
        if pool is not Shared.pool:
            await pool.stop()
        await store.close()
    assert budget.used_bytes == 0


def upload_of(content: bytes, filename: str, budget: MemoryBudget) -> Upload:
    file = MemoryFile.create("upload", budget)
    file.write(content)
    file.seal()
    return Upload(file, filename, "application/octet-stream", len(content), hashlib.sha256(content).hexdigest())


def run(test: Coroutine[Any, Any, None], within_s: float = 60.0) -> None:
    """Run a test; no audio and no other file descriptor of it may be left."""

    async def watched() -> None:
        pool = await Shared.get_pool()
        pool.prepare(Role.DIARIZE)
        await pool.settled()
        before = _descriptors()
        async with asyncio.timeout(within_s):
            await test
        await pool.settled()
        assert _descriptors() == before

    Shared.get_runner().run(watched())


def _descriptors() -> Counter[str]:
    """What this process has open, by kind: sockets and pipes are counted, files named."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:  # of the listing itself
            continue
    return Counter(path.partition(":[")[0] for path in found if not path.startswith("/proc/"))


def tone(seconds: float, hertz: float, channels: int) -> bytes:
    """A WAV file, 16 kHz."""
    samples = [round(8000 * math.sin(2 * math.pi * hertz * n / 16_000)) for n in range(round(seconds * 16_000))]
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(b"".join(struct.pack("<h", sample) * channels for sample in samples))
    return buffer.getvalue()
