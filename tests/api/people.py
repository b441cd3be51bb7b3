"""People for tests of the HTTP interface, and browsers in which they are signed in."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from appliance.store import NewSession, Person, PersonEdit, PersonRole
from tests.api.conftest import NO_TLS, Api
from tests.store.samples import Known

PASSWORD = "correct horse battery"


def new_person(api: Api, *, is_admin: bool = False, name: str = "Ann") -> Person:
    """Active, without a password."""
    subject = secrets.token_hex(8)
    identity = Known(subject, name, f"{subject}@example.org", is_admin)
    return api.run(api.services.store.people.find_or_create_external(identity))


def new_login(api: Api, *, role: PersonRole = PersonRole.MEMBER) -> Person:
    """Active, with a password of their own."""
    people = api.services.store.people
    offer = api.run(people.invite(f"{secrets.token_hex(6)}@example.org", "Ann", role, "console"))
    return api.run(people.join(offer.link.token, "Ann", PASSWORD))


@dataclass(frozen=True)
class Browser:
    """Keeps the cookie and sends the token with every change, as the page does."""

    client: httpx.Client

    def take(self, answer: httpx.Response) -> httpx.Response:
        """The token of a new session."""
        body = answer.json() if answer.content else {}
        if token := body.get("csrf_token") or body.get("session", {}).get("csrf_token"):
            self.client.headers["X-CSRF-Token"] = token
        return answer

    def sign_in(self, email: str, password: str = PASSWORD, **more: str) -> httpx.Response:
        return self.take(self.client.post("/api/v1/session", json={"email": email, "password": password, **more}))

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.client.post(path, json=body)


def anonymous(api: Api, **more: Any) -> Browser:
    nothing_left_open = httpx.Limits(max_keepalive_connections=0)
    return Browser(httpx.Client(base_url=api.url, timeout=30, verify=NO_TLS, limits=nothing_left_open, **more))


def signed_in(api: Api, person: Person) -> Browser:
    """Without a password, so that it costs nothing."""
    new = NewSession(person.id, timedelta(hours=1), "a test", "127.0.0.1")
    _, secret = api.run(api.services.store.sessions.open(new))
    browser = anonymous(api, cookies={"session": secret})
    browser.take(browser.client.get("/api/v1/session"))
    return browser


def make_admin(api: Api, person: Person) -> Person:
    return api.run(api.services.store.people.change(person.id, PersonEdit(role=PersonRole.ADMIN), "console"))
