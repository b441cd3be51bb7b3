"""Signing in against a real slapd: who comes in, who does not, and what it is never asked."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import NotInAllowedGroup, SignInRefusedElsewhere, SignInSourceDown, StartRefused
from appliance.identity import ExternalIdentity, LdapDirectory, NameAndPassword
from appliance.identity.ldap import Entry
from appliance.settings import Settings
from tests.identity.directory import BASE, READER, Slapd

pytestmark = pytest.mark.slow

GROUPS = f"ou=groups,{BASE}"
DIRECT = {"ldap_user_dn": f"uid={{name}},ou=people,{BASE}", "ldap_bind_dn": "", "ldap_bind_password": ""}


def settings_for(directory: Slapd, **changes: Any) -> Settings:
    usual: dict[str, Any] = {
        "ldap_url": f"ldaps://127.0.0.1:{directory.ldaps_port}",
        "ldap_base_dn": BASE,
        "ldap_bind_dn": READER,
        "ldap_bind_password": "reader-secret",
        "ca_file": directory.ca_file,
        "data_dir": directory.folder,
    }
    return Settings(**usual | changes)


def sign_in(directory: Slapd, name: str, password: str, **changes: Any) -> ExternalIdentity:
    asked = LdapDirectory(settings_for(directory, **changes))
    try:
        return asyncio.run(asked.identify(NameAndPassword(name, password)))
    finally:
        asked.close()


@pytest.mark.parametrize("changes", [{}, DIRECT], ids=["looked up", "directly"])
def test_the_right_password_says_who_it_is(directory: Slapd, changes: dict[str, Any]) -> None:
    found = sign_in(directory, "ayse", "correct horse", **changes)
    assert (found.provider, found.name, found.email) == ("ldap", "Ayşe Aydın", "ayse@example.org")
    assert found.groups == (f"cn=Doctors,{GROUPS}",)
    assert len(found.subject) == 36  # entryUUID
    assert found == sign_in(directory, "AYSE", "correct horse", **changes), "the subject does not depend on how it was typed"


@pytest.mark.parametrize("changes", [{}, DIRECT], ids=["looked up", "directly"])
@pytest.mark.parametrize(("name", "password"), [("ayse", "wrong"), ("nobody", "correct horse"), ("bob", "correct horse")])
def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(
    directory: Slapd, changes: dict[str, Any], name: str, password: str
) -> None:
    with pytest.raises(SignInRefusedElsewhere, match="the name or the password is not right"):
        sign_in(directory, name, password, **changes)


@pytest.mark.parametrize("changes", [{}, DIRECT], ids=["looked up", "directly"])
def test_an_empty_password_never_reaches_the_directory(directory: Slapd, changes: dict[str, Any]) -> None:
    """RFC 4513, 5.1.2: this very directory would call an empty password a success."""
    asked = directory.binds
    with pytest.raises(SignInRefusedElsewhere):
        sign_in(directory, "ayse", "", **changes)
    assert directory.binds == asked


@pytest.mark.parametrize("changes", [{}, DIRECT], ids=["looked up", "directly"])
@pytest.mark.parametrize("password", ["\u00ad", "\u200d\ufe0f", "\u2060"])
def test_a_password_of_characters_that_are_prepared_away_is_not_an_empty_one(
    directory: Slapd, changes: dict[str, Any], password: str
) -> None:
    """SASLprep (RFC 4013) maps these characters to nothing, and an empty password must never be sent."""
    with pytest.raises(SignInRefusedElsewhere):
        sign_in(directory, "ayse", password, **changes)


@pytest.mark.parametrize("password", ["\ud800", "\x07", "\ue000", "ا1"])
def test_odd_passwords_are_wrong_passwords(directory: Slapd, password: str) -> None:
    with pytest.raises(SignInRefusedElsewhere):
        sign_in(directory, "ayse", password)


@pytest.mark.parametrize("name", ["*", "a*", "ayse)(uid=*", "*)(|(uid=*", "ayse\\2a", ")(cn=*))(|(uid=ayse", "{dn}"])
def test_a_filter_cannot_be_injected(directory: Slapd, name: str) -> None:
    """RFC 4515: whatever is typed is a value; with a password that would fit, so that a match would let it in."""
    with pytest.raises(SignInRefusedElsewhere):
        sign_in(directory, name, "correct horse")
    assert 'filter="(&(objectClass=person)(uid=*))"' not in directory.log


@pytest.mark.parametrize("changes", [{}, DIRECT], ids=["looked up", "directly"])
def test_a_name_with_every_special_character_signs_in(directory: Slapd, changes: dict[str, Any]) -> None:
    assert sign_in(directory, "odd, (one)*", "staple", **changes).name == "Odd"


@pytest.mark.parametrize(
    "name", ["ayse,ou=people", "ayse+cn=x", "x,dc=other", "", "   ", "a" * 257, "ay\0se", "ay\nse", "ay\u00adse"]
)
def test_a_name_cannot_move_to_another_place_of_the_directory(directory: Slapd, name: str) -> None:
    with pytest.raises(SignInRefusedElsewhere):
        sign_in(directory, name, "correct horse", **DIRECT)


@pytest.mark.parametrize("name", ["ayse@other.org", "OTHER\\ayse", "a b"])
def test_a_name_cannot_choose_another_domain(directory: Slapd, name: str) -> None:
    asked = directory.binds
    with pytest.raises(SignInRefusedElsewhere):
        sign_in(directory, name, "correct horse", **DIRECT | {"ldap_user_dn": "{name}@example.org"})
    assert directory.binds == asked


def test_the_password_with_odd_characters_is_taken_as_it_is(directory: Slapd) -> None:
    assert sign_in(directory, "bob", "bob's battery").name == "Bob"
    with pytest.raises(SignInRefusedElsewhere):
        sign_in(directory, "bob", "bob's battery\0")


def test_groups_of_groups_count_where_they_should(directory: Slapd) -> None:
    """They contain each other in a circle; that ends too."""
    found = sign_in(directory, "ayse", "correct horse", ldap_nested_groups=True, ldap_admin_groups=("staff",))
    assert found.groups == tuple(f"cn={name},{GROUPS}" for name in ("Doctors", "Everybody", "Staff"))
    assert found.is_admin


def test_a_group_makes_an_administrator_and_another_keeps_people_out(directory: Slapd) -> None:
    rules: dict[str, Any] = {"ldap_admin_groups": (f"CN=Doctors,{GROUPS}",), "ldap_allowed_groups": ("doctors",)}
    assert sign_in(directory, "ayse", "correct horse", **rules).is_admin
    with pytest.raises(NotInAllowedGroup):
        sign_in(directory, "bob", "bob's battery", **rules)
    assert not sign_in(directory, "bob", "bob's battery").is_admin


def test_start_tls_encrypts_before_anything_is_said(directory: Slapd) -> None:
    before = len(directory.log)
    url = f"ldap://127.0.0.1:{directory.ldap_port}"
    assert sign_in(directory, "ayse", "correct horse", ldap_url=url).name == "Ayşe Aydın"
    asked = directory.log[before:]
    assert 0 < asked.index("STARTTLS") < asked.index("TLS established") < asked.index(" method=128")


@pytest.mark.parametrize("scheme", ["ldaps", "ldap"])
def test_a_certificate_of_another_authority_is_refused(directory: Slapd, scheme: str) -> None:
    port = directory.ldaps_port if scheme == "ldaps" else directory.ldap_port
    asked = directory.binds
    with pytest.raises(SignInSourceDown, match="certificate is not trusted"):
        sign_in(
            directory,
            "ayse",
            "correct horse",
            ldap_url=f"{scheme}://127.0.0.1:{port}",
            ca_file=directory.folder / "another-ca.pem",
        )
    assert directory.binds == asked, "no password was sent"


def test_a_certificate_for_another_name_is_refused(directory: Slapd) -> None:
    with pytest.raises(SignInSourceDown, match="certificate is not trusted"):
        sign_in(directory, "ayse", "correct horse", ldap_url=f"ldaps://localhost:{directory.ldaps_port}")


def test_a_wrong_lookup_account_is_the_administrators_fault_not_the_persons(directory: Slapd) -> None:
    with pytest.raises(SignInSourceDown, match="refuses the account that looks people up"):
        sign_in(directory, "ayse", "correct horse", ldap_bind_password="old")


def test_a_missing_subject_is_not_replaced_by_something_that_changes(directory: Slapd) -> None:
    with pytest.raises(SignInSourceDown, match="does not show the attribute objectGUID"):
        sign_in(directory, "ayse", "correct horse", ldap_subject_attribute="objectGUID")


def test_values_of_the_directory_are_text_or_hexadecimal() -> None:
    entry = Entry(
        "cn=x", {"objectguid": (b"printable as it is",), "cn": ("می\u200cخواهم".encode(),), "id": (b"\xff\x00",), "mail": ()}
    )
    assert entry.text("objectGUID") == b"printable as it is".hex()
    assert entry.text("cn") == "می\u200cخواهم"
    assert (entry.text("id"), entry.text("mail"), entry.text("none")) == ("ff00", "", "")


def test_a_filter_that_fits_several_lets_nobody_in(directory: Slapd) -> None:
    with pytest.raises(SignInSourceDown):
        sign_in(directory, "ayse", "correct horse", ldap_user_filter="(|(objectClass=person)(uid={name}))")


def test_a_directory_that_is_gone_or_hangs_is_said_in_time(directory: Slapd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        started = time.monotonic()
        with pytest.raises(SignInSourceDown, match="does not answer in time") as caught:
            sign_in(directory, "ayse", "x", ldap_url=f"ldaps://127.0.0.1:{port}", identity_timeout_s=0.5)
        assert time.monotonic() - started < 5
    assert "Accounts of this appliance itself still work" in caught.value.hint
    with pytest.raises(SignInSourceDown, match="no encrypted connection"):
        sign_in(directory, "ayse", "x", ldap_url=f"ldaps://127.0.0.1:{port}")


@pytest.mark.parametrize(
    "changes",
    [
        {"ldap_url": "http://directory.example.org"},
        {"ldap_url": "ldap://directory.example.org", "ldap_start_tls": False},
        {"ldap_base_dn": ""},
        {"ldap_user_filter": "(uid=ayse)"},
        {"ldap_user_dn": "uid=ayse,ou=people"},
        {"ca_file": Path("/nowhere.pem")},
    ],
)
def test_settings_that_cannot_work_are_refused_at_the_start(directory: Slapd, changes: dict[str, Any]) -> None:
    with pytest.raises(StartRefused):
        LdapDirectory(settings_for(directory, **changes))
