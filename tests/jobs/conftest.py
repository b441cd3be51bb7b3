"""Ends what the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.jobs.bench import Shared


@pytest.fixture(scope="package", autouse=True)
def shared_pool() -> Iterator[None]:
    yield
    Shared.close()
