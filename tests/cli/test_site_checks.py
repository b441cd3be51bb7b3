"""What the doctor says of licence, build and sign-in: a real database, a real directory, a real provider."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.findings import Finding, Verdict
from appliance.cli.site_checks import (
    EVERYTHING,
    FOR_SUPPORT,
    check_build,
    check_licence,
    check_sign_in,
    judge_build,
    judge_standing,
)
from appliance.licensing import Licensing
from appliance.settings import Settings
from appliance.store import Store
from appliance.store.database import connect
from licence import Standing, State
from licence.standing import Notice
from tests.identity.directory import Slapd, slapd
from tests.identity.provider import Provider, provider
from tests.identity.test_ldap import settings_for as ldap_settings
from tests.identity.test_oidc import settings_for as oidc_settings
from tests.served import free_port


def site(**changes: Any) -> Settings:
    return Settings(**changes)


def test_a_look_does_not_begin_the_evaluation(tmp_path: Path) -> None:
    (finding,) = check_licence(site(data_dir=tmp_path / "data"))
    assert "With the first start" in finding.says
    assert not (tmp_path / "data").exists()


def test_the_evaluation_is_said_with_its_end(tmp_path: Path) -> None:
    settings = site(data_dir=tmp_path)
    asyncio.run(_begin(settings))
    (finding,) = check_licence(settings)
    assert finding.verdict is Verdict.NOTE
    assert "This is an evaluation with everything on, until 20" in finding.says


async def _begin(settings: Settings) -> None:
    store = await Store.open(settings.database_path)
    await Licensing.open(store, settings.data_dir)
    await store.close()


def test_a_database_of_an_earlier_version_is_not_brought_up_to_date_by_a_look(tmp_path: Path) -> None:
    settings = site(data_dir=tmp_path)
    asyncio.run(_begin(settings))
    db = connect(settings.database_path)
    db.conn.execute("DROP TABLE licence_mark")
    db.close()
    before = settings.database_path.read_bytes()
    (finding,) = check_licence(settings)
    assert finding.verdict is Verdict.WARNING
    assert "earlier version" in finding.says
    assert "when the appliance starts" in finding.remedy
    assert settings.database_path.read_bytes() == before


def test_a_database_that_is_none_is_a_finding_and_not_the_end(tmp_path: Path) -> None:
    settings = site(data_dir=tmp_path)
    settings.database_path.write_bytes(b"not a database, and long enough to be taken for one" * 100)
    (finding,) = check_licence(settings)
    assert finding.verdict is Verdict.WARNING
    assert finding.remedy


@pytest.mark.parametrize(
    ("state", "verdict"), [(State.VALID, Verdict.FINE), (State.EXPIRING, Verdict.WARNING), (State.RESTRICTED, Verdict.WARNING)]
)
def test_what_ends_is_warned_of_and_blocks_nothing(state: State, verdict: Verdict) -> None:
    now = datetime(2027, 3, 1, tzinfo=UTC)
    assert judge_standing(Standing(state, now, until=now)) == Finding("licence", verdict, "Valid, until 2027-03-01.")
    told = judge_standing(Standing(state, now, (Notice("It ends.", "Renew it."),)))
    assert (told.says, told.remedy) == ("It ends.", "Renew it.")


def test_a_build_for_development_says_so() -> None:
    (finding,) = check_build(site())
    assert finding == judge_build(licences=True, models=True), "the repository carries development keys only"
    assert finding.verdict is Verdict.WARNING
    assert "keys that everybody has" in finding.says
    assert "everybody has" not in judge_build(licences=True, models=False).says
    assert judge_build(licences=False, models=False).verdict is Verdict.FINE


def test_without_another_sign_in_nothing_is_asked_and_nothing_said(tmp_path: Path) -> None:
    assert list(check_sign_in(site(data_dir=tmp_path))) == []


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd(tmp_path_factory.mktemp("slapd")) as running:
        yield running


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with provider(tmp_path_factory.mktemp("provider")) as running:
        yield running


def test_a_directory_is_asked_as_a_sign_in_would(directory: Slapd) -> None:
    (finding,) = check_sign_in(ldap_settings(directory, ldap_label="Clinic"))
    assert finding == Finding("sign-in", Verdict.FINE, "'Clinic' answers.")
    (finding,) = check_sign_in(ldap_settings(directory, ldap_bind_password="wrong"))
    assert finding.verdict is Verdict.WARNING
    assert "refuses the account that looks people up" in finding.says


def test_a_provider_is_asked_for_its_description_and_keys(honest: Provider) -> None:
    (finding,) = check_sign_in(oidc_settings(honest))
    assert finding.verdict is Verdict.FINE
    assert "/jwks" in honest.requests()
    (finding,) = check_sign_in(oidc_settings(honest, oidc_issuer=f"http://127.0.0.1:{free_port()}"))
    assert finding.verdict is Verdict.WARNING
    assert "no connection" in finding.says


def test_settings_with_which_nothing_starts_block(tmp_path: Path) -> None:
    (finding,) = check_sign_in(site(data_dir=tmp_path, ldap_url="http://directory.example.org"))
    assert finding.verdict is Verdict.BLOCKS


def test_servers_of_the_site_are_not_named_to_support() -> None:
    assert check_sign_in in EVERYTHING
    assert check_sign_in not in FOR_SUPPORT
