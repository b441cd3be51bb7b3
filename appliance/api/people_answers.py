"""How people, sessions, keys and links look in answers. No password, secret or hash is in any of these structs."""

from __future__ import annotations

from datetime import datetime

from appliance.api.services import ApiRequest
from appliance.domain import Value
from appliance.store import KeyRecord, Offer, Person, PersonRole, PersonState, Purpose, Scope, Session


class PersonAnswer(Value, frozen=True):
    id: str
    name: str
    email: str
    role: PersonRole
    state: PersonState
    created_at: datetime
    last_sign_in_at: datetime | None
    has_password: bool  # false: invited, or signs in through a directory
    has_second_factor: bool
    provider: str | None  # the directory that knows them


class SessionEntry(Value, frozen=True):
    id: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    user_agent: str
    address: str
    current: bool


class KeyAnswer(Value, frozen=True):
    id: str
    name: str
    prefix: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class KeyOwner(Value, frozen=True):
    name: str
    email: str


class KeyInUse(Value, frozen=True):
    """To whoever holds a key: as whom they act with it, which its letters do not say."""

    name: str
    owner: KeyOwner | None  # whose what they send becomes; none: a key of the site, which owns it itself


class LinkAnswer(Value, frozen=True):
    """Shown once: hand it over yourself, no mail is sent."""

    url: str
    path: str
    expires_at: datetime
    person: PersonAnswer | None


_PLACES = {Purpose.SETUP: "setup", Purpose.INVITATION: "invitation", Purpose.PASSWORD: "password"}


def person_answer(person: Person) -> PersonAnswer:
    return PersonAnswer(
        id=person.id,
        name=person.name,
        email=person.email,
        role=person.role,
        state=person.state,
        created_at=person.created_at,
        last_sign_in_at=person.last_sign_in_at,
        has_password=person.has_password,
        has_second_factor=person.has_second_factor,
        provider=person.provider,
    )


def session_entry(session: Session, current_id: str) -> SessionEntry:
    return SessionEntry(
        id=session.id,
        created_at=session.created_at,
        last_seen_at=session.last_seen_at,
        expires_at=session.expires_at,
        user_agent=session.user_agent,
        address=session.address,
        current=session.id == current_id,
    )


def key_answer(key: KeyRecord) -> KeyAnswer:
    return KeyAnswer(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        scopes=tuple(sorted(key.scopes)),
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
    )


def link_answer(request: ApiRequest, offer: Offer) -> LinkAnswer:
    path = link_path(offer.link.purpose, offer.link.token)
    person = None if offer.person is None else person_answer(offer.person)
    return LinkAnswer(str(request.base_url).rstrip("/") + path, path, offer.link.expires_at, person)


def link_path(purpose: Purpose, token: str) -> str:
    """Behind the `#`, which no browser sends to a server or to the next page."""
    return f"/#{_PLACES[purpose]}/{token}"
