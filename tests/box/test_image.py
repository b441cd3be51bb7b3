"""The image and its compose files: what linters say, and the rules that no linter knows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace
from ruamel.yaml import YAML

from appliance.updates.repository import Repository
from appliance.updates.roots import DEVELOPMENT, vendor_root
from appliance.updates.signing import make_vendor_keys
from licence.keys import DEVELOPMENT_KEY_IDS, TrustedKeys, public_key_of

ROOT = Path(__file__).resolve().parent.parent.parent
DOCKERFILE = ROOT / "docker/Dockerfile.cuda"
COMPOSE = ROOT / "docker/compose.yml"
BIN = Path(sys.executable).parent
# Medium findings of compose-lint that are meant: the image is local and known by its signed archive; a transcriber takes every
# core there is; the LAN is who the port is for.
MEANT = {"CL-0019", "CL-0026", "CL-0005"}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)


def services() -> dict[str, dict[str, Any]]:
    parsed: dict[str, dict[str, Any]] = YAML(typ="safe").load(COMPOSE)["services"]
    return parsed


def test_hadolint_has_nothing_to_say() -> None:
    done = run(BIN / "hadolint", DOCKERFILE)
    assert done.returncode == 0, done.stdout


def test_the_compose_files_follow_their_schema() -> None:
    files = (COMPOSE, ROOT / "docker/compose.outward.yml")
    done = run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files)
    assert done.returncode == 0, done.stdout


def test_compose_lint_finds_only_what_is_meant() -> None:
    done = run(BIN / "compose-lint", "--format", "json", COMPOSE)
    assert done.returncode == 0, done.stdout
    assert set(re.findall(r"CL-\d{4}", done.stdout)) <= MEANT


def test_shellcheck_has_nothing_to_say() -> None:
    scripts = [script for folder in ("scripts", "docker", "tests/box") for script in (ROOT / folder).glob("*.sh")]
    done = run(BIN / "shellcheck", *scripts)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["gpu", "gpus", "cpu", "tool", "gate"])
def test_every_service_is_shut_in(name: str) -> None:
    """TRAPS 5 and 7 among them: no core dumps, no swap."""
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == "10001:10001"
    assert service["mem_limit"] == service["memswap_limit"]
    assert service["ulimits"]["core"] == 0
    assert service["pids_limit"] <= 2048
    assert not {"privileged", "pid", "ipc", "devices"} & service.keys()
    assert service.get("network_mode", "none") == "none"


def test_only_the_gate_stands_in_a_network_with_a_way_out() -> None:
    networks = YAML(typ="safe").load(COMPOSE)["networks"]
    assert networks["inside"] == {"internal": True}
    for name in ("gpu", "gpus", "cpu"):
        assert list(services()[name]["networks"]) == ["inside"]
        assert "ports" not in services()[name]
    assert "volumes" not in services()["gate"]


def test_commands_beside_the_appliance_see_what_it_sees_and_the_backups_but_no_network_and_no_gpu() -> None:
    appliance, tool = services()["gpu"], services()["tool"]
    assert tool["network_mode"] == "none"
    assert not {"networks", "deploy", "container_name"} & tool.keys()
    assert tool["volumes"] == [*appliance["volumes"], "./backups:/backups"]
    assert tool["env_file"] == appliance["env_file"]
    assert {**tool["environment"], "APPLIANCE_DEVICE": "cuda"} == appliance["environment"]
    assert (tool["command"], tool["restart"]) == (["--help"], "no")  # should it ever be started with the others


def test_a_profile_says_whether_there_is_a_gpu_and_nothing_falls_back() -> None:
    asked = {name: services()[name]["environment"]["APPLIANCE_DEVICE"] for name in ("gpu", "gpus", "cpu")}
    assert asked == {"gpu": "cuda", "gpus": "cuda", "cpu": "cpu"}
    assert "APPLIANCE_DEVICE=cuda" in DOCKERFILE.read_text()
    assert "deploy" not in services()["cpu"]


def test_a_stop_leaves_time_for_running_recordings() -> None:
    from appliance.settings import Settings  # noqa: PLC0415 (only its default is wanted)

    grace_s = float(services()["gpu"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > Settings.model_fields["drain_timeout_s"].default + 10


def test_no_registry_is_asked_for_a_syntax_and_no_image_is_pulled() -> None:
    assert "# syntax" not in DOCKERFILE.read_text()
    assert all(service["pull_policy"] == "never" for service in services().values())


@pytest.mark.parametrize("line", ["HF_HUB_OFFLINE=1", "PYANNOTE_METRICS_ENABLED=0", "HF_HUB_DISABLE_TELEMETRY=1"])
def test_nothing_reports_to_anybody(line: str) -> None:
    """TRAPS 9 and 10."""
    assert line in DOCKERFILE.read_text()


def test_the_locked_packages_fit_each_other() -> None:
    """TRAPS 30 and 32: torchaudio of torch's version, and the cuBLAS 12 that CTranslate2 opens by name."""
    lock = {package["name"]: package["version"] for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    assert lock["torch"] == lock["torchaudio"]
    assert lock["nvidia-cublas-cu12"].startswith("12.")
    assert "ldconfig" in DOCKERFILE.read_text()


def test_the_build_is_given_what_the_image_is_made_of_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert {line for line in lines if line.startswith("!")} == {
        "!pyproject.toml", "!uv.lock", "!appliance", "!licence", "!models/*.toml", "!docker"
    }  # fmt: skip


def test_the_tools_of_the_build_are_pinned_by_hash() -> None:
    text = (ROOT / "docker/tools.txt").read_text()
    names = re.findall(r"^([a-z0-9-]+)==", text, re.M)
    assert {"uv", "cyclonedx-bom"} <= set(names)
    assert all(re.search(rf"^{name}==[^\n]*\\\n    --hash=sha256:", text, re.M) for name in names)


@pytest.mark.slow
def test_the_papers_name_every_package_and_its_licence(tmp_path: Path) -> None:
    (tmp_path / "python.json").write_text(json.dumps({"bomFormat": "CycloneDX", "components": [{"name": "litestar"}]}))
    done = run(sys.executable, "docker/papers.py", tmp_path / "python.json", tmp_path / "papers")
    assert done.returncode == 0, done.stderr
    components = json.loads((tmp_path / "papers/sbom.cdx.json").read_text())["components"]
    assert any(str(component.get("purl", "")).startswith("pkg:deb/debian/libc6@") for component in components)
    licences = (tmp_path / "papers/licences.txt").read_text()
    assert re.search(r"^litestar \S+: MIT", licences, re.M)
    assert not re.search(r"^ctranslate2 \S+: *$", licences, re.M)


@pytest.mark.parametrize("name", ["gpu", "gpus", "cpu"])
def test_what_the_container_sees_of_the_server_it_can_only_read(name: str) -> None:
    service = services()[name]
    mounts = {target: (source, mode) for source, target, mode in (volume.split(":") for volume in service["volumes"][2:])}
    assert mounts == {"/bundles": ("./bundles", "ro"), "/files": ("./files", "ro")}
    assert service["environment"]["APPLIANCE_BUNDLE_DIR"] == "/bundles"


LICENCE_KEYS = (ROOT / "licence/keys.json").read_bytes()
OWN_KEYS = TrustedKeys(public_key_of(Ed25519PrivateKey.generate()), public_key_of(Ed25519PrivateKey.generate()))


def check_release(folder: Path, keys: bytes, root: bytes) -> subprocess.CompletedProcess[str]:
    (folder / "keys.json").write_bytes(keys)
    (folder / "vendor.json").write_bytes(root)
    return run(sys.executable, "-I", "docker/check_release.py", folder / "keys.json", folder / "vendor.json")


def test_a_release_of_the_vendors_keys_may_be_built(tmp_path: Path) -> None:
    Repository(tmp_path / "vendor").create(make_vendor_keys(tmp_path / "keys", "a passphrase"), threshold=2)
    root = (tmp_path / "vendor/metadata/1.root.json").read_bytes()
    own = msgspec.json.encode(OWN_KEYS)
    assert check_release(tmp_path, own, root).returncode == 0
    rotated = msgspec.json.encode(replace(OWN_KEYS, former=(msgspec.json.decode(LICENCE_KEYS, type=TrustedKeys).current,)))
    for keys, trusted, said in (
        (LICENCE_KEYS, root, "licences"),
        (rotated, root, "licences"),
        (own, vendor_root(), "model updates"),
    ):
        done = check_release(tmp_path, keys, trusted)
        assert done.returncode == 1
        assert done.stderr.startswith("RELEASE=yes is refused, because keys for development are built in: those of " + said)


def test_the_build_looks_for_keys_of_development_as_the_appliance_does_and_before_it_fetches_anything() -> None:
    script = (ROOT / "docker/check_release.py").read_text()
    assert all(f'"{each}"' in script for each in DEVELOPMENT_KEY_IDS)
    assert f'.get("{DEVELOPMENT}")' in script
    stages = re.split(r"^FROM ", DOCKERFILE.read_text(), flags=re.M)
    checked, tools = (next(stage for stage in stages if f" AS {name}\n" in stage) for name in ("checked", "tools"))
    assert "check_release.py" in checked
    assert tools.index("COPY --from=checked") < tools.index("RUN ")
    installing = [stage for stage in stages if re.search(r"pip install", stage)]
    assert all("FROM base AS tools" in f"FROM {stage}" or "from=tools" in stage for stage in installing)
