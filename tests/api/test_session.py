"""Signing in and out over HTTP: cookies, tokens, limits, second factors."""

from __future__ import annotations

import httpx
import pyotp
import pytest
from sqlite_utils import Database

from appliance.api.throttle import Throttle
from appliance.store import Person, PersonEdit, PersonRole, Scope
from tests.api.conftest import Api
from tests.api.people import PASSWORD, Browser, anonymous, make_admin, new_login, new_person, signed_in
from tests.api.standins import HOLD

SESSION = "/api/v1/session"


@pytest.fixture(scope="module")
def login(shared_api: Api) -> Person:
    """One person for the tests that change nothing about them."""
    return new_login(shared_api)


@pytest.fixture
def browser(api: Api) -> Browser:
    api.services.throttle.__init__()  # type: ignore[misc]  # failures of other tests
    return anonymous(api)


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_who_is_not_signed_in_learns_only_that(browser: Browser) -> None:
    answer = browser.client.get(SESSION)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["signed_in"], body["csrf_token"], body["person"], body["scopes"]) == (False, None, None, [])
    assert code_of(browser.client.get("/api/v1/me")) == (401, "unauthorized")


def test_a_key_is_told_as_whom_it_acts(api: Api, browser: Browser, login: Person) -> None:
    """The page says so before it uses the key of a link, and while it does."""
    own, secret = api.run(api.services.store.keys.create("Archive", (Scope.TRANSCRIBE,), None, login.id))

    def told(value: str) -> object:
        body = browser.client.get(SESSION, headers={"Authorization": f"Bearer {value}"}).json()
        assert not body["signed_in"]
        return body["key"]

    assert told(api.secret) == {"name": "test", "owner": None}
    assert told(secret) == {"name": "Archive", "owner": {"name": login.name, "email": login.email}}
    api.run(api.services.store.keys.revoke(own.id))
    assert told(secret) is None
    assert browser.client.get(SESSION).json()["key"] is None


def test_a_password_opens_a_session_and_signing_out_ends_it(browser: Browser, login: Person) -> None:
    answer = browser.sign_in(login.email.upper(), PASSWORD)
    assert answer.status_code == 200
    assert answer.json()["person"]["id"] == login.id
    assert answer.json()["scopes"] == ["read", "transcribe", "write"]
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("session=")
    assert {"httponly", "path=/", "samesite=strict"} <= {part.strip().lower() for part in cookie.split(";")}
    assert browser.client.get("/api/v1/me").json()["email"] == login.email
    assert browser.client.delete(SESSION).status_code == 204
    browser.client.cookies.set("session", cookie.split(";")[0].partition("=")[2])
    assert code_of(browser.client.get("/api/v1/me")) == (401, "signed_out")
    assert browser.client.get(SESSION).json()["signed_in"] is False


def test_an_id_that_the_client_chose_is_no_session_and_signing_in_gives_another(browser: Browser, login: Person) -> None:
    """TRAPS 26."""
    chosen = "a" * 43
    browser.client.cookies.set("session", chosen)
    assert code_of(browser.client.get("/api/v1/me")) == (401, "signed_out")
    browser.client.cookies.clear()
    browser.client.cookies.set("session", chosen, domain="127.0.0.1")
    first = browser.sign_in(login.email).headers["set-cookie"]
    second = browser.sign_in(login.email).headers["set-cookie"]
    assert chosen not in first
    assert first != second
    old = first.split(";")[0].partition("=")[2]
    assert httpx.get(browser.client.base_url.join("/api/v1/me"), cookies={"session": old}).status_code == 401


@pytest.mark.parametrize("password", ["", "wrong", PASSWORD + " ", "x" * 5000])
def test_a_wrong_password_and_an_unknown_name_are_told_alike(browser: Browser, login: Person, password: str) -> None:
    answers = [browser.sign_in(name, password) for name in (login.email, "nobody@example.org")]
    assert [code_of(answer) for answer in answers] == [(401, "wrong_credentials")] * 2
    assert answers[0].json() == answers[1].json()
    assert "set-cookie" not in answers[0].headers


