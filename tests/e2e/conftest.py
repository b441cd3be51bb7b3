"""One appliance with real models for all end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.served import Served, serve


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("appliance")) as appliance:
        yield appliance
