"""What the measurement says, and that its clip is what it says."""

from __future__ import annotations

import av
import msgspec
import pytest
from typer.testing import CliRunner

from appliance.cli.bench import CLIP, Measurement, app, describe
from appliance.jobs import Timings

MEASURED = Measurement(
    clip="the built-in clip",
    model="whisper-base",
    device="CPU",
    machine="2 CPU cores, x86_64",
    audio_s=54.0,
    real_time_factor=0.125,
    runs=(0.14, 0.125),
    timings=Timings(audio_s=54.0, queued_s=0.0, total_s=6.75, decode_s=0.25, recognize_s=6.0),
    words=110,
)


def test_the_figure_comes_with_what_it_means() -> None:
    said = describe(MEASURED)
    assert "real-time factor 0.125" in said
    assert "8.0 times as fast as speech" in said
    assert "an hour takes about 7 min 30 s" in said
    assert "best of 2 (0.140, 0.125)" in said
    assert "reading 0.25 s, recognition 6.00 s; together 6.75 s" in said


def test_the_built_in_clip_is_54_seconds_of_sound() -> None:
    with av.open(str(CLIP)) as container:
        seconds = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert seconds == pytest.approx(53.9, abs=0.2)


@pytest.mark.engine
def test_this_machine_is_measured_on_the_whole_path() -> None:
    done = CliRunner().invoke(app, ["--json", "--runs", "1"])
    measured = msgspec.json.decode(done.stdout, type=Measurement)
    assert done.exit_code == 0
    assert 0 < measured.real_time_factor < 5
    assert 120 <= measured.words <= 138  # the sentences have 129
