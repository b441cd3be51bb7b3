"""Reads the machine's clocks."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from appliance.licensing.mark import Reading

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_STARTED: Final = time.monotonic_ns()
LAST: Final = datetime.max.replace(tzinfo=UTC) - timedelta(days=365)


def read_clocks() -> Reading:
    return Reading(wall_at=_wall(), running_s=time.clock_gettime(time.CLOCK_BOOTTIME), boot_id=_boot_id())


def _wall() -> datetime:
    try:
        return min(datetime.now(UTC), LAST)
    except (OverflowError, ValueError):  # beyond the calendar
        return LAST


def _boot_id() -> str:
    """Where it cannot be read, every process counts as a start of its own."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return f"unknown {_STARTED}"
