"""A release that does not load the first time is rolled back by itself, whoever switched to it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from appliance.catalogue import Model
from appliance.engine.pool import WorkerDied
from appliance.errors import ApplianceError, DeviceOutOfMemory, DeviceUnavailable, ModelDamaged
from appliance.store import Store
from appliance.updates.first_use import first_use, keep_warm
from tests.updates.making import Maker, Site

pytestmark = pytest.mark.anyio


class Engine:
    """Loads what it is told to, except some releases."""

    def __init__(self, refuses: dict[int, Exception]) -> None:
        self.refuses = refuses
        self.loaded: list[int] = []
        self.changed = asyncio.Event()
        self.cold = False

    def is_cold(self, model_dir: Path) -> bool:
        return self.cold

    async def load(self, folder: Path) -> None:
        seed = int((folder / "vocabulary.txt").read_text().split()[1])
        if seed in self.refuses:
            raise self.refuses[seed]
        self.loaded.append(seed)
        self.cold = False
        self.changed.set()


@pytest.fixture
async def store(tmp_path: Path) -> Store:
    return await Store.open(tmp_path / "appliance.db")


def default_of(site: Site) -> Model:
    return site.shelf.resolve("tiny", "tiny", {})


async def use(site: Site, store: Store, engine: Engine) -> None:
    await first_use(site.shelf, site.releases, store.audit, lambda: default_of(site), engine)


@pytest.mark.parametrize(
    "error", [WorkerDied("signal 11"), DeviceOutOfMemory(), ModelDamaged("tiny", "model.bin"), ApplianceError("it cannot be read")]
)
async def test_a_new_release_that_does_not_load_is_given_up(site: Site, maker: Maker, store: Store, error: Exception) -> None:
    maker.release(2)
    site.take(maker.tar())
    await use(site, store, engine := Engine({2: error}))
    assert site.serves() == 1
    assert [(kept.record.version, kept.failed) for kept in site.releases.kept()] == [(2, True), (1, False)]
    await use(site, store, engine)
    assert engine.loaded == [1]
    await store.close()


async def test_one_that_has_served_is_not_blamed_for_later_faults(site: Site, store: Store) -> None:
    await use(site, store, engine := Engine({}))
    engine.refuses[1] = DeviceOutOfMemory()
    await use(site, store, engine)
    assert site.serves() == 1
    await store.close()


async def test_an_engine_that_does_not_work_at_all_is_no_fault_of_the_release(site: Site, maker: Maker, store: Store) -> None:
    maker.release(2)
    site.take(maker.tar())
    await use(site, store, Engine({2: DeviceUnavailable("No GPU.", "")}))
    assert site.serves() == 2
    await store.close()


async def test_a_worker_that_was_restarted_gets_the_model_again(site: Site, store: Store) -> None:
    engine = Engine({})
    watching = asyncio.create_task(keep_warm(site.shelf, store.audit, lambda: default_of(site), engine, look_s=0.01))
    async with asyncio.timeout(20):
        for _ in range(2):
            await engine.changed.wait()
            engine.changed.clear()
            engine.cold = True
        await engine.changed.wait()
    watching.cancel()
    await asyncio.wait({watching})
    assert engine.loaded == [1, 1, 1]
    await store.close()


async def test_a_model_that_a_new_worker_dies_of_is_not_brought_to_the_next(
    site: Site, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine({})
    watching = asyncio.create_task(keep_warm(site.shelf, store.audit, lambda: default_of(site), engine, look_s=0.01))
    async with asyncio.timeout(20):
        await engine.changed.wait()
        engine.refuses[1] = WorkerDied("signal 11")
        engine.cold = True
        while "not ready" not in caplog.text:  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    watching.cancel()
    await asyncio.wait({watching})
    assert caplog.text.count("not ready") == 1
    assert site.serves() == 1, "it has served before: nothing is rolled back"
    await store.close()


async def test_a_running_appliance_notices_a_switch_and_goes_back_by_itself(site: Site, maker: Maker, store: Store) -> None:
    engine = Engine({3: WorkerDied("signal 6")})
    watching = asyncio.create_task(keep_warm(site.shelf, store.audit, lambda: default_of(site), engine, look_s=0.01))
    async with asyncio.timeout(20):
        for seed in (2, 3):
            await engine.changed.wait()
            engine.changed.clear()
            maker.release(seed)
            await asyncio.to_thread(site.take, maker.tar())
        await engine.changed.wait()
    assert engine.loaded == [1, 2, 2], "3 did not load"
    assert site.serves() == 2
    watching.cancel()
    await asyncio.wait({watching})
    await store.close()