def test_guessing_is_slowed_down_and_says_when_to_come_back(browser: Browser, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRAPS 27: `Retry-After` stands in every refusal. Time stands still, so that a busy machine changes nothing."""
    monkeypatch.setattr(api.services.throttle, "_clock", lambda: 10_000.0)
    answers = [browser.sign_in("somebody@example.org", "guess") for _ in range(8)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 3
    assert int(answers[-1].headers["retry-after"]) == 1
    assert answers[-1].json()["code"] == "too_many_attempts"


def test_a_browser_that_was_here_before_is_not_kept_out_by_others_at_its_address(
    browser: Browser, api: Api, login: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a proxy or the container's gate, where everybody has one address."""
    monkeypatch.setattr(api.services.throttle, "_clock", lambda: 20_000.0)
    assert browser.sign_in(login.email, PASSWORD).status_code == 200
    browser.client.delete(SESSION)
    stranger = anonymous(api)
    while (answer := stranger.sign_in(login.email, "a wrong password")).status_code == 401:
        pass
    assert code_of(answer) == (429, "too_many_attempts")
    assert code_of(anonymous(api).sign_in(login.email, PASSWORD)) == (429, "too_many_attempts"), "the test shows nothing otherwise"
    assert browser.sign_in(login.email, PASSWORD).status_code == 200


def test_a_known_browser_may_not_guess_more_than_others_nor_at_other_accounts(
    browser: Browser, api: Api, login: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.services.throttle, "_clock", lambda: 30_000.0)
    assert browser.sign_in(login.email, PASSWORD).status_code == 200
    known = browser.client.cookies.get("known")
    refused = [browser.sign_in(login.email, "a wrong password").status_code for _ in range(8)]
    assert 429 in refused
    guesser = anonymous(api)
    guesser.client.cookies.set("known", known or "")
    other = new_login(api)
    for _ in range(8):
        guesser.sign_in(other.email, "a wrong password")
    assert code_of(anonymous(api).sign_in(other.email, PASSWORD)) == (429, "too_many_attempts"), "it was counted by its address"


@pytest.mark.parametrize("cookie", ["", "x", "AAAA", "A" * 56, "é"])
def test_a_made_up_cookie_makes_no_browser_known(browser: Browser, login: Person, cookie: str) -> None:
    browser.client.headers["Cookie"] = f"known={cookie}"
    assert code_of(browser.sign_in(login.email, "a wrong password")) == (401, "wrong_credentials")


def test_a_change_with_a_cookie_needs_the_token(api: Api) -> None:
    browser = signed_in(api, new_person(api))
    assert browser.client.patch("/api/v1/me", json={"name": "Bea"}).status_code == 200
    for wrong in ("", "x", "0" * 64):
        answer = browser.client.patch("/api/v1/me", json={"name": "Eve"}, headers={"X-CSRF-Token": wrong})
        assert code_of(answer) == (403, "csrf_token_wrong")
    del browser.client.headers["X-CSRF-Token"]
    assert code_of(browser.client.patch("/api/v1/me", json={"name": "Eve"})) == (403, "csrf_token_wrong")
    assert browser.client.get("/api/v1/me").json()["name"] == "Bea"


def test_an_upload_with_a_cookie_is_refused_before_its_body_is_read(api: Api, wav: bytes) -> None:
    """TRAPS 2: the token is looked for in the header only, never in the form."""
    browser = signed_in(api, new_person(api))
    token = browser.client.headers.pop("X-CSRF-Token")
    form = {"csrf_token": token, "_csrf_token": token, "X-CSRF-Token": token}
    answer = browser.client.post("/api/v1/transcripts/", data=form, files={"file": ("a.wav", wav)})
    assert code_of(answer) == (403, "csrf_token_wrong")
    answer = browser.client.post("/api/v1/transcripts/", files={"file": ("a.wav", wav)}, headers={"X-CSRF-Token": token})
    assert answer.status_code == 202


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}],
)
def test_a_change_that_another_sites_page_sends_is_refused(api: Api, login: Person, headers: dict[str, str]) -> None:
    browser = signed_in(api, new_person(api))
    assert code_of(browser.client.patch("/api/v1/me", json={"name": "Eve"}, headers=headers)) == (403, "cross_site")
    signing_in = {"email": login.email, "password": PASSWORD}
    assert code_of(browser.client.post(SESSION, json=signing_in, headers=headers)) == (403, "cross_site")
    own = {"Origin": api.url, "Sec-Fetch-Site": "same-origin"}
    assert browser.client.patch("/api/v1/me", json={"name": "Bea"}, headers=own).status_code == 200


def test_a_key_needs_no_token_and_is_no_session(api: Api) -> None:
    with api.client() as client:
        assert code_of(client.get("/api/v1/me")) == (403, "session_needed")
        assert client.delete("/api/v1/transcripts/999999/").status_code == 404


