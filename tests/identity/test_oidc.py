"""Signing in with a real OpenID Connect provider over HTTP: the honest way, and every way it can be attacked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.fernet import Fernet

from appliance.errors import NotInAllowedGroup, SignInNotTrusted, SignInRefusedElsewhere, SignInSourceDown, StartRefused
from appliance.identity import Callback, ExternalIdentity, OidcProvider, SignInStart
from appliance.identity import oidc as oidc_module
from appliance.settings import Settings
from tests.identity.provider import Provider
from tests.served import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

REDIRECT = "https://box.test/api/v1/session/oidc/callback"


def settings_for(provider: Provider, **changes: Any) -> Settings:
    usual: dict[str, Any] = {
        "oidc_issuer": provider.issuer,
        "oidc_client_id": "the box",
        "oidc_client_secret": "client secret",
        "oidc_redirect_url": REDIRECT,
        "data_dir": provider.folder,
    }
    return Settings(**usual | changes)


def box_for(provider: Provider, **changes: Any) -> OidcProvider:
    return OidcProvider(settings_for(provider, **changes))


async def callback_of(provider: Provider, start: SignInStart, person: str = "ayse") -> Callback:
    query = await asyncio.to_thread(provider.agree, start.url, person)
    return Callback(cookie=start.cookie, state=query["state"], code=query["code"])


async def signed_in(box: OidcProvider, provider: Provider, person: str = "ayse") -> ExternalIdentity:
    return await box.identify(await callback_of(provider, await box.start(), person))


def sign_in(provider: Provider, person: str = "ayse", **changes: Any) -> ExternalIdentity:
    return asyncio.run(signed_in(box_for(provider, **changes), provider, person))


def test_the_provider_says_who_it_is(honest: Provider) -> None:
    assert sign_in(honest) == ExternalIdentity(
        provider=honest.issuer,
        subject="ayse",
        email="ayse@example.org",
        name="Ayşe Aydın",
        groups=("doctors", "staff"),
        is_admin=False,
    )


def test_an_unproven_address_is_not_passed_on_and_the_subject_alone_tells_people_apart(honest: Provider) -> None:
    """Bob claims Ayşe's address, unverified."""
    bob = sign_in(honest, "bob")
    assert (bob.subject, bob.email) == ("bob", "")


def test_what_the_browser_is_sent_with(honest: Provider) -> None:
    start = asyncio.run(box_for(honest).start())
    query = {name: values[0] for name, values in parse_qs(urlsplit(start.url).query).items()}
    assert start.url.startswith(f"{honest.issuer}/oauth2/authorize?")
    assert (query["response_type"], query["code_challenge_method"], query["redirect_uri"]) == ("code", "S256", REDIRECT)
    assert min(len(query[name]) for name in ("state", "nonce", "code_challenge")) == 43  # 256 bits
    again = asyncio.run(box_for(honest).start())
    assert all(value not in again.url for value in (query["state"], query["nonce"], query["code_challenge"]))
    assert not any(value in start.cookie for value in query.values()), "the cookie is sealed"


def test_its_groups_make_administrators_and_keep_people_out(honest: Provider) -> None:
    rules: dict[str, Any] = {"oidc_admin_groups": ("Doctors",), "oidc_allowed_groups": ("doctors",)}
    assert sign_in(honest, "ayse", **rules).is_admin
    with pytest.raises(NotInAllowedGroup):
        sign_in(honest, "bob", **rules)
    assert not sign_in(honest, "bob", oidc_admin_groups=("doctors",)).is_admin


def test_a_group_that_only_looks_like_another_makes_nobody_an_administrator(honest: Provider) -> None:
    """At many providers people may make groups, and name them as they like."""
    honest.bend(claims={"groups": ["cn=doctors,x"]})
    assert not sign_in(honest, "bob", oidc_admin_groups=("doctors",)).is_admin
    with pytest.raises(NotInAllowedGroup):
        sign_in(honest, "bob", oidc_allowed_groups=("doctors",))


def test_what_the_id_token_leaves_out_is_read_from_userinfo(honest: Provider) -> None:
    honest.bend(claims={"name": None, "email": None, "groups": None})
    assert sign_in(honest).name == "Ayşe Aydın"
    honest.bend(claims={"name": None, "sub": "somebody else"})
    with pytest.raises(SignInNotTrusted, match="userinfo is about somebody else"):
        sign_in(honest)


