"""A real store on a real file for every test."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.store import Store


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "appliance.db"


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrated once: that takes longer than most tests."""
    path = tmp_path_factory.mktemp("empty") / "appliance.db"

    async def make() -> None:
        await (await Store.open(path)).close()

    asyncio.run(make())
    return path


@pytest.fixture
async def store(path: Path, empty_database: Path, anyio_backend: str) -> AsyncIterator[Store]:
    path.parent.mkdir(mode=0o700)
    shutil.copy(empty_database, path)
    opened = await Store.open(path)
    yield opened
    await opened.close()
