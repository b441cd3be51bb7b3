"""The real client of the hub against a hub on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.catalogue import Shelf
from appliance.catalogue.fetch import fetch, open_sources
from appliance.catalogue.sources import Source
from appliance.errors import FetchFailed, NoSpace
from tests.catalogue.conftest import stocked
from tests.catalogue.stand_ins import COMMIT, FILES, HUB, Recorder, StandIn, a_model, serve, sha256, weights

PINNED, UNPINNED = a_model(HUB), a_model(HUB, pinned=False)
BLOCK = 2**18  # what the client writes at a time
WEIGHTS = sha256(FILES["model.bin"])


def from_hub(server: StandIn, model: object = PINNED, ca_file: Path | None = None) -> list[Source]:
    assert model in (PINNED, UNPINNED)
    return open_sources(PINNED if model is PINNED else UNPINNED, mirror=server.url, ca_file=ca_file)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client waits a second between attempts."""
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _seconds: None)


def test_a_model_comes_from_the_hub_whole(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    assert fetch(PINNED, shelf, progress=progress, sources=from_hub(server))
    assert {name: (shelf.path("tiny") / name).read_bytes() for name in FILES} == FILES
    manifest = shelf.manifest("tiny")
    assert manifest is not None
    assert manifest.origins == (f"site/tiny@{COMMIT}",)
    assert ("downloading model.bin", len(FILES["model.bin"])) in progress.steps
    assert progress.done_bytes == [total for _what, total in progress.steps]


def test_nothing_but_the_files_is_asked_of_the_hub(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    """TRAPS 10: no telemetry, no update check, no look at who is asking."""
    fetch(PINNED, shelf, progress=progress, sources=from_hub(server))
    paths = {path for _method, path, _range in server.requests}
    assert all(path.startswith(("/site/tiny/resolve/", "/cdn/")) for path in paths)


def test_an_installed_model_asks_the_hub_nothing(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    fetch(PINNED, shelf, progress=progress, sources=from_hub(server))
    server.requests.clear()
    assert not fetch(PINNED, shelf, progress=progress, sources=from_hub(server))
    assert server.requests == []


def test_a_broken_connection_is_taken_up_where_it_broke(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    server.cut_after = [4 * BLOCK, 2 * BLOCK + 1]
    fetch(PINNED, shelf, progress=progress, sources=from_hub(server))
    assert server.gets(WEIGHTS) == [None, f"bytes={4 * BLOCK}-", f"bytes={6 * BLOCK}-"]
    shelf.verify("tiny")


def test_an_attempt_that_failed_is_taken_up_by_the_next(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    server.cut_after = [8 * BLOCK, *[0] * 20]
    with pytest.raises(FetchFailed, match=r"model\.bin could not be had from the hub"):
        fetch(PINNED, shelf, progress=progress, sources=from_hub(server))
    assert shelf.installed() == ()
    server.cut_after, before = [], len(server.requests)
    fetch(PINNED, shelf, progress=progress, sources=from_hub(server))
    del server.requests[:before]
    assert server.gets(WEIGHTS) == [f"bytes={8 * BLOCK}-"]
    shelf.verify("tiny")


def test_files_that_arrived_are_not_fetched_again_when_a_later_one_fails(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    missing = f"/site/tiny/resolve/{COMMIT}/vocabulary.txt"
    kept = server.files.pop(missing)
    with pytest.raises(FetchFailed, match=r"vocabulary\.txt"):
        fetch(PINNED, shelf, progress=progress, sources=from_hub(server))
    server.files[missing] = kept
    fetch(PINNED, shelf, progress=progress, sources=from_hub(server))
    assert server.gets(WEIGHTS) == [None]


def test_a_server_without_ranges_is_asked_from_the_start(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    server.ignores_ranges, server.cut_after = True, [1_000_000]
    fetch(PINNED, shelf, progress=progress, sources=from_hub(server))
    shelf.verify("tiny")


def test_a_wrong_file_is_refused_and_thrown_away(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    server.files[f"/cdn/{WEIGHTS}"] = weights(seed=2)
    with pytest.raises(FetchFailed, match=r"model\.bin .* is not the file the catalogue names"):
        fetch(PINNED, shelf, progress=progress, sources=from_hub(server))
    assert shelf.installed() == ()
    assert list(shelf.models_dir.glob(".fetch/parts/*")) == []


def test_a_file_longer_than_the_catalogue_says_is_cut_off(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    server.files[f"/cdn/{WEIGHTS}"] += b"more"
    with pytest.raises(FetchFailed, match="sent more than the file has"):
        fetch(PINNED, shelf, progress=progress, sources=from_hub(server))


def test_an_unpinned_model_is_checked_by_the_hubs_own_checksums(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    fetch(UNPINNED, shelf, progress=progress, sources=from_hub(server, UNPINNED))
    manifest = shelf.manifest("tiny")
    assert manifest is not None
    assert {file.name: file.sha256 for file in manifest.files} == {name: sha256(content) for name, content in FILES.items()}


@pytest.mark.parametrize("path", [f"/cdn/{WEIGHTS}", f"/site/tiny/resolve/{COMMIT}/config.json"])
def test_an_unpinned_file_that_differs_from_the_hubs_checksum_is_refused(
    server: StandIn, shelf: Shelf, progress: Recorder, path: str
) -> None:
    content = server.files[path]
    server.files[path] = content[:-1] + bytes([content[-1] ^ 1])
    with pytest.raises(FetchFailed, match="is not the file the catalogue names"):
        fetch(UNPINNED, shelf, progress=progress, sources=from_hub(server, UNPINNED))


def test_no_space_for_an_unpinned_model_is_found_before_its_download(
    server: StandIn, shelf: Shelf, progress: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.catalogue.parts.MARGIN_BYTES", 2**60)
    with pytest.raises(NoSpace):
        fetch(UNPINNED, shelf, progress=progress, sources=from_hub(server, UNPINNED))
    assert server.gets(WEIGHTS) == []


def test_a_hub_with_an_own_authority_needs_its_certificate(authority: tuple[Path, Path], shelf: Shelf, progress: Recorder) -> None:
    ca, certificate = authority
    with serve(stocked(), certificate) as server:
        with pytest.raises(FetchFailed, match="certificate verify failed"):
            fetch(PINNED, shelf, progress=progress, sources=from_hub(server))
        fetch(PINNED, shelf, progress=progress, sources=from_hub(server, ca_file=ca))
    shelf.verify("tiny")


def test_the_environment_can_name_the_authority(
    authority: tuple[Path, Path], shelf: Shelf, progress: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, certificate = authority
    monkeypatch.setenv("SSL_CERT_FILE", str(ca))
    with serve(stocked(), certificate) as server:
        fetch(PINNED, shelf, progress=progress, sources=from_hub(server))


def test_a_certificate_file_that_is_none_is_named(server: StandIn, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a certificate")
    with pytest.raises(FetchFailed, match=r"notes\.txt cannot be used"):
        from_hub(server, ca_file=tmp_path / "notes.txt")


def test_a_gated_repository_says_what_to_do(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    gate = (403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
    server.refuses[f"/site/tiny/resolve/{COMMIT}/model.bin"] = gate
    with pytest.raises(FetchFailed, match="accepted the conditions of site/tiny") as failed:
        fetch(PINNED, shelf, progress=progress, sources=from_hub(server))
    assert "HF_TOKEN" in failed.value.hint


def test_a_fetch_works_where_the_rest_of_the_appliance_is_offline(
    server: StandIn, shelf: Shelf, progress: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TRAPS 10: the appliance sets HF_HUB_OFFLINE; asking for a fetch is asking for the network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    fetch(PINNED, shelf, progress=progress, sources=from_hub(server))
    shelf.verify("tiny")


def test_the_token_goes_to_the_hub_only(server: StandIn, shelf: Shelf, progress: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch(PINNED, shelf, progress=progress, sources=from_hub(server))
    assert server.tokens
    assert not any(path.startswith("/cdn/") for path in server.tokens)


def test_a_repository_that_was_renamed_is_followed(server: StandIn, shelf: Shelf, progress: Recorder) -> None:
    for name in FILES:
        old = f"/site/tiny/resolve/{COMMIT}/{name}"
        server.moved[old] = old.replace("site", "newsite")
    server.put_on_hub("newsite/tiny", FILES)
    fetch(PINNED, shelf, progress=progress, sources=from_hub(server))
    shelf.verify("tiny")
