"""Fetching as a whole: sources in turn, repair, activation, faults of the disk, two at a time."""

from __future__ import annotations

import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from appliance.catalogue import Catalogue, Model, Shelf
from appliance.catalogue.conversion import convert
from appliance.catalogue.fetch import fetch, open_sources
from appliance.catalogue.model import CatalogueFile, HubEntry
from appliance.catalogue.parts import PartFile
from appliance.catalogue.sources import Silent, Source
from appliance.catalogue.sources.folder import FolderSource
from appliance.catalogue.sources.registry import RegistrySource
from appliance.catalogue.sources.trust import trust_context
from appliance.errors import CatalogueError, FetchFailed, NoSpace
from appliance.settings import Settings
from tests.catalogue.stand_ins import FILES, HUB, REGISTRY, WHEELS, Recorder, StandIn, a_model, sha256, weights


def both(server: StandIn, registry: str | None = None) -> list[Source]:
    """The registry, then the hub."""
    (hub,) = open_sources(a_model(HUB), mirror=server.url)
    return [RegistrySource(REGISTRY, trust_context(None), registry or f"{server.url}/simple"), hub]


def contents(shelf: Shelf, model_id: str = "tiny") -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in shelf.folder(model_id).iterdir() if p.name not in ("installed.json", "verified.json")}


# --- sources ----------------------------------------------------------------------------------------------------------


def test_the_next_source_helps_where_one_fails(server: StandIn, shelf: Shelf, progress: Recorder, model: Model) -> None:
    fetch(model, shelf, progress=progress, sources=both(server, registry="http://127.0.0.1:9/simple"))
    assert contents(shelf) == FILES
    (note,) = progress.notes
    assert "package registry" in note
    assert "Trying the hub (site/tiny)" in note


def test_when_no_source_helps_every_reason_is_given(shelf: Shelf, progress: Recorder, model: Model) -> None:
    nobody = StandIn()
    nobody.url = "http://127.0.0.1:9"
    with pytest.raises(FetchFailed) as failed:
        fetch(model, shelf, progress=progress, sources=both(nobody))
    assert "package registry" in failed.value.message
    assert "the hub" in failed.value.message
    assert failed.value.hint


def test_a_folder_of_files_is_enough(shelf: Shelf, folder: Path, progress: Recorder, model: Model) -> None:
    assert fetch(model, shelf, progress=progress, sources=open_sources(model, folder=folder))
    assert contents(shelf) == FILES
    assert progress.done_bytes == [total for _what, total in progress.steps]


def test_a_folder_of_wheels_is_enough(shelf: Shelf, tmp_path: Path, progress: Recorder, model: Model) -> None:
    for name, content in WHEELS.items():
        (tmp_path / name).write_bytes(content)
    fetch(model, shelf, progress=progress, sources=open_sources(model, folder=tmp_path))
    assert contents(shelf) == FILES


def test_a_damaged_wheel_in_a_folder_is_refused(shelf: Shelf, tmp_path: Path, progress: Recorder, model: Model) -> None:
    for name, content in WHEELS.items():
        (tmp_path / name).write_bytes(content + b"x")
    with pytest.raises(FetchFailed, match="is damaged"):
        fetch(model, shelf, progress=progress, sources=open_sources(model, folder=tmp_path))


def test_a_wrong_file_in_a_folder_is_refused(shelf: Shelf, folder: Path, progress: Recorder, model: Model) -> None:
    (folder / "model.bin").write_bytes(weights(seed=2))
    with pytest.raises(FetchFailed, match=r"model\.bin from the folder"):
        fetch(model, shelf, progress=progress, sources=open_sources(model, folder=folder))
    assert shelf.installed() == ()
    assert not (shelf.models_dir / ".fetch/tiny").exists()


def test_a_folder_without_the_files_says_which(shelf: Shelf, tmp_path: Path, progress: Recorder, model: Model) -> None:
    with pytest.raises(FetchFailed, match=r"no source has model\.bin, config\.json, vocabulary\.txt"):
        fetch(model, shelf, progress=progress, sources=open_sources(model, folder=tmp_path))


