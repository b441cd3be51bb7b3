"""A site on the real store and real files, with a clock and GPUs of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from appliance.engine.gpu import Gpu
from appliance.licensing import Licensing, Reading
from appliance.store import Entry, Store
from tests.licence.making import START, TRUSTED

DAY = timedelta(days=1)
GPU_A = "GPU-a"


def gpu(uuid: str, index: int = 0) -> Gpu:
    return Gpu(index=index, uuid=uuid, name="H200", memory_total_bytes=2**37, memory_used_bytes=0, compute_capability=(9, 0))


@dataclass
class Site:
    """Opened again and again, as restarts of the appliance do."""

    data_dir: Path
    wall_at: datetime = START
    running: timedelta = timedelta(hours=1)
    boot_id: str = "first"
    gpus: tuple[Gpu, ...] = (gpu(GPU_A),)
    mounted: Path | None = None
    heard: list[Entry] = field(default_factory=list)  # the audit log as it was at the end

    def clock(self) -> Reading:
        return Reading(wall_at=self.wall_at, running_s=self.running.total_seconds(), boot_id=self.boot_id)

    def pass_time(self, span: timedelta) -> None:
        self.wall_at += span
        self.running += span

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Licensing]:
        store = await Store.open(self.data_dir / "appliance.db")
        try:
            licensing = await Licensing.open(store, self.data_dir, self.mounted, trusted=TRUSTED, clock=self.clock, gpus=self.gpus)
            await licensing.start()
            yield licensing
            await licensing.stop()
            self.heard = list(await store.audit.page())
        finally:
            await store.close()

    def events(self) -> list[str]:
        return [entry.event for entry in self.heard]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "data")
