"""People are made, helped and removed on the real database, also when nobody can sign in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from argon2.profiles import CHEAPEST
from typer.testing import CliRunner, Result

from appliance.cli import keys
from appliance.cli.people import app
from appliance.errors import InvalidField, LastAdministrator, NotFound
from appliance.store import Store

T = TypeVar("T")
Command = Callable[..., Result]
PASSWORD = "correct horse battery"


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("APPLIANCE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("appliance.store.passwords.RFC_9106_LOW_MEMORY", CHEAPEST)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def with_store(tmp_path: Path, work: Callable[[Store], Awaitable[T]]) -> T:
    async def opened() -> T:
        store = await Store.open(tmp_path / "appliance.db")
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(opened())


def set_up(people: Command, tmp_path: Path) -> None:
    link = people("setup-link").stdout.strip()
    token = link.rpartition("/")[2]
    assert link == f"https://127.0.0.1:8443/#setup/{token}"
    with_store(tmp_path, lambda store: store.people.set_up(token, "Ann", "ann@example.org", PASSWORD))


def test_a_site_is_set_up_and_somebody_invited_from_the_console(people: Command, tmp_path: Path) -> None:
    assert "setup-link" in people("list").stderr
    set_up(people, tmp_path)
    invited = people("invite", "bea@example.org", "--name", "Bea")
    assert invited.stdout.startswith("https://127.0.0.1:8443/#invitation/")
    found = {person["email"]: person for person in json.loads(people("list", "--json").stdout)}
    assert (found["ann@example.org"]["role"], found["ann@example.org"]["state"]) == ("admin", "active")
    assert (found["bea@example.org"]["role"], found["bea@example.org"]["state"]) == ("member", "invited")
    assert "bea@example.org" in people("list").stdout


def test_the_last_administrator_is_kept_and_a_second_may_go(people: Command, tmp_path: Path) -> None:
    set_up(people, tmp_path)
    for command in (("disable", "Ann@Example.org"), ("role", "ann@example.org", "member"), ("erase", "ann@example.org", "--yes")):
        assert isinstance(people(*command).exception, LastAdministrator)
    token = people("invite", "bea@example.org", "--admin").stdout.strip().rpartition("/")[2]
    with_store(tmp_path, lambda store: store.people.join(token, "Bea", PASSWORD))
    assert people("disable", "ann@example.org").exit_code == 0
    assert people("enable", "ann@example.org").exit_code == 0
    assert people("erase", "bea@example.org", "--yes").exit_code == 0
    assert "bea" not in people("list").stdout


def test_a_forgotten_password_is_replaced_with_a_link(people: Command, tmp_path: Path) -> None:
    set_up(people, tmp_path)
    token = people("reset-password", "ann@example.org").stdout.strip().rpartition("/")[2]

    async def replace(store: Store) -> tuple[bool, bool]:
        await store.people.reset_password(token, "another good secret")
        old, new = [await store.people.check_password("ann@example.org", text) for text in (PASSWORD, "another good secret")]
        return old is None, new is not None

    assert with_store(tmp_path, replace) == (True, True)
    assert isinstance(people("reset-password", "nobody@example.org").exception, NotFound)


def test_a_key_of_a_person_acts_as_them_and_never_may_more(people: Command, tmp_path: Path) -> None:
    token = people("invite", "bea@example.org").stdout.strip().rpartition("/")[2]
    bea = with_store(tmp_path, lambda store: store.people.join(token, "Bea", PASSWORD))
    made = CliRunner().invoke(keys.app, ["create", "laptop", "--person", "bea@example.org", "--quiet"])
    key = with_store(tmp_path, lambda store: store.keys.authenticate(made.stdout.strip()))
    assert key
    assert key.person_id == bea.id
    more = CliRunner().invoke(keys.app, ["create", "laptop", "--person", "bea@example.org", "--scope", "admin"])
    assert isinstance(more.exception, InvalidField)
    people("disable", "bea@example.org")
    assert with_store(tmp_path, lambda store: store.keys.authenticate(made.stdout.strip())) is None
