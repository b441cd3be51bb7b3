from __future__ import annotations

from pathlib import Path

import pytest

from tests.updates.making import Maker, Site


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    """The vendor, with a first release."""
    maker = Maker(tmp_path / "maker")
    maker.release(1)
    return maker


@pytest.fixture
def site(tmp_path: Path, maker: Maker) -> Site:
    """A site that serves release 1."""
    site = Site(tmp_path / "site", maker.anchor)
    site.take(maker.tar("first"))
    assert site.serves() == 1
    return site
