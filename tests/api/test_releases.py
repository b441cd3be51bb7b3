"""Model releases over HTTP: uploaded, found on a stick, switched, rolled back; refused in words."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from appliance.errors import CanaryFailed
from appliance.settings import Settings
from appliance.store import Scope
from appliance.updates.importer import Trial
from tests.api.conftest import Api, settings_for, start, until
from tests.api.standins import HOLD
from tests.licence.making import TRUSTED, licence, signed
from tests.updates.making import Maker, model_files

TAR = {"Content-Type": "application/x-tar"}


async def passes(_settings: Settings, _trial: Trial) -> None:
    """No engine here; the trial itself is tested with the real one."""


async def fails(_settings: Settings, trial: Trial) -> None:
    raise CanaryFailed(trial.model.id, "it heard nothing")


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    maker = Maker(tmp_path / "maker")  # with the development keys, which this build trusts
    maker.release(1, files=model_files(1, 2**20))  # larger than any other body that is not a recording may be
    return maker


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Api]:
    (tmp_path / "sticks").mkdir()
    server, api = start(settings_for(tmp_path, bundle_dir=tmp_path / "sticks"), "whisper-base")
    api.services.incoming._hearing = passes
    yield api
    api.run(api.services.incoming.stop())
    server.stop()


@pytest.fixture
def admin(site: Api) -> Iterator[httpx.Client]:
    _, secret = site.new_key(Scope.ADMIN, Scope.TRANSCRIBE)
    with site.client(secret) as client:
        yield client


def upload(admin: httpx.Client, path: Path, **query: Any) -> httpx.Response:
    return admin.post("/api/v1/releases", params={"wait": True, **query}, content=path.read_bytes(), headers=TAR)


def send(member: httpx.Client, wav: bytes, **fields: str) -> httpx.Response:
    return member.post("/api/v1/transcripts/", data=fields, files={"file": ("visit.wav", wav)})


def names(admin: httpx.Client) -> list[tuple[str, bool]]:
    return [(one["name"], one["active"]) for one in admin.get("/api/v1/releases").json()["releases"]]


def test_an_uploaded_release_serves_and_can_be_rolled_back(admin: httpx.Client, maker: Maker) -> None:
    answer = upload(admin, maker.tar())
    assert (answer.status_code, answer.json()["state"], answer.json()["release"]) == (201, "done", "vendor-1")
    assert "tiny" in [model["id"] for model in admin.get("/v1/models").json()["models"]]
    maker.release(2)
    upload(admin, maker.tar())
    assert names(admin) == [("vendor-2", True), ("vendor-1", False)]
    assert admin.post("/api/v1/releases/vendor/rollback").json() == {"active": "vendor-1"}
    assert names(admin) == [("vendor-2", False), ("vendor-1", True)]
    assert admin.post("/api/v1/releases/vendor-2/activate").json()["active"]
    assert admin.post("/api/v1/releases/vendor-9/activate").json()["code"] == "release_not_found"
    assert admin.post("/api/v1/releases/nobody/rollback").status_code == 404


def test_a_bundle_on_a_stick_is_listed_and_imported(site: Api, admin: httpx.Client, maker: Maker) -> None:
    assert site.services.settings.bundle_dir
    maker.repository.write_bundle(site.services.settings.bundle_dir / "update.tar")
    maker.repository.write_bundle(site.services.settings.bundle_dir / "unpacked")
    listing = admin.get("/api/v1/releases").json()
    assert [found["name"] for found in listing["bundles"]] == ["unpacked", "update.tar"]
    assert (listing["development"], listing["site_root"]) == (True, False)
    assert listing["bundle_dir"] == str(site.services.settings.bundle_dir)
    started = admin.post("/api/v1/releases", json={"bundle": "update.tar"})
    assert started.status_code in (201, 202)
    assert until(lambda: admin.get("/api/v1/releases/import").json()["state"] == "done")
    assert names(admin) == [("vendor-1", True)]


def test_a_release_made_after_the_end_of_support_comes_in_and_says_so(site: Api, admin: httpx.Client, maker: Maker) -> None:
    now = datetime.now(UTC)
    site.services.licensing._trusted = TRUSTED  # for the built-in keys nobody can sign
    ended = licence(not_before=now - timedelta(days=9), expires_at=now + timedelta(days=365), support_until=now - timedelta(days=1))
    site.run(site.services.licensing.install(signed(ended), "console"))
    answer = upload(admin, maker.tar())
    assert answer.status_code == 201
    notice = answer.json()["notice"]
    assert f"Support ended on {now - timedelta(days=1):%Y-%m-%d}, and the release 'vendor-1' was made later" in notice["sentence"]
    assert "it works" in notice["sentence"]
    (listed,) = admin.get("/api/v1/releases").json()["releases"]
    assert (listed["active"], listed["notice"]) == (True, notice)
    assert admin.get("/api/v1/releases/import").json()["notice"] == notice

    covered = replace(ended, id="licence_2", serial=2, support_until=now + timedelta(days=1))
    site.run(site.services.licensing.install(signed(covered), "console"))
    assert admin.get("/api/v1/releases").json()["releases"][0]["notice"] is None
    assert admin.get("/api/v1/releases/import").json()["notice"] is None


@pytest.mark.parametrize("name", ["../maker/bundle.tar", "/etc", "nothing.tar", ""])
def test_only_what_was_found_is_opened(admin: httpx.Client, maker: Maker, name: str) -> None:
    maker.tar()
    refused = admin.post("/api/v1/releases", json={"bundle": name})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_field")


def test_a_refusal_says_why_and_the_old_release_serves(site: Api, admin: httpx.Client, maker: Maker) -> None:
    upload(admin, maker.tar("first"))
    maker.release(2)
    content = maker.tar().read_bytes()
    cut = admin.post("/api/v1/releases", params={"wait": True}, content=content[: len(content) // 2], headers=TAR)
    assert (cut.status_code, cut.json()["code"]) == (422, "update_truncated")
    site.services.incoming._hearing = fails
    refused = upload(admin, maker.tar())
    assert (refused.status_code, refused.json()["code"]) == (422, "update_canary_failed")
    status = admin.get("/api/v1/releases/import").json()
    assert (status["state"], status["failure"]["code"]) == ("refused", "update_canary_failed")
    assert names(admin) == [("vendor-1", True)]


def test_a_strange_upload_is_refused_whatever_its_length(admin: httpx.Client) -> None:
    """The importer wants no more of it; nothing waits, nothing is kept."""
    with suppress(httpx.TransportError):  # where the connection closes before the client reads the answer
        refused = admin.post("/api/v1/releases", content=(bytes(range(256)) * 256 for _ in range(400)), headers=TAR)
        assert refused.json()["code"] == "update_unreadable"
    assert until(lambda: admin.get("/api/v1/releases/import").json()["state"] == "refused")


def test_one_import_at_a_time(site: Api, admin: httpx.Client, maker: Maker) -> None:
    begun, go_on = threading.Event(), threading.Event()

    async def waits(_settings: Settings, _trial: Trial) -> None:
        begun.set()
        await asyncio.to_thread(go_on.wait)

    site.services.incoming._hearing = waits
    first = admin.post("/api/v1/releases", content=maker.tar().read_bytes(), headers=TAR)
    assert first.status_code == 202
    assert begun.wait(10)
    second = upload(admin, maker.tar())
    assert (second.status_code, second.json()["code"]) == (409, "update_running")
    status = admin.get("/api/v1/releases/import").json()
    assert (status["state"], status["step"]) == ("running", "trying tiny")
    assert status["done_bytes"] > 40_000
    go_on.set()
    assert until(lambda: admin.get("/api/v1/releases/import").json()["state"] == "done")


def test_a_running_job_ends_with_the_model_it_began_with(site: Api, admin: httpx.Client, maker: Maker, wav: bytes) -> None:
    upload(admin, maker.tar())
    with site.client() as member:
        running = send(member, wav, prompt=HOLD, model="tiny").json()["id"]
        assert site.pool.holding.acquire(timeout=10)
        maker.release(2)
        upload(admin, maker.tar())
        site.pool.release()
        assert until(lambda: member.get(f"/api/v1/transcripts/{running}/").json()["status"] == "completed")
        finished = send(member, wav, model="tiny").json()["id"]
        assert until(lambda: member.get(f"/api/v1/transcripts/{finished}/").json()["status"] == "completed")
    began, later = (request.model_dir for request in site.pool.requests)
    assert (began.parts[-3], later.parts[-3]) == ("1", "2")
    assert (began / "model.bin").is_file(), "the release before is kept"


def test_nobody_but_an_administrator_may(site: Api, maker: Maker) -> None:
    with site.client() as client:
        for method, path in (
            ("GET", "/api/v1/releases"),
            ("GET", "/api/v1/releases/import"),
            ("POST", "/api/v1/releases"),
            ("POST", "/api/v1/releases/vendor-1/activate"),
            ("POST", "/api/v1/releases/vendor/rollback"),
        ):
            assert client.request(method, path).status_code == 403, path


def test_what_happened_stands_in_the_audit_log(site: Api, admin: httpx.Client, maker: Maker) -> None:
    upload(admin, maker.tar())
    admin.post("/api/v1/releases/vendor/rollback")
    upload(admin, Path(__file__))
    text = site.services.settings.database_path.with_name("appliance.db-wal").read_bytes()
    text += site.services.settings.database_path.read_bytes()
    for event in (b"models.imported", b"models.activated", b"models.rolled_back", b"models.refused"):
        assert event in text
