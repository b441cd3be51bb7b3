"""One real directory and one real provider for all tests here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.identity.directory import Slapd, slapd, write_certificates
from tests.identity.provider import Provider, provider


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd(tmp_path_factory.mktemp("slapd")) as running:
        yield running


@pytest.fixture(scope="session")
def shared_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with provider(tmp_path_factory.mktemp("provider")) as running:
        yield running


@pytest.fixture
def honest(shared_provider: Provider) -> Iterator[Provider]:
    """Honest until the test bends it, and honest again afterwards."""
    yield shared_provider
    shared_provider.bend()


@pytest.fixture(scope="session")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    folder = tmp_path_factory.mktemp("encrypted")
    write_certificates(folder)
    with provider(folder) as running:
        yield running
