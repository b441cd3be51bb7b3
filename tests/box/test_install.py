"""install.sh verifies first, explains each refusal, and can be run again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.box.conftest import IMAGE, OLD_IMAGE, Bundle, Engine, Server, fingerprint_of, make_bundle, make_engine
from tests.updates.making import Maker

pytestmark = pytest.mark.slow


def refused(server: Server, bundle: Bundle, *options: str) -> str:
    """Its words; nothing was loaded and nothing started."""
    run = server.trusting(bundle, *options)
    assert run.returncode == 1, run.stdout
    assert run.stderr.startswith("Stopped: ")
    assert "\n  → " in run.stderr
    assert "compose" not in "".join(re.findall("^.* up .*$", server.engine.calls, re.M))
    assert "load" not in server.engine.calls
    return run.stderr


def test_an_empty_folder_becomes_an_installation(server: Server, bundle: Bundle) -> None:
    run = server.trusting(bundle, "--name", "transcripts.example.org", "--name", "10.0.0.5", "--port", "8443")
    assert run.returncode == 0, run.stderr
    assert "https://transcripts.example.org:8443" in run.stdout
    settings = (server.to / ".env").read_text()
    assert 'APPLIANCE_TLS_NAMES=\'["transcripts.example.org", "10.0.0.5"]\'' in settings
    assert f"APPLIANCE_IMAGE='{IMAGE}'" in settings
    assert (server.engine.folder / "loaded.tar").read_bytes() == (server.engine.folder / "archive.tar").read_bytes()
    assert "up -d --wait" in server.engine.calls
    assert (server.to / "docs").is_dir()


def test_a_changed_file_is_named(server: Server, bundle: Bundle) -> None:
    (bundle.folder / "compose.yml").write_text("services: {}\n")
    assert "compose.yml is damaged or was changed" in refused(server, bundle)


def test_a_changed_part_of_the_image_is_named(server: Server, bundle: Bundle) -> None:
    part = bundle.file("models.tar.part-001")
    content = bytearray(part.read_bytes())
    content[100] ^= 1
    part.write_bytes(content)
    assert "models.tar.part-001 is damaged" in refused(server, bundle)


def test_a_missing_part_is_named(server: Server, bundle: Bundle) -> None:
    bundle.file("models.tar.part-001").unlink()
    assert "missing: models.tar.part-001." in refused(server, bundle)


def test_changed_checksums_do_not_fit_the_signature(server: Server, bundle: Bundle) -> None:
    sums = bundle.folder / "SHA256SUMS"
    sums.write_text(sums.read_text().replace("a", "b"))
    assert "the signature does not fit" in refused(server, bundle)


def test_a_file_of_the_signature_that_is_missing_is_named(server: Server, bundle: Bundle) -> None:
    (bundle.folder / "SHA256SUMS.sig").unlink()
    assert "SHA256SUMS.sig is missing" in refused(server, bundle)


def test_a_bundle_signed_by_somebody_else_is_refused(server: Server, bundle: Bundle, tmp_path: Path) -> None:
    """Whole and consistent, with its own key beside it: only the fingerprint gives it away."""
    stranger = make_engine(tmp_path / "stranger")
    assert make_bundle(stranger, tmp_path / "forged").returncode == 0
    forged = Bundle(tmp_path / "forged", bundle.fingerprint)
    assert f"is signed by {fingerprint_of(stranger)}, not by {bundle.fingerprint}" in refused(server, forged)


def test_the_key_of_the_first_installation_is_the_one_that_is_trusted(server: Server, bundle: Bundle, tmp_path: Path) -> None:
    assert server.trusting(bundle).returncode == 0
    stranger = make_engine(tmp_path / "stranger")
    assert make_bundle(stranger, tmp_path / "forged").returncode == 0
    run = server.install(Bundle(tmp_path / "forged", ""), "--fingerprint", fingerprint_of(stranger))
    assert run.returncode == 1
    assert "not by the key this server trusts" in run.stderr


def test_without_a_fingerprint_and_without_anybody_to_ask_nothing_is_trusted(server: Server, bundle: Bundle) -> None:
    run = server.install(bundle)
    assert run.returncode == 1
    assert "nobody has said whose key to trust" in run.stderr


def test_a_server_without_docker_is_told_so(server: Server, bundle: Bundle, tmp_path: Path) -> None:
    programs = tmp_path / "few"
    programs.mkdir()
    for folder in ("/bin", "/usr/bin"):
        for program in Path(folder).iterdir():
            if program.name not in ("docker", "podman") and not (programs / program.name).exists():
                (programs / program.name).symlink_to(program)
    server.engine.path = str(programs)
    assert "Docker is not installed" in refused(server, bundle)


def test_an_engine_that_does_not_answer_is_told_from_none(server: Server, bundle: Bundle) -> None:
    server.engine.fail_once("version")
    assert "no Docker engine answers" in refused(server, bundle)


def test_too_little_disk_says_how_much_is_needed(server: Server, bundle: Bundle, tmp_path: Path) -> None:
    vendor = make_engine(tmp_path / "vendor")
    (vendor.folder / "size").write_text("900000000000000")
    assert make_bundle(vendor, tmp_path / "huge").returncode == 0
    words = refused(server, Bundle(tmp_path / "huge", fingerprint_of(vendor)))
    assert re.search(r"\d+ GB are free in .*, 1800001 GB are needed", words), words


def test_a_gpu_that_is_asked_for_and_not_there_is_refused(server: Server, bundle: Bundle) -> None:
    words = refused(server, bundle, "--profile", "gpu")
    assert "NVIDIA driver" in words
    assert "--profile cpu" in words


@pytest.mark.parametrize("step", ["load", "run", "compose-up"])
def test_a_second_run_goes_on_where_the_first_failed(server: Server, bundle: Bundle, step: str) -> None:
    server.engine.fail_once(step)
    first = server.trusting(bundle)
    assert first.returncode == 1
    assert "Stopped: " in first.stderr
    second = server.trusting(bundle)
    assert second.returncode == 0, second.stderr
    assert server.engine.calls.count("load ") == (2 if step == "load" else 1) or "already" in second.stdout
    assert (server.engine.folder / "models.tar").stat().st_size > 0


def test_what_an_operator_changed_stays(server: Server, bundle: Bundle) -> None:
    assert server.trusting(bundle, "--memory", "20g").returncode == 0
    (server.to / "settings.env").write_text("APPLIANCE_LOG_LEVEL=debug\n")
    again = server.install(bundle)
    assert again.returncode == 0, again.stderr
    assert "APPLIANCE_MEMORY='20g'" in (server.to / ".env").read_text()
    assert (server.to / "settings.env").read_text() == "APPLIANCE_LOG_LEVEL=debug\n"


def test_the_folders_that_the_container_sees_are_made_once_and_then_the_operators(server: Server, bundle: Bundle) -> None:
    """A stick may be mounted at one of them, whose mode nobody can set."""
    assert server.trusting(bundle).returncode == 0
    modes = {"bundles": 0o755, "files": 0o750}
    assert {name: (server.to / name).stat().st_mode & 0o777 for name in modes} == modes
    for name in modes:
        (server.to / name).chmod(0o711)
    assert server.install(bundle).returncode == 0
    assert {name: (server.to / name).stat().st_mode & 0o777 for name in modes} == dict.fromkeys(modes, 0o711)
    assert ':/files:ro"' in (server.to / "appliance").read_text()  # settings may name files there, for a backup too


def test_a_roll_back_starts_the_image_before(server: Server, bundle: Bundle) -> None:
    assert server.trusting(bundle).returncode == 0
    assert "nothing to go back to" in server.install(bundle, "--roll-back").stderr
    (server.to / "state/previous_image").write_text(OLD_IMAGE)
    (server.engine.folder / OLD_IMAGE).touch()
    run = server.install(bundle, "--roll-back")
    assert run.returncode == 0, run.stderr
    assert f"APPLIANCE_IMAGE='{OLD_IMAGE}'" in (server.to / ".env").read_text()


def test_a_delta_needs_the_version_it_was_made_from(server: Server, engine: Engine, tmp_path: Path) -> None:
    vendor = make_engine(tmp_path / "vendor")
    made = make_bundle(vendor, tmp_path / "delta", "--delta-from", OLD_IMAGE)
    assert made.returncode == 0, made.stderr
    delta = Bundle(tmp_path / "delta", fingerprint_of(vendor))
    assert f"only what changed since {OLD_IMAGE}, which is not here" in refused(server, delta)
    (engine.folder / OLD_IMAGE).touch()
    assert server.trusting(delta).returncode == 0
    assert b"code" in (engine.folder / "loaded.tar").read_bytes()
    assert b"packages" not in (engine.folder / "loaded.tar").read_bytes()


def test_an_upgrade_backs_up_first_where_it_may(server: Server, bundle: Bundle) -> None:
    assert server.trusting(bundle).returncode == 0
    settings = server.to / ".env"
    settings.write_text(settings.read_text().replace(IMAGE, OLD_IMAGE))
    assert "no backup is made before this upgrade" in server.install(bundle).stdout
    settings.write_text(settings.read_text().replace(IMAGE, OLD_IMAGE))
    (server.to / "settings.env").write_text("APPLIANCE_BACKUP_RECIPIENTS='[\"age1x\"]'\n")
    run = server.install(bundle)
    assert run.returncode == 0, run.stderr
    backup, start = server.engine.calls.index("backup create /backups"), server.engine.calls.rindex("up -d --wait")
    assert backup < start
    assert (server.to / "state/previous_image").read_text().strip() == OLD_IMAGE


def test_a_signed_bundle_of_models_is_imported_by_the_appliance_once(server: Server, tmp_path: Path) -> None:
    """Not a second time: the site may have newer models by then, and the appliance would refuse these as older."""
    maker = Maker(tmp_path / "maker")
    maker.release(1)
    models = maker.tar()
    vendor = make_engine(tmp_path / "vendor")
    made = make_bundle(vendor, tmp_path / "stick", "--split", "5000", "--models", str(models))
    assert made.returncode == 0, made.stderr
    stick = Bundle(tmp_path / "stick", fingerprint_of(vendor))
    server.engine.fail_once("exec")
    assert "the models were not imported" in server.trusting(stick).stderr
    assert server.trusting(stick).returncode == 0
    assert (server.engine.folder / "imported.tar").read_bytes() == models.read_bytes()
    again = server.install(stick)
    assert "The models were imported already." in again.stdout
    assert server.engine.calls.count("models import -") == 2  # the one that failed, and the one that did not


def test_a_licence_is_installed_once(server: Server, tmp_path: Path) -> None:
    """By a later run the site may have a newer one, beside which this would be refused."""
    (tmp_path / "licence.json").write_text("{}")
    vendor = make_engine(tmp_path / "vendor")
    assert make_bundle(vendor, tmp_path / "stick", "--licence", str(tmp_path / "licence.json")).returncode == 0
    stick = Bundle(tmp_path / "stick", fingerprint_of(vendor))
    server.engine.fail_once("exec")
    assert "the licence was not installed" in server.trusting(stick).stderr
    assert server.trusting(stick).returncode == 0
    assert "The licence was installed already." in server.install(stick).stdout
    assert server.engine.calls.count("licence install") == 2