def test_a_fetch_from_a_folder_loads_no_network_client() -> None:
    """TRAPS 10: nothing but a fetch from the network may even import the hub's client."""
    program = "import sys, appliance.catalogue.fetch as f; f.open_sources(None, folder=f.Path('.')); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert not {"huggingface_hub", "httpx", "requests", "torch"} & set(loaded)


# --- repair -----------------------------------------------------------------------------------------------------------


def test_only_what_is_damaged_is_fetched_again(server: StandIn, shelf: Shelf, progress: Recorder, model: Model) -> None:
    sources = both(server)[1:]
    fetch(model, shelf, progress=progress, sources=sources)
    before = (shelf.folder("tiny") / "model.bin").stat()
    (shelf.folder("tiny") / "vocabulary.txt").write_text("tampered")
    server.requests.clear()
    assert fetch(model, shelf, progress=progress, sources=sources)
    assert contents(shelf) == FILES
    assert all(path.endswith("vocabulary.txt") for _method, path, _range in server.requests)
    assert (shelf.folder("tiny") / "model.bin").stat().st_ino == before.st_ino
    assert any("vocabulary.txt" in note for note in progress.notes)


def test_a_strange_file_is_cleared_away(shelf: Shelf, folder: Path, progress: Recorder, model: Model) -> None:
    sources = open_sources(model, folder=folder)
    fetch(model, shelf, progress=progress, sources=sources)
    (shelf.folder("tiny") / "vocabulary.json").write_text("[]")
    assert fetch(model, shelf, progress=progress, sources=sources)
    assert contents(shelf) == FILES


def test_files_copied_there_by_hand_are_adopted(shelf: Shelf, progress: Recorder, model: Model) -> None:
    shelf.folder("tiny").mkdir(parents=True)
    for name, content in FILES.items():
        (shelf.folder("tiny") / name).write_bytes(content)
    assert fetch(model, shelf, progress=progress, sources=[])
    assert shelf.path("tiny")


def test_a_new_version_in_the_catalogue_replaces_the_old(shelf: Shelf, folder: Path, progress: Recorder, model: Model) -> None:
    fetch(model, shelf, progress=progress, sources=open_sources(model, folder=folder))
    newer = weights(seed=3)
    (folder / "model.bin").write_bytes(newer)
    files = (msgspec.structs.replace(model.files[0], size_bytes=len(newer), sha256=sha256(newer)), *model.files[1:])
    changed = msgspec.structs.replace(model, files=files)
    assert fetch(changed, shelf, progress=progress, sources=open_sources(changed, folder=folder))
    assert contents(shelf)["model.bin"] == newer


def test_a_failed_repair_leaves_the_old_model_alone(shelf: Shelf, folder: Path, progress: Recorder, model: Model) -> None:
    fetch(model, shelf, progress=progress, sources=open_sources(model, folder=folder))
    wanted = (*model.files, CatalogueFile(name="extra.json", sha256="0" * 64, size_bytes=1))
    with pytest.raises(FetchFailed):
        fetch(msgspec.structs.replace(model, files=wanted), shelf, progress=progress, sources=open_sources(model, folder=folder))
    assert contents(shelf) == FILES
    assert shelf.path("tiny")


# --- faults -----------------------------------------------------------------------------------------------------------