def test_a_public_client_needs_no_secret(honest: Provider) -> None:
    assert sign_in(honest, oidc_client_secret="").subject == "ayse"


def test_a_provider_that_wants_the_secret_in_the_form_gets_it_there(honest: Provider) -> None:
    honest.bend(metadata={"token_endpoint_auth_methods_supported": ["client_secret_post"]})
    assert sign_in(honest).subject == "ayse"


# --- the browser ------------------------------------------------------------------------------------------------------


async def test_a_state_works_once(honest: Provider) -> None:
    box = box_for(honest)
    proof = await callback_of(honest, await box.start())
    assert (await box.identify(proof)).subject == "ayse"
    with pytest.raises(SignInNotTrusted, match="has been used already"):
        await box.identify(proof)


async def test_a_callback_in_another_browser_is_worth_nothing(honest: Provider) -> None:
    """An attacker sends somebody their own callback, to have them work in the attacker's account."""
    box = box_for(honest)
    attackers, victims = await callback_of(honest, await box.start()), await box.start()
    for cookie in ("", victims.cookie, "x" * 500, "ä"):
        with pytest.raises(SignInNotTrusted, match="not started in this browser"):
            await box.identify(Callback(cookie=cookie, state=attackers.state, code=attackers.code))
    with pytest.raises(SignInNotTrusted, match="not started in this browser"):
        await box.identify(Callback(cookie=attackers.cookie, state="", code=attackers.code))
    assert (await box.identify(attackers)).subject == "ayse", "none of that used it up"


async def test_a_code_of_another_sign_in_cannot_be_slipped_in(honest: Provider) -> None:
    """PKCE: the code belongs to the verifier of the sign-in that it was given for."""
    box = box_for(honest)
    stolen, mine = await callback_of(honest, await box.start()), await callback_of(honest, await box.start())
    with pytest.raises(SignInNotTrusted, match="does not know its own code"):
        await box.identify(Callback(cookie=mine.cookie, state=mine.state, code=stolen.code))


async def test_a_sign_in_ends_after_ten_minutes(honest: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    box = box_for(honest)
    proof = await callback_of(honest, await box.start())
    monkeypatch.setattr(oidc_module, "PENDING_S", -1)
    with pytest.raises(SignInNotTrusted, match="ten minutes ago"):
        await box.identify(proof)


async def test_a_cookie_sealed_by_somebody_else_is_refused(honest: Provider) -> None:
    forged = Fernet(Fernet.generate_key()).encrypt(b'{"state":"s","nonce":"n","verifier":"v"}').decode()
    with pytest.raises(SignInNotTrusted, match="not started in this browser"):
        await box_for(honest).identify(Callback(cookie=forged, state="s", code="c"))


@pytest.mark.parametrize(
    ("error", "said"), [("access_denied", "it refused, or you did"), ("<script>", "it sent no code"), ("", "it sent no code")]
)
async def test_a_refusal_at_the_provider_is_said_in_words(honest: Provider, error: str, said: str) -> None:
    box = box_for(honest)
    start = await box.start()
    state = parse_qs(urlsplit(start.url).query)["state"][0]
    with pytest.raises(SignInRefusedElsewhere, match=said):
        await box.identify(Callback(cookie=start.cookie, state=state, error=error))


async def test_an_answer_in_the_name_of_another_provider_is_refused(honest: Provider) -> None:
    box = box_for(honest)
    proof = await callback_of(honest, await box.start())
    with pytest.raises(SignInNotTrusted, match="another provider"):
        await box.identify(Callback(cookie=proof.cookie, state=proof.state, code=proof.code, issuer="https://evil.example.org"))


# --- the token --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bend", "said"),
    [
        ({"claims": {"nonce": "of another sign-in"}}, "nonce"),
        ({"claims": {"nonce": None}}, "nonce"),
        ({"claims": {"aud": "another client"}}, "aud"),
        ({"claims": {"aud": ["the box", "another client"]}}, "azp"),
        ({"claims": {"azp": "another client"}}, "azp"),
        ({"claims": {"iss": "https://evil.example.org"}}, "iss"),
        ({"claims": {"sub": None}}, "sub"),
        ({"claims": {"sub": ""}}, "sub"),
        ({"claims": {}, "age_s": 120}, "expired"),
        ({"claims": {}, "age_s": -7200}, "iat"),
        ({"claims": {"exp": None}}, "exp"),
        ({"claims": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}}, "at_hash"),
        ({"alg": "none"}, "not signed as it must be"),
        ({"alg": "HS256 with the public key"}, "not signed as it must be"),
        ({"alg": "HS256 with the client's secret"}, "not signed as it must be"),
        ({"alg": "RS256 by a stranger"}, "signed by nobody the provider names"),
    ],
    ids=str,
)
def test_a_token_that_breaks_a_rule_lets_nobody_in(honest: Provider, bend: dict[str, Any], said: str) -> None:
    honest.bend(**bend)
    with pytest.raises(SignInNotTrusted, match=said) as caught:
        sign_in(honest)
    assert "evil" not in str(caught.value), "nothing an attacker wrote is shown"


