"""Settings in a folder of their own, and a clock that can be turned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from appliance.settings import Settings
from tests.tls.makers import NOW

MakeSettings = Callable[..., Settings]


@pytest.fixture
def settings(tmp_path: Path) -> MakeSettings:
    return partial(settings_in, tmp_path)


def settings_in(folder: Path, **changes: Any) -> Settings:
    return Settings(data_dir=folder / "data", models_dir=folder / "models", device="cpu", **changes)


@dataclass
class Clock:
    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()
