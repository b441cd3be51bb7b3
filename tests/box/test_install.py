"""install.sh verifies first, explains each refusal, and can be run again."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import msgspec
import pytest

from appliance.errors import UpdateExpired, UpdateOlder
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


def test_a_second_key_beside_the_vendors_is_refused(server: Server, bundle: Bundle, tmp_path: Path) -> None:
    """The fingerprint is the vendor's, and the stranger's key would verify."""
    stranger = make_engine(tmp_path / "stranger")
    assert make_bundle(stranger, tmp_path / "forged").returncode == 0
    forged = tmp_path / "forged/vendor.pub"
    options = forged.read_text().replace(" ", ' namespaces="appliance-bundle" ', 1)
    for second in (options, forged.read_text(), "\0"):
        forged.write_text((bundle.folder / "vendor.pub").read_text() + second)
        words = refused(server, Bundle(tmp_path / "forged", bundle.fingerprint))
        assert "vendor.pub is not one line with one key" in words


def test_only_what_is_signed_is_loaded(server: Server, bundle: Bundle) -> None:
    """Neither a whole archive beside signed parts, nor parts of an older bundle that had more of them."""
    for name in ("image.tar.zst", "image.tar.zst.part-777", "models.tar", "models.tar.part-777"):
        (bundle.folder / name).write_bytes(b"not signed")
    (bundle.folder / "docs/stranger.md").touch()
    (bundle.folder / "licence.json").write_text("{}")
    run = server.trusting(bundle)
    assert run.returncode == 0, run.stderr
    assert (server.engine.folder / "loaded.tar").read_bytes() == (server.engine.folder / "archive.tar").read_bytes()
    assert b"not signed" not in (server.engine.folder / "models.tar").read_bytes()
    assert not (server.to / "docs/stranger.md").exists()
    assert not (server.engine.folder / "licence.json").exists()


def test_what_the_archive_holds_must_be_what_the_bundle_says(server: Server, bundle: Bundle) -> None:
    (server.engine.folder / "new.layers").write_text("sha256:" + "e" * 64 + "\n")
    run = server.trusting(bundle)
    assert run.returncode == 1
    assert f"did not hold the image {IMAGE}" in run.stderr
    assert "compose up" not in server.engine.calls


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


def with_free_gb(server: Server, free_gb: float) -> None:
    server.engine.answer("df", f"echo Filesystem; echo disk 9 9 {int(free_gb * 1e9 / 1024)}")


def large_bundle(tmp_path: Path) -> Bundle:
    """Says, signed, that it holds 5 GB of models and an archive of 7 GB."""
    vendor = make_engine(tmp_path / "vendor")
    vendor.answer("wc", "if grep -aq weights; then echo 5000000000; else echo 7000000000; fi")
    made = make_bundle(vendor, tmp_path / "large")
    assert made.returncode == 0, made.stderr
    return Bundle(tmp_path / "large", fingerprint_of(vendor))


def test_too_little_disk_says_how_much_is_needed(server: Server, tmp_path: Path) -> None:
    large = large_bundle(tmp_path)
    with_free_gb(server, 18.9)
    assert "18 GB are free in" in (words := refused(server, large))
    assert "20 GB are needed" in words  # 5 of models, and twice the archive
    with_free_gb(server, 19.1)
    assert server.trusting(large).returncode == 0


def test_what_is_here_already_needs_no_disk(server: Server, tmp_path: Path) -> None:
    large = large_bundle(tmp_path)
    assert server.trusting(large).returncode == 0
    with_free_gb(server, 0.1)
    assert server.trusting(large).returncode == 0
    (server.engine.folder / "volume").unlink()
    assert "6 GB are needed" in server.trusting(large).stderr


@pytest.mark.parametrize(
    ("file", "version", "words"),
    [
        ("version", "20.10.24+dfsg1", "Docker 20.10.24+dfsg1 is too old"),
        ("compose-version", "v2.16.0", "Docker Compose v2.16.0 is too old"),
    ],
)
def test_an_engine_that_cannot_do_it_is_told_apart(server: Server, bundle: Bundle, file: str, version: str, words: str) -> None:
    (server.engine.folder / file).write_text(version)
    assert words in refused(server, bundle)


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


def image_of(server: Server) -> str:
    return (server.to / ".env").read_text().partition("APPLIANCE_IMAGE='")[2].partition("'")[0]


def test_a_roll_back_starts_the_image_before_however_often_it_is_said(server: Server, bundle: Bundle) -> None:
    assert server.trusting(bundle).returncode == 0
    assert "nothing to go back to" in server.install(bundle, "--roll-back").stderr
    (server.to / "state/previous_image").write_text(OLD_IMAGE)
    (server.engine.folder / OLD_IMAGE).touch()
    server.engine.fail_once("compose-up")
    assert server.install(bundle, "--roll-back").returncode == 1
    for _ in range(2):
        run = server.install(bundle, "--roll-back")
        assert run.returncode == 0, run.stderr
        assert image_of(server) == OLD_IMAGE


def build_again(engine: Engine) -> None:
    """The same version, with other packages below."""
    (engine.folder / "new.layers").write_text((engine.folder / f"{OLD_IMAGE}.layers").read_text() + "sha256:" + "d" * 64 + "\n")


def test_a_newer_build_of_the_same_version_is_an_upgrade_with_a_way_back(server: Server, bundle: Bundle, tmp_path: Path) -> None:
    assert server.trusting(bundle).returncode == 0
    before = (server.engine.folder / f"{IMAGE}.layers").read_text()
    (server.to / "settings.env").write_text('APPLIANCE_BACKUP_RECIPIENTS=["age1x"]\n')
    vendor = make_engine(tmp_path / "vendor")
    build_again(vendor)
    build_again(server.engine)
    (vendor.folder / f"{IMAGE}.layers").write_text((vendor.folder / "new.layers").read_text())
    made = make_bundle(vendor, tmp_path / "again")
    assert made.returncode == 0, made.stderr
    (server.to / "state/vendor.pub").unlink()
    again = Bundle(tmp_path / "again", fingerprint_of(vendor))
    server.engine.fail_once("load")
    assert server.trusting(again).returncode == 1
    run = server.trusting(again)
    assert run.returncode == 0, run.stderr
    assert server.engine.calls.index("backup create /backups") < server.engine.calls.rindex("load ")
    assert image_of(server) == IMAGE
    assert (server.engine.folder / f"{IMAGE}.layers").read_text() != before
    assert server.install(again, "--roll-back").returncode == 0
    assert image_of(server) != IMAGE
    assert (server.engine.folder / f"{image_of(server)}.layers").read_text() == before


def test_the_same_image_is_known_again_whatever_its_id_is_here(server: Server, bundle: Bundle) -> None:
    """Docker's two stores make it of different files."""
    (server.engine.folder / "store").write_text("other:")
    assert server.trusting(bundle).returncode == 0
    assert "is here already" in server.install(bundle).stdout
    assert server.engine.calls.count("load ") == 1


