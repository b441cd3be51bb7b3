"""Signing in with a real provider and a real directory, through the real routes, as a browser does it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.errors import SeatsTaken
from appliance.identity import identity_sources
from appliance.settings import Settings
from appliance.store import PersonEdit, PersonRole, PersonState
from tests.api.conftest import NO_TLS, Api, settings_for
from tests.identity.directory import BASE, READER, Slapd, slapd
from tests.identity.provider import Provider, provider
from tests.served import free_port

pytestmark = pytest.mark.slow  # real servers

START, CALLBACK = "/api/v1/session/oidc/start", "/api/v1/session/oidc/callback"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd(tmp_path_factory.mktemp("slapd")) as running:
        yield running


@pytest.fixture(scope="module")
def shared_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with provider(tmp_path_factory.mktemp("provider")) as running:
        yield running


@pytest.fixture
def honest(shared_provider: Provider) -> Iterator[Provider]:
    yield shared_provider
    shared_provider.bend()


@pytest.fixture
def use(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Gives the running appliance the sources of identities that these settings name, with a fresh throttle."""
    opened = []

    def change(**changes: Any) -> Settings:
        settings = settings_for(tmp_path, **changes)
        opened.append(identity_sources(settings))
        fresh = type(api.services.throttle)()
        monkeypatch.setitem(api.app.state, "services", replace(api.services, identities=opened[-1], throttle=fresh))
        return settings

    yield change
    for sources in opened:
        sources.close()


def oidc_settings(api: Api, provider: Provider, **changes: Any) -> dict[str, Any]:
    return {
        "oidc_issuer": provider.issuer,
        "oidc_client_id": "the box",
        "oidc_client_secret": "client secret",
        "oidc_redirect_url": f"{api.url}{CALLBACK}",
        **changes,
    }


def ldap_settings(directory: Slapd, **changes: Any) -> dict[str, Any]:
    return {
        "ldap_url": f"ldaps://127.0.0.1:{directory.ldaps_port}",
        "ldap_base_dn": BASE,
        "ldap_bind_dn": READER,
        "ldap_bind_password": "reader-secret",
        "ca_file": directory.ca_file,
        **changes,
    }


@pytest.fixture
def browser(api: Api) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api.url, timeout=30, verify=NO_TLS) as client:
        yield client


def go(browser: httpx.Client, provider: Provider, person: str = "ayse", **changes: str) -> httpx.Response:
    """To the provider and back; `changes` to what the browser brings back."""
    query = provider.agree(browser.get(START).headers["location"], person)
    return browser.get(CALLBACK, params=query | changes)


