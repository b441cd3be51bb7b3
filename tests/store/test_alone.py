"""Only one appliance at a time has a data folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import StartRefused
from appliance.store import held_alone


def test_a_second_appliance_is_refused_until_the_first_is_gone(path: Path) -> None:
    with held_alone(path):
        with pytest.raises(StartRefused, match="Another appliance uses this data folder"), held_alone(path):
            pass
        assert path.parent.stat().st_mode & 0o777 == 0o700
    with held_alone(path):
        pass


def test_the_lock_does_not_make_the_folder_somebody_elses(path: Path) -> None:
    """The next start still takes the folder for the appliance's own, and closes it to others."""
    with held_alone(path):
        path.parent.chmod(0o755)
    with held_alone(path):
        assert path.parent.stat().st_mode & 0o777 == 0o700