def test_another_profile_takes_the_place_of_the_one_that_runs(server: Server, bundle: Bundle) -> None:
    """Compose would leave its container, whose name the other one wants."""
    assert server.trusting(bundle).returncode == 0
    container = server.engine.folder / "container"
    container.write_text(container.read_text().replace("service=cpu", "service=gpu"))
    run = server.install(bundle)
    assert run.returncode == 0, run.stderr
    assert "service=cpu" in container.read_text()
    assert server.engine.calls.index("stop appliance") < server.engine.calls.index("rm -f appliance")


def test_a_container_of_that_name_that_somebody_made_by_hand_is_left_to_them(server: Server, bundle: Bundle) -> None:
    (server.engine.folder / "container").write_text("status=running\n")
    run = server.trusting(bundle)
    assert "the appliance did not start" in run.stderr
    assert "rm -f" not in server.engine.calls


def test_compose_is_called_where_the_files_lie_that_env_may_name(server: Server, bundle: Bundle) -> None:
    assert server.trusting(bundle).returncode == 0
    with (server.to / ".env").open("a") as settings:
        settings.write("COMPOSE_FILE=compose.yml:compose.outward.yml\n")
    assert server.install(bundle).returncode == 0
    assert "COMPOSE_FILE='compose.yml:compose.outward.yml'" in (server.to / ".env").read_text()
    calls = (server.engine.folder / "folders").read_text().splitlines()
    assert {call for call in calls if not call.startswith("compose-version")} == {f"compose-up {server.to}"}


def test_a_second_folder_over_the_same_data_is_refused(server: Server, bundle: Bundle) -> None:
    assert server.trusting(bundle).returncode == 0
    run = server.trusting(bundle, "--to", str(server.to.parent / "other"))
    assert f"is installed in {server.to}, not in {server.to.parent / 'other'}" in run.stderr
    assert not (server.to.parent / "other").exists()
    assert run.returncode == 1
    server.to.rename(server.to.parent / "moved")  # then it is nowhere else
    assert server.trusting(bundle, "--to", str(server.to.parent / "moved")).returncode == 0


def test_a_bundle_is_not_installed_over_itself(server: Server, bundle: Bundle) -> None:
    assert "a bundle must lie in a folder of its own" in refused(server, bundle, "--to", str(bundle.folder))


def test_the_certificate_is_for_addresses_on_the_lan_not_for_bridges_to_containers(server: Server, bundle: Bundle) -> None:
    server.engine.answer("hostname", '[ "$*" != -I ] || exit 0; echo box')
    addresses = {"eth0": "172.20.1.9/16", "docker0": "172.17.0.1/16", "br-0123456789ab": "172.18.0.1/16", "br0": "10.0.0.5/8"}
    lines = "\n".join(f"2: {name}    inet {address} scope global {name}" for name, address in addresses.items())
    server.engine.answer("ip", f"echo '{lines}'")
    assert server.trusting(bundle).returncode == 0
    assert 'APPLIANCE_TLS_NAMES=\'["10.0.0.5", "172.20.1.9", "box"]\'' in (server.to / ".env").read_text()