def test_a_new_password_ends_every_other_session(browser: Browser, api: Api) -> None:
    person = new_login(api)
    other = signed_in(api, person)
    browser.sign_in(person.email)
    wrong = browser.post("/api/v1/me/password", current="wrong", new="a brand new secret")
    assert code_of(wrong) == (401, "wrong_credentials")
    easy = browser.post("/api/v1/me/password", current=PASSWORD, new="short")
    assert easy.status_code == 422
    changed = browser.take(browser.post("/api/v1/me/password", current=PASSWORD, new="a brand new secret"))
    assert changed.status_code == 200
    assert code_of(other.client.get("/api/v1/me")) == (401, "signed_out")
    assert browser.client.patch("/api/v1/me", json={"name": "Bea"}).status_code == 200
    assert anonymous(api).sign_in(person.email, PASSWORD).status_code == 401
    assert anonymous(api).sign_in(person.email, "a brand new secret").status_code == 200


def test_the_second_factor_from_enrolment_to_removal(browser: Browser, api: Api) -> None:
    person = new_login(api)
    browser.sign_in(person.email)
    enrolment = browser.post("/api/v1/me/second-factor").json()
    assert enrolment["qr_svg"].startswith("<svg")
    assert "script" not in enrolment["qr_svg"]
    totp = pyotp.TOTP(enrolment["secret"])
    assert totp.provisioning_uri(name=person.email, issuer_name="Appliance") == enrolment["uri"]
    assert code_of(browser.post("/api/v1/me/second-factor/confirm", code="000")) == (401, "wrong_credentials")
    code, known = totp.now(), browser.client.cookies["known"]
    confirmed = browser.take(browser.post("/api/v1/me/second-factor/confirm", code=code))
    assert confirmed.status_code == 200
    recovery = confirmed.json()["recovery_codes"]
    assert len(set(recovery)) == 10

    again = anonymous(api)
    assert code_of(again.sign_in(person.email)) == (401, "second_factor_needed")
    assert code_of(again.sign_in(person.email, code=code)) == (401, "wrong_credentials"), "a code was used twice"
    assert again.sign_in(person.email, code=recovery[0]).status_code == 200
    assert code_of(anonymous(api).sign_in(person.email, code=recovery[0])) == (401, "wrong_credentials")

    for name in ("remove", "recovery-codes"):  # the password alone, or a code that was used, does not do
        path = f"/api/v1/me/second-factor/{name}"
        assert code_of(browser.post(path)) == (422, "invalid_field")
        assert code_of(browser.post(path, code="")) == (401, "second_factor_needed")
        assert code_of(browser.post(path, code=code)) == (401, "wrong_credentials")
        assert code_of(browser.post(path, code=recovery[0])) == (401, "wrong_credentials")
    assert browser.client.get("/api/v1/me").json()["has_second_factor"] is True

    removed = browser.take(browser.post("/api/v1/me/second-factor/remove", code=recovery[1]))
    assert removed.status_code == 200
    assert removed.json()["person"]["has_second_factor"] is False
    assert browser.client.cookies.get("known") == known, "the browser stays known for the name that is typed at the door"
    assert code_of(again.client.get("/api/v1/me")) == (401, "signed_out")
    assert anonymous(api).sign_in(person.email).status_code == 200


def test_new_recovery_codes_end_the_old_ones(browser: Browser, api: Api) -> None:
    person = new_login(api)
    browser.sign_in(person.email)
    totp = pyotp.TOTP(browser.post("/api/v1/me/second-factor").json()["secret"])
    old = browser.take(browser.post("/api/v1/me/second-factor/confirm", code=totp.now())).json()["recovery_codes"]
    new = browser.post("/api/v1/me/second-factor/recovery-codes", code=old[0]).json()["recovery_codes"]
    assert not set(new) & set(old)
    assert code_of(browser.post("/api/v1/me/second-factor/remove", code=old[1])) == (401, "wrong_credentials")
    assert browser.post("/api/v1/me/second-factor/remove", code=new[0]).status_code == 200


def test_an_administrator_takes_off_the_second_factor_of_others_only(browser: Browser, api: Api) -> None:
    """Their own asks for a code; else the password would be enough for whoever has it."""
    admin, other = new_person(api, is_admin=True), new_login(api)
    browser.sign_in(other.email)
    totp = pyotp.TOTP(browser.post("/api/v1/me/second-factor").json()["secret"])
    browser.post("/api/v1/me/second-factor/confirm", code=totp.now())
    administrator = signed_in(api, admin)
    own = administrator.client.delete(f"/api/v1/people/{admin.id}/second-factor")
    assert code_of(own) == (422, "invalid_field")
    assert administrator.client.delete(f"/api/v1/people/{other.id}/second-factor").status_code == 204
    assert anonymous(api).sign_in(other.email).status_code == 200