def who(browser: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = browser.get("/api/v1/session").json()
    return found


# --- what is offered --------------------------------------------------------------------------------------------------


def test_the_page_is_told_what_it_may_offer(api: Api, use: Any, browser: httpx.Client, honest: Provider, directory: Slapd) -> None:
    use()
    assert browser.get("/api/v1/session/providers").json() == {"password": True, "oidc": None, "ldap": None}
    use(**oidc_settings(api, honest, oidc_label="Clinic login"), **ldap_settings(directory))
    assert browser.get("/api/v1/session/providers").json() == {
        "password": True,
        "oidc": {"label": "Clinic login", "start_url": START},
        "ldap": {"label": "Directory account"},
    }


def test_what_is_not_set_up_is_not_there(use: Any, browser: httpx.Client) -> None:
    use()
    assert browser.get(START).status_code == 404
    assert browser.post("/api/v1/session/ldap", json={"name": "a", "password": "b"}).json()["code"] == "sign_in_not_offered"


# --- OpenID Connect ---------------------------------------------------------------------------------------------------


def test_there_and_back_is_signed_in(api: Api, use: Any, browser: httpx.Client, honest: Provider) -> None:
    use(**oidc_settings(api, honest, oidc_admin_groups=("doctors",)))
    answer = go(browser, honest)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    session = who(browser)
    assert session["person"]["name"] == "Ayşe Aydın"
    assert "admin" in session["scopes"]
    person = session["person"]["id"]
    browser.cookies.clear()
    go(browser, honest)
    assert who(browser)["person"]["id"] == person, "the same person the next time"


def test_no_second_factor_is_added_that_would_never_be_asked_for(
    api: Api, use: Any, browser: httpx.Client, honest: Provider, directory: Slapd
) -> None:
    """The provider asks for its own; the directory's people are asked by the appliance."""
    use(**oidc_settings(api, honest), **ldap_settings(directory))
    go(browser, honest)
    answer = browser.post("/api/v1/me/second-factor", headers={"X-CSRF-Token": who(browser)["csrf_token"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "second_factor_elsewhere")
    browser.cookies.clear()
    knock(browser, "ayse", "correct horse")
    answer = browser.post("/api/v1/me/second-factor", headers={"X-CSRF-Token": who(browser)["csrf_token"]})
    assert answer.status_code == 200


def test_the_cookies_are_bound_as_they_should_be(api: Api, use: Any, browser: httpx.Client, honest: Provider) -> None:
    use(**oidc_settings(api, honest))
    pending = browser.get(START).headers["set-cookie"].lower()
    assert all(part in pending for part in ("sign-in=", "httponly", "samesite=lax", "max-age=600"))
    cookies = [value.lower() for value in go(browser, honest).headers.get_list("set-cookie")]
    assert any("samesite=strict" in cookie and "httponly" in cookie for cookie in cookies), "the session's"
    assert any(cookie.startswith('sign-in=""') or "max-age=0" in cookie for cookie in cookies), "the pending one is taken away"


def test_a_callback_leads_nowhere_else(api: Api, use: Any, browser: httpx.Client, honest: Provider) -> None:
    use(**oidc_settings(api, honest))
    elsewhere = "https://evil.example.org/"
    for name in ("next", "redirect_uri", "return_to", "url"):
        assert go(browser, honest, **{name: elsewhere}).headers["location"] == "/"
        assert browser.get(START, params={name: elsewhere}).headers["location"].startswith(honest.issuer)
        assert "evil" not in browser.get(CALLBACK, params={name: elsewhere}).headers["location"]


def test_a_callback_that_another_browser_started_signs_nobody_in(
    api: Api, use: Any, browser: httpx.Client, honest: Provider
) -> None:
    use(**oidc_settings(api, honest))
    with httpx.Client(base_url=api.url, timeout=30, verify=NO_TLS) as attacker:
        query = honest.agree(attacker.get(START).headers["location"])
    browser.get(START)
    answer = browser.get(CALLBACK, params=query)
    assert answer.headers["location"] == "/#sign_in_error=sign_in_not_trusted"
    assert not who(browser)["signed_in"]


@pytest.mark.parametrize(
    "bend", [{"claims": {"nonce": "other"}}, {"claims": {"aud": "other"}}, {"alg": "none"}, {"alg": "RS256 by a stranger"}], ids=str
)
def test_a_token_that_does_not_hold_signs_nobody_in(
    api: Api, use: Any, browser: httpx.Client, honest: Provider, bend: dict[str, Any]
) -> None:
    use(**oidc_settings(api, honest))
    honest.bend(**bend)
    assert go(browser, honest).headers["location"] == "/#sign_in_error=sign_in_not_trusted"
    assert not who(browser)["signed_in"]


def test_a_shared_e_mail_address_links_no_accounts(api: Api, use: Any, browser: httpx.Client, honest: Provider) -> None:
    """A local account with Ayşe's address, and the provider's Ayşe: two people."""
    use(**oidc_settings(api, honest))
    link = api.run(api.services.store.people.invite("ayse@example.org", "Ayşe here", PersonRole.MEMBER, "console"))
    assert link.person is not None
    go(browser, honest)
    assert who(browser)["person"]["id"] != link.person.id
    api.run(api.services.store.people.withdraw_invitation(link.person.id, "console"))


def test_a_suspended_person_stays_out(api: Api, use: Any, browser: httpx.Client, honest: Provider) -> None:
    use(**oidc_settings(api, honest))
    go(browser, honest, "bob")
    person = who(browser)["person"]["id"]
    people = api.services.store.people
    api.run(people.change(person, PersonEdit(state=PersonState.DISABLED), "console"))
    assert go(browser, honest, "bob").headers["location"] == "/#sign_in_error=account_disabled"
    assert not who(browser)["signed_in"]
    api.run(people.change(person, PersonEdit(state=PersonState.ACTIVE), "console"))


def test_somebody_new_needs_a_seat_and_who_is_known_does_not(
    api: Api, use: Any, browser: httpx.Client, honest: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(**oidc_settings(api, honest))
    go(browser, honest, "ayse")

    def full(taken: int) -> None:
        raise SeatsTaken(taken)

    monkeypatch.setattr(api.services.licensing, "check_seat", full)
    assert go(browser, honest, "ayse").headers["location"] == "/"
    browser.cookies.clear()
    assert go(browser, honest, "somebody-new").headers["location"] == f"/#sign_in_error={SeatsTaken.code}"
    assert not who(browser)["signed_in"]


def test_a_provider_that_is_down_is_said_and_nothing_else_stops(
    api: Api, use: Any, browser: httpx.Client, honest: Provider
) -> None:
    use(**oidc_settings(api, honest, oidc_issuer=f"http://127.0.0.1:{free_port()}"))
    answer = browser.get(START)
    assert (answer.status_code, answer.headers["location"]) == (303, "/#sign_in_error=sign_in_source_down")
    assert browser.get("/api/v1/session/providers").status_code == 200
    local = browser.post("/api/v1/session", json={"email": "x@example.org", "password": "no account"})
    assert local.json()["code"] == "wrong_credentials", "accounts of the appliance are still asked for"


def test_nothing_of_the_sign_in_is_in_the_log(
    api: Api, use: Any, browser: httpx.Client, honest: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    use(**oidc_settings(api, honest))
    caplog.set_level("DEBUG", "appliance")
    query = honest.agree(browser.get(START).headers["location"])
    browser.get(CALLBACK, params=query)
    browser.get(CALLBACK, params=query)
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("appliance"))  # not the client's
    assert CALLBACK in logged
    assert query["code"] not in logged
    assert query["state"] not in logged
    assert "client secret" not in logged


# --- the directory ----------------------------------------------------------------------------------------------------


def knock(browser: httpx.Client, name: str, password: str, **more: str) -> httpx.Response:
    return browser.post("/api/v1/session/ldap", json={"name": name, "password": password, **more})


def test_the_directorys_password_signs_in(use: Any, browser: httpx.Client, directory: Slapd) -> None:
    use(**ldap_settings(directory, ldap_admin_groups=("doctors",)))
    answer = knock(browser, "ayse", "correct horse")
    assert (answer.status_code, answer.json()["person"]["name"]) == (200, "Ayşe Aydın")
    assert "admin" in who(browser)["scopes"]


@pytest.mark.parametrize(("name", "password"), [("ayse", "wrong"), ("ayse", ""), ("*", "correct horse"), ("nobody", "x")])
def test_nothing_else_does(use: Any, browser: httpx.Client, directory: Slapd, name: str, password: str) -> None:
    use(**ldap_settings(directory))
    assert (knock(browser, name, password).status_code, who(browser)["signed_in"]) == (401, False)


def test_guessing_is_slowed_down(use: Any, browser: httpx.Client, directory: Slapd) -> None:
    use(**ldap_settings(directory))
    answers = [knock(browser, "ayse", "wrong") for _ in range(8)]
    assert (answers[0].status_code, answers[-1].status_code) == (401, 429)
    assert int(answers[-1].headers["Retry-After"]) > 0
    asked = directory.binds
    assert knock(browser, "ayse", "correct horse").status_code == 429
    assert directory.binds == asked


def test_a_directory_that_is_down_counts_as_no_attempt(use: Any, browser: httpx.Client, directory: Slapd) -> None:
    use(**ldap_settings(directory, ldap_url=f"ldaps://127.0.0.1:{free_port()}"))
    for _ in range(12):
        answer = knock(browser, "ayse", "correct horse")
        assert (answer.status_code, answer.json()["code"]) == (503, "sign_in_source_down")
    assert "Accounts of this appliance itself still work" in answer.json()["hint"]


def test_nor_does_it_in_a_browser_that_was_here_before(use: Any, browser: httpx.Client, directory: Slapd) -> None:
    use(**ldap_settings(directory))
    assert knock(browser, "ayse", "correct horse").status_code == 200
    use(**ldap_settings(directory, ldap_url=f"ldaps://127.0.0.1:{free_port()}"))
    assert [knock(browser, "ayse", "correct horse").status_code for _ in range(12)] == [503] * 12


def test_another_site_cannot_sign_somebody_in(use: Any, browser: httpx.Client, directory: Slapd) -> None:
    use(**ldap_settings(directory))
    browser.headers["Sec-Fetch-Site"] = "cross-site"
    assert knock(browser, "ayse", "correct horse").status_code == 403


def test_the_audit_log_has_it_without_names(api: Api, use: Any, browser: httpx.Client, directory: Slapd) -> None:
    use(**ldap_settings(directory))
    knock(browser, "bob", "wrong")
    knock(browser, "bob", "bob's battery")
    head = api.run(api.services.store.audit.head())
    told = api.run(api.services.store.audit.page(after=head.sequence - 4, limit=10))
    facts = [(entry.event, entry.facts.get("method"), entry.facts.get("reason")) for entry in told]
    assert ("session.refused", "ldap", "password") in facts
    assert ("session.opened", "ldap", None) in facts
    assert "bob" not in str(told).lower()