def test_an_unsafe_format_is_not_installed(shelf: Shelf, folder: Path, progress: Recorder) -> None:
    """TRAPS 13, for a file whose checksum nobody pinned."""
    model = a_model(HUB, pinned=False)
    (folder / "model.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(CatalogueError, match=r"model\.bin is not a proper"):
        fetch(model, shelf, progress=progress, sources=open_sources(model, folder=folder))
    assert shelf.installed() == ()


def test_missing_space_is_found_before_anything_is_downloaded(
    server: StandIn, shelf: Shelf, progress: Recorder, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.catalogue.parts.MARGIN_BYTES", 2**60)
    with pytest.raises(NoSpace, match="MiB are needed"):
        fetch(model, shelf, progress=progress, sources=both(server))
    assert server.requests == []


@pytest.fixture
def small_disk(tmp_path: Path) -> list[str]:
    """A command prefix under which `tmp_path/models` is a file system of 4 MiB."""
    (tmp_path / "models").mkdir()
    mount = f"mount -t tmpfs -o size=4m none {tmp_path}/models"
    prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system of his own")
    return prefix


FETCH_ON_SMALL_DISK = """
import sys
from pathlib import Path
import appliance.catalogue.parts as parts
from appliance.catalogue import Catalogue, Shelf
from appliance.catalogue.fetch import fetch, open_sources
from appliance.catalogue.sources import Silent
from appliance.errors import ApplianceError
from tests.catalogue.stand_ins import a_model
parts.MARGIN_BYTES = int(sys.argv[3])
models, model = Path(sys.argv[1]), a_model(pinned=False)
(models / "ballast").write_bytes(bytes(2 * 2**20))
try:
    fetch(model, Shelf(Catalogue({}), models), progress=Silent(), sources=open_sources(model, folder=Path(sys.argv[2])))
except ApplianceError as error:
    print(error.code, error.message, sorted(p.name for p in models.rglob("*") if p.is_file()), sep="|")
"""


@pytest.mark.parametrize("margin_bytes", [0, -(2**40)], ids=["foreseen", "full while writing"])
def test_a_full_disk_ends_in_a_sentence_and_leaves_nothing(
    small_disk: list[str], tmp_path: Path, folder: Path, margin_bytes: int
) -> None:
    command = [*small_disk, sys.executable, "-c", FETCH_ON_SMALL_DISK, str(tmp_path / "models"), str(folder), str(margin_bytes)]
    code, message, left = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().split("|")
    assert code == "no_space"
    assert "are needed" in message
    assert left == "['ballast', 'lock']"


def test_a_full_disk_stops_a_download_and_keeps_what_has_arrived() -> None:
    """`/dev/full` answers every write as a full disk does."""
    with PartFile(Path("/dev/full"), 100, lambda _n: None) as part, pytest.raises(NoSpace):
        part.write(b"x")


def test_a_folder_that_cannot_be_written_names_the_setting(tmp_path: Path, progress: Recorder, model: Model) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FetchFailed, match="cannot be written") as failed:
        fetch(model, Shelf(Catalogue({}), tmp_path / "file" / "models"), progress=progress, sources=[])
    assert "APPLIANCE_MODELS_DIR" in failed.value.hint


def test_two_at_a_time_download_once(server: StandIn, shelf: Shelf, model: Model) -> None:
    server.hold_after = 1000
    recorders = Recorder(), Recorder()
    changed: list[bool] = []

    def run(recorder: Recorder) -> None:
        changed.append(fetch(model, shelf, progress=recorder, sources=both(server)[1:]))

    first, second = (threading.Thread(target=run, args=(recorder,)) for recorder in recorders)
    first.start()
    assert server.held.wait(20)
    waiting = threading.Event()
    recorders[1].on_note = waiting.set
    second.start()
    assert waiting.wait(20)
    server.go_on.set()
    first.join()
    second.join()
    assert changed == [True, False]
    assert server.gets(sha256(FILES["model.bin"])) == [None]
    assert contents(shelf) == FILES


def test_a_model_in_use_is_never_seen_half(shelf: Shelf, folder: Path, model: Model) -> None:
    """While it is replaced again and again, a reader always finds a whole model."""
    sources = open_sources(model, folder=folder)
    fetch(model, shelf, progress=Silent(), sources=sources)
    done = threading.Event()

    def replace() -> None:
        for _ in range(10):
            (shelf.folder("tiny") / "stranger.txt").write_text("forces a new folder")
            fetch(model, shelf, progress=Silent(), sources=sources)
        done.set()

    thread = threading.Thread(target=replace)
    thread.start()
    seen = 0
    while not done.is_set():
        assert (shelf.folder("tiny") / "model.bin").stat().st_size == len(FILES["model.bin"])
        assert shelf.manifest("tiny") is not None
        seen += 1
    thread.join()
    assert seen


# --- optional and converted files -------------------------------------------------------------------------------------


@pytest.fixture
def diarization(tmp_path: Path) -> tuple[Model, Path]:
    """A model with optional arrays, and a folder that holds those only, as their hub repository lays them out."""
    stick = tmp_path / "stick"
    (stick / "plda").mkdir(parents=True)
    files = []
    for name in ("plda.npz", "xvec_transform.npz"):
        np.savez(stick / "plda" / name, mean=np.arange(3.0))
        content = (stick / "plda" / name).read_bytes()
        files.append(CatalogueFile(name=name, sha256=sha256(content), size_bytes=len(content), optional=True))
    base = a_model(HUB)
    hub = HubEntry(repo="site/plda", files={file.name: f"plda/{file.name}" for file in files})
    return msgspec.structs.replace(base, files=(*base.files, *files), sources=(HUB, hub)), stick


def test_optional_files_are_left_out_unless_asked_for(
    server: StandIn, shelf: Shelf, progress: Recorder, diarization: tuple[Model, Path]
) -> None:
    model, _stick = diarization
    sources = open_sources(model, mirror=server.url)
    fetch(model, shelf, progress=progress, sources=sources)
    assert not any("plda" in path for _method, path, _range in server.requests)
    fetch(model, shelf, progress=progress, sources=sources, optional=True)  # this hub has none
    assert any("plda.npz" in note for note in progress.notes)
    assert contents(shelf) == FILES


def test_optional_files_are_added_from_a_folder(
    server: StandIn, shelf: Shelf, progress: Recorder, diarization: tuple[Model, Path]
) -> None:
    model, stick = diarization
    fetch(model, shelf, progress=progress, sources=open_sources(model, mirror=server.url))
    assert fetch(model, shelf, progress=progress, sources=[FolderSource(stick, model)])
    assert (shelf.path("tiny") / "plda.npz").read_bytes() == (stick / "plda/plda.npz").read_bytes()
    assert not fetch(model, shelf, progress=progress, sources=[FolderSource(stick, model)])


def test_a_damaged_optional_file_is_repaired_with_the_rest(
    shelf: Shelf, folder: Path, progress: Recorder, diarization: tuple[Model, Path]
) -> None:
    model, stick = diarization
    sources: list[Source] = [FolderSource(folder, model), FolderSource(stick, model)]
    fetch(model, shelf, progress=progress, sources=sources)
    (shelf.folder("tiny") / "plda.npz").write_bytes(b"damaged")
    assert fetch(model, shelf, progress=progress, sources=[])
    assert any("plda.npz" in note and "left out" in note for note in progress.notes)
    assert fetch(model, shelf, progress=progress, sources=sources)
    assert "plda.npz" in contents(shelf)


def test_a_conversion_that_refuses_says_why(tmp_path: Path) -> None:
    """TRAPS 13: a pickle that asks for more than weights need is not converted."""
    with zipfile.ZipFile(tmp_path / "evil.bin", "w") as archive:
        archive.writestr("archive/data.pkl", b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(FetchFailed, match=r"evil\.bin could not be converted: .*os\.system"):
        convert("segmentation", tmp_path / "evil.bin", tmp_path)


def test_raw_files_are_not_kept(shelf: Shelf, tmp_path: Path, progress: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Catalogue.load(Settings.model_fields["catalogue_dir"].default).get("speaker-diarization")
    raw = tuple(msgspec.structs.replace(f, sha256=sha256(b"raw"), size_bytes=3) for f in model.files if f.convert)
    model = msgspec.structs.replace(model, files=raw)
    for file in raw:
        (tmp_path / file.name).parent.mkdir()
        (tmp_path / file.name).write_bytes(b"raw")

    def write(kind: str, _source: Path, folder: Path) -> None:
        (folder / f"{kind}.json").write_text("{}")

    monkeypatch.setattr("appliance.catalogue.fetch.convert", write)  # the real one is tested with its own module
    fetch(model, shelf, progress=progress, sources=open_sources(model, folder=tmp_path))
    assert set(contents(shelf, model.id)) == {"segmentation.json", "embedding.json"}
    assert not fetch(model, shelf, progress=progress, sources=[])