def test_a_clock_a_few_seconds_off_is_no_reason(honest: Provider) -> None:
    honest.bend(claims={}, age_s=20)
    assert sign_in(honest).subject == "ayse"


def test_an_access_token_that_the_id_token_does_not_vouch_for_is_refused(honest: Provider) -> None:
    honest.bend(access_token="slipped in")
    with pytest.raises(SignInNotTrusted, match="at_hash"):
        sign_in(honest)


async def test_keys_are_kept_and_asked_for_anew_when_they_change(honest: Provider) -> None:
    box = box_for(honest)
    for _ in range(3):
        assert (await signed_in(box, honest)).subject == "ayse"
    before = honest.requests().count("/jwks")
    honest.rotate_keys()
    assert (await signed_in(box, honest)).subject == "ayse"
    assert (await signed_in(box, honest)).subject == "ayse"
    assert honest.requests().count("/jwks") == before + 1


# --- the way there ----------------------------------------------------------------------------------------------------


def test_a_certificate_of_an_own_authority_is_trusted_when_named_and_only_then(encrypted: Provider) -> None:
    assert sign_in(encrypted, ca_file=encrypted.folder / "ca.pem").subject == "ayse"
    for ca_file in (None, encrypted.folder / "another-ca.pem"):
        with pytest.raises(SignInSourceDown, match=r"certificate of 127\.0\.0\.1 is not trusted"):
            asyncio.run(box_for(encrypted, ca_file=ca_file).start())


def test_a_provider_that_is_down_is_said_with_what_still_works(honest: Provider) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(SignInSourceDown, match=r"no connection to 127\.0\.0\.1") as caught:
        asyncio.run(box_for(honest, oidc_issuer=gone).start())
    assert "Accounts of this appliance itself still work" in caught.value.hint
    assert caught.value.retry_after_s


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/oauth2/token", "/jwks"])
def test_a_provider_that_breaks_half_way_is_said(honest: Provider, path: str) -> None:
    honest.bend(broken=[path])
    with pytest.raises(SignInSourceDown, match="it answers 500"):
        sign_in(honest)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"issuer": "https://evil.example.org"}, "it names itself"),
        ({"token_endpoint": "http://evil.example.org/token"}, "not encrypted"),
        ({"jwks_uri": "ftp://127.0.0.1/keys"}, "cannot be read|no connection"),
        ({"token_endpoint": 7}, "cannot be read"),
        ({"padding": "x" * 2**20}, "far too long"),
    ],
    ids=str,
)
def test_a_description_that_cannot_be_trusted_is_refused(honest: Provider, metadata: dict[str, Any], said: str) -> None:
    honest.bend(metadata=metadata)
    with pytest.raises(SignInSourceDown, match=said):
        sign_in(honest)


@pytest.mark.parametrize(
    "changes",
    [
        {"oidc_client_id": ""},
        {"oidc_issuer": "http://login.example.org"},
        {"oidc_redirect_url": "http://box.example.org/api/v1/session/oidc/callback"},
        {"oidc_redirect_url": "https://box.test/"},
        {"oidc_scopes": "profile"},
        {"ca_file": Path("/nowhere.pem")},
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused_at_the_start(honest: Provider, changes: dict[str, Any]) -> None:
    with pytest.raises(StartRefused):
        box_for(honest, **changes)
