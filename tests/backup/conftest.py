"""A store with a few transcripts, and a pair of keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.backup.keys import make_pair


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "appliance.db"


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The public key, and the file with the secret one."""
    public, lines = make_pair()
    file = tmp_path_factory.mktemp("keys") / "backup.key"
    file.write_text(lines)
    return public, file
