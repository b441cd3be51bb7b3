"""What the metrics add up."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.domain import JobState
from appliance.errors import LanguageUnsupported
from tests.jobs.bench import bench, run


def test_audio_counts_as_received_also_where_its_job_failed(tmp_path: Path) -> None:
    async def test() -> None:
        async with bench(tmp_path) as b:
            b.model(misfortune="error")
            with pytest.raises(LanguageUnsupported):
                await b.jobs.wait(await b.submit())
            b.model("sound")
            await b.jobs.wait(await b.submit(b.upload(seconds=2.0), model="sound"))
            known = b.jobs.snapshot()
        assert (known.ended[JobState.FAILED], known.ended[JobState.COMPLETED]) == (1, 1)
        assert (known.received_s, known.audio_s) == (3.0, 2.0)

    run(test())
