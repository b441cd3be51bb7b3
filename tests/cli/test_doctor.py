"""The doctor's verdicts, on machines made of a few files where this one cannot show the case."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from appliance.cli import checks
from appliance.cli.checks import available_memory_bytes, judge_swap
from appliance.cli.doctor import app, conclusion, describe
from appliance.cli.findings import Finding, Verdict
from appliance.errors import StartRefused
from appliance.settings import Settings
from tests.tls.live import live

SWAPS = "Filename Type Size Used Priority\n"
MakeSettings = Callable[..., Settings]


@pytest.fixture
def settings(tmp_path: Path) -> MakeSettings:
    def make(**changes: object) -> Settings:
        return Settings(**{"data_dir": tmp_path / "data", "models_dir": tmp_path / "models", "device": "cpu", "port": 0, **changes})  # type: ignore[arg-type]

    return make


def machine(root: Path, swaps: str, *, swap_max: str | None = None, crypt: str | None = None) -> Finding:
    for folder in ("proc", "block/dm-1/dm", "cgroup"):
        (root / folder).mkdir(parents=True)
    (root / "proc/swaps").write_text(SWAPS + swaps)
    if swap_max is not None:
        (root / "cgroup/memory.swap.max").write_text(swap_max)
    if crypt is not None:
        (root / "block/dm-1/dm/uuid").write_text(crypt)
    return judge_swap(root / "proc", root / "block", root / "cgroup")


def test_unencrypted_swap_is_warned_of(tmp_path: Path) -> None:
    """TRAPS 7."""
    finding = machine(tmp_path, "/dev/sda3 partition 8388604 0 -2\n")
    assert finding.verdict is Verdict.WARNING
    assert "/dev/sda3" in finding.says
    assert "swapoff" in finding.remedy


def test_a_volume_that_is_not_encrypted_is_no_better(tmp_path: Path) -> None:
    assert machine(tmp_path, "/dev/dm-1 partition 8388604 0 -2\n", crypt="LVM-abc").verdict is Verdict.WARNING


@pytest.mark.parametrize(
    ("swaps", "swap_max", "crypt"),
    [("", None, None), ("/dev/sda3 partition 1 0 -2\n", "0", None), ("/dev/dm-1 partition 1 0 -2\n", None, "CRYPT-LUKS2-abc")],
)
def test_no_swap_a_container_without_it_and_encryption_are_fine(
    tmp_path: Path, swaps: str, swap_max: str | None, crypt: str | None
) -> None:
    assert machine(tmp_path, swaps, swap_max=swap_max, crypt=crypt).verdict is Verdict.FINE


def test_swap_in_compressed_memory_is_fine(tmp_path: Path) -> None:
    assert machine(tmp_path, "/dev/zram0 partition 1 0 100\n").verdict is Verdict.FINE


def test_a_container_has_the_memory_of_its_limit(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n")
    assert available_memory_bytes(tmp_path, tmp_path / "none") == 8_000_000 * 1024
    (tmp_path / "memory.max").write_text("1000000000\n")
    (tmp_path / "memory.current").write_text("400000000\n")
    assert available_memory_bytes(tmp_path, tmp_path) == 600_000_000


def test_an_older_kernel_tells_the_limits_of_a_container_too(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n")
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.limit_in_bytes").write_text("1000000000\n")
    (tmp_path / "memory/memory.usage_in_bytes").write_text("300000000\n")
    assert available_memory_bytes(tmp_path, tmp_path) == 700_000_000
    (tmp_path / "swaps").write_text(f"{SWAPS}/dev/sda3 partition 1 0 -2\n")
    (tmp_path / "memory/memory.memsw.limit_in_bytes").write_text("2000000000\n")
    assert judge_swap(tmp_path, tmp_path, tmp_path).verdict is Verdict.WARNING
    (tmp_path / "memory/memory.memsw.limit_in_bytes").write_text("1000000000\n")
    assert judge_swap(tmp_path, tmp_path, tmp_path).verdict is Verdict.FINE


def test_a_taken_port_blocks_and_says_so(settings: MakeSettings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        (finding,) = checks.check_port(settings(port=taken.getsockname()[1]))
    assert finding.verdict is Verdict.BLOCKS
    assert "Address already in use" in finding.says


@pytest.mark.slow
@pytest.mark.parametrize("tls", ["builtin", "off"])
def test_the_appliance_itself_may_have_the_port(settings: MakeSettings, tls: str) -> None:
    """Its certificate is of an authority that nobody trusts yet."""
    with live(settings(tls=tls)) as running:
        (finding,) = checks.check_port(settings(port=running.port))
    assert finding == Finding("port", Verdict.FINE, f"An appliance is running on 127.0.0.1:{running.port}.")


def test_a_missing_model_blocks_and_names_the_command(settings: MakeSettings) -> None:
    default, diarization = checks.check_models(settings())
    assert (default.verdict, diarization.verdict) == (Verdict.BLOCKS, Verdict.WARNING)
    assert "appliance models fetch" in default.remedy


def test_a_gpu_that_is_asked_for_and_not_there_blocks(settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "choose_device", _refuse)
    (finding,) = checks.check_device(settings(device="cuda"))
    assert finding.verdict is Verdict.BLOCKS


def _refuse(setting: str) -> None:
    raise StartRefused(f"'{setting}' is not there.", "Set APPLIANCE_DEVICE=cpu.")


def test_the_sandbox_is_tried_for_real(settings: MakeSettings) -> None:
    (finding,) = checks.check_sandbox(settings())
    assert finding.verdict in (Verdict.FINE, Verdict.NOTE), finding.says


def test_a_sandbox_that_lets_a_file_be_opened_blocks(settings: MakeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "SANDBOX_TRIAL", "import sys; sys.exit('a file could be opened in it')")
    (finding,) = checks.check_sandbox(settings())
    assert finding.verdict is Verdict.BLOCKS
    assert "a file could be opened" in finding.says


def test_this_sqlite_is_new_enough(settings: MakeSettings) -> None:
    """TRAPS 23."""
    (finding,) = checks.check_database(settings())
    assert finding.verdict is Verdict.FINE


def test_the_exit_status_says_whether_something_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fine = Finding(point="a", verdict=Verdict.WARNING, says="It works.")
    bad = Finding(point="b", verdict=Verdict.BLOCKS, says="It does not.", remedy="Do this.")
    monkeypatch.setattr("appliance.cli.doctor.EVERYTHING", (lambda _: [fine],))
    assert CliRunner().invoke(app, []).exit_code == 0
    monkeypatch.setattr("appliance.cli.doctor.EVERYTHING", (lambda _: [fine], lambda _: [bad]))
    shown, data = CliRunner().invoke(app, []), CliRunner().invoke(app, ["--json"])
    assert (shown.exit_code, data.exit_code) == (1, 1)
    assert "→ Do this." in shown.stdout
    assert json.loads(data.stdout)[1] == {"point": "b", "verdict": "blocks", "says": "It does not.", "remedy": "Do this."}


def test_verdicts_read_plainly() -> None:
    finding = Finding(point="swap", verdict=Verdict.WARNING, says="It swaps.", remedy="Stop it.")
    assert describe(finding).splitlines() == ["! swap        It swaps.", "              → Stop it."]
    assert conclusion([finding]) == "Fit, with 1 warning (!)."