def command(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    return server.engine.run(server.to / "appliance", *words)


@pytest.mark.parametrize("status", ["running healthy", "restarting", None])
def test_a_command_runs_beside_an_appliance_that_is_not_up(server: Server, bundle: Bundle, status: str | None) -> None:
    assert server.trusting(bundle).returncode == 0
    settings = server.to / ".env"
    settings.write_text(settings.read_text().replace("COMPOSE_PROFILES='cpu'", "COMPOSE_PROFILES=cpu"))  # as people write it
    container = server.engine.folder / "container"
    container.unlink() if status is None else container.write_text(f"status={status}\n")
    for words, beside in (("doctor", "cpu"), ("support-bundle", "cpu"), ("people setup-link", "tool")):
        run = command(server, *words.split())
        assert run.returncode == 0, run.stderr
        last = server.engine.calls.splitlines()[-1]
        if status == "running healthy":
            assert last == f"exec -i appliance appliance {words}"
        else:
            assert last == f"compose run --rm --no-deps -T {beside} {words}"
            assert "What it said last: docker logs appliance" in run.stderr


def test_a_backup_always_runs_in_a_container_of_its_own(server: Server, bundle: Bundle) -> None:
    """By compose, which reads settings.env for the appliance as well."""
    assert server.trusting(bundle).returncode == 0
    assert command(server, "backup", "create", "/backups").returncode == 0
    assert server.engine.calls.splitlines()[-1] == "compose run --rm --no-deps -T tool backup create /backups"
    assert (server.engine.folder / "folders").read_text().splitlines()[-1] == f"compose-run {server.to}"


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
    assert f"the image {OLD_IMAGE} is no longer here" in server.install(bundle).stdout
    (server.engine.folder / OLD_IMAGE).touch()
    settings.write_text(settings.read_text().replace(IMAGE, OLD_IMAGE))
    assert "no backup is made before this upgrade" in server.install(bundle).stdout
    settings.write_text(settings.read_text().replace(IMAGE, OLD_IMAGE))
    (server.to / "settings.env").write_text("APPLIANCE_BACKUP_RECIPIENTS='[\"age1x\"]'\n")
    run = server.install(bundle)
    assert run.returncode == 0, run.stderr
    backup, start = server.engine.calls.index("backup create /backups"), server.engine.calls.rindex("up -d --wait")
    assert backup < start
    assert f"-f {bundle.folder}/compose.yml run" in server.engine.calls  # the one that is installed may know no such service
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
    (server.engine.folder / "licence.json").unlink()  # with the volume
    assert server.install(stick).returncode == 0
    assert (server.engine.folder / "licence.json").read_text() == "{}"


def test_models_are_brought_in_again_where_the_volume_was_lost(server: Server, bundle: Bundle) -> None:
    assert server.trusting(bundle).returncode == 0
    models = server.engine.folder / "models.tar"
    models.unlink()  # the volume was made anew meanwhile
    assert server.install(bundle).returncode == 0
    assert models.exists()
    assert "The models are here already." in server.install(bundle).stdout


REFUSALS = {"older": UpdateOlder("timestamp"), "expired": UpdateExpired("targets", "2026-01-01", "2027-01-01")}


@pytest.mark.parametrize("why", REFUSALS)
@pytest.mark.parametrize("in_use", [True, False])
def test_models_that_are_out_of_date_stop_an_upgrade_only_where_there_are_none(
    server: Server, tmp_path: Path, why: str, in_use: bool
) -> None:
    maker = Maker(tmp_path / "maker")
    maker.release(1)
    (tmp_path / "licence.json").write_text("{}")
    vendor = make_engine(tmp_path / "vendor")
    made = make_bundle(vendor, tmp_path / "stick", "--models", str(maker.tar()), "--licence", str(tmp_path / "licence.json"))
    assert made.returncode == 0, made.stderr
    refusal = f'echo "Error: {REFUSALS[why].message}" >&2; exit 1'
    releases = msgspec.json.encode([{"active": in_use}]).decode()
    server.engine.inside(
        f"""case "$*" in
            *"models import -") cat >/dev/null; {refusal} ;;
            *"models releases --json") echo '{releases}' ;;
            *"licence install"*) cat >"$ENGINE/licence.json" ;;
        esac"""
    )
    run = server.trusting(Bundle(tmp_path / "stick", fingerprint_of(vendor)))
    assert REFUSALS[why].message in run.stdout
    assert run.returncode == (0 if in_use else 1)
    assert ("Note: the models of this bundle were not imported" in run.stdout) == in_use
    assert (server.engine.folder / "licence.json").read_text() == "{}"


def test_an_older_licence_stops_no_upgrade(server: Server, tmp_path: Path) -> None:
    (tmp_path / "licence.json").write_text("{}")
    vendor = make_engine(tmp_path / "vendor")
    assert make_bundle(vendor, tmp_path / "stick", "--licence", str(tmp_path / "licence.json")).returncode == 0
    server.engine.inside("""case "$*" in *"show --json") echo '{"standing":{"licence":{}}}' ;; *) exit 1 ;; esac""")
    run = server.trusting(Bundle(tmp_path / "stick", fingerprint_of(vendor)))
    assert run.returncode == 0, run.stderr
    assert "the one that was here stays" in run.stdout