def test_the_last_administrator_who_cannot_be_erased_keeps_their_running_recordings(api: Api, wav: bytes) -> None:
    """Refused first, and nothing touched."""
    person = make_admin(api, new_login(api))
    browser = signed_in(api, person)
    others = [
        each for each in api.run(api.services.store.people.list()) if each.is_admin and each.has_password and each.id != person.id
    ]
    for each in others:
        api.run(api.services.store.people.change(each.id, PersonEdit(role=PersonRole.MEMBER), "console"))
    sent = browser.client.post("/api/v1/transcripts/", data={"prompt": HOLD}, files={"file": ("a.wav", wav)}).json()
    assert api.pool.holding.acquire(timeout=10)
    for path in ("/api/v1/me", f"/api/v1/people/{person.id}"):
        assert code_of(browser.client.delete(path)) == (409, "last_administrator")
    assert browser.client.get(sent["url"]).json()["status"] == "processing"
    make_admin(api, new_login(api))
    assert browser.client.delete("/api/v1/me").status_code in (202, 204)


def test_sessions_are_listed_and_ended_by_their_person_only(api: Api) -> None:
    person, stranger = new_person(api), new_person(api)
    here, there, elsewhere = signed_in(api, person), signed_in(api, person), signed_in(api, stranger)
    listed = here.client.get("/api/v1/me/sessions").json()["results"]
    assert [entry["current"] for entry in listed].count(True) == 1
    assert len(listed) == 2
    other = next(entry for entry in listed if not entry["current"])
    assert elsewhere.client.delete(f"/api/v1/me/sessions/{other['id']}").status_code == 404
    assert here.client.delete(f"/api/v1/me/sessions/{other['id']}").status_code == 204
    assert there.client.get("/api/v1/me").status_code == 401
    third = signed_in(api, person)
    assert here.client.delete("/api/v1/me/sessions").status_code == 204
    assert (third.client.get("/api/v1/me").status_code, here.client.get("/api/v1/me").status_code) == (401, 200)


def test_what_is_sensitive_asks_for_the_password_again(browser: Browser, api: Api) -> None:
    person = new_login(api, role=PersonRole.ADMIN)
    browser.sign_in(person.email)
    _age(api, browser)
    refused = browser.post("/api/v1/invitations", email="new@example.org")
    assert code_of(refused) == (403, "recent_sign_in_needed")
    assert browser.client.get("/api/v1/people").status_code == 200
    assert code_of(browser.post(f"{SESSION}/confirm", password="wrong")) == (401, "wrong_credentials")
    assert browser.post(f"{SESSION}/confirm", password=PASSWORD).status_code == 200
    assert browser.post("/api/v1/invitations", email="new@example.org").status_code == 201


def _age(api: Api, browser: Browser, column: str = "authenticated_at") -> None:
    """Something about its session was long ago."""
    session_id = browser.client.get(SESSION).json()["session"]["id"]

    def work(db: Database) -> None:
        db.conn.execute(f"UPDATE sessions SET {column} = '2020-01-01T00:00:00+00:00' WHERE id = ?", (session_id,))

    api.run(api.services.store.sessions._writer.run(work))


@pytest.mark.parametrize("column", ["last_seen_at", "expires_at"])
def test_a_session_that_is_not_used_or_too_old_ends(api: Api, column: str) -> None:
    browser = signed_in(api, new_person(api))
    _age(api, browser, column)
    assert code_of(browser.client.get("/api/v1/me")) == (401, "signed_out")


def test_keys_of_a_person_are_shown_once_and_never_may_more(api: Api) -> None:
    person = new_person(api)
    browser = signed_in(api, person)
    assert browser.post("/api/v1/me/keys", name="laptop", scopes=["admin"]).status_code == 422
    assert browser.post("/api/v1/me/keys", name="laptop", expires_at="2020-01-01T00:00:00Z").status_code == 422
    made = browser.post("/api/v1/me/keys", name="laptop", scopes=["read"])
    assert made.status_code == 201
    secret, key = made.json()["secret"], made.json()["key"]
    listed = browser.client.get("/api/v1/me/keys")
    assert [one["name"] for one in listed.json()["results"]] == ["laptop"]
    assert secret not in listed.text
    with api.client(secret) as client:
        assert client.get("/api/v1/transcripts/").status_code == 200
        assert client.delete("/api/v1/transcripts/1/").status_code == 403
        assert signed_in(api, new_person(api)).client.delete(f"/api/v1/me/keys/{key['id']}").status_code == 404
        assert browser.client.delete(f"/api/v1/me/keys/{key['id']}").status_code == 204
        assert client.get("/api/v1/transcripts/").status_code == 401


def test_the_throttle_is_the_applications_own(api: Api) -> None:
    assert isinstance(api.services.throttle, Throttle)
