"""What `appliance doctor` looks at beyond the machine: the licence, whose keys this build trusts, and where else people sign in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from sqlite_utils.utils import sqlite3  # the one the store uses

from appliance.cli.checks import CHECKS, Check
from appliance.cli.findings import Finding, Verdict
from appliance.cli.licence import NOT_BEGUN, site_licence
from appliance.errors import ApplianceError
from appliance.identity import LdapDirectory, OidcProvider, identity_sources
from appliance.settings import Settings
from appliance.updates.roots import is_development, vendor_root
from licence import EMBEDDED, Standing, State

VERDICTS = {State.VALID: Verdict.FINE, State.EVALUATION: Verdict.NOTE}  # of the others a warning


def check_licence(settings: Settings) -> Iterator[Finding]:
    """Changes nothing: a look must neither begin the evaluation nor bring a database up to date."""
    try:
        site = site_licence(settings)
    except (ApplianceError, sqlite3.Error) as error:
        hint = (
            error.hint if isinstance(error, ApplianceError) else "The database in the data folder may be damaged; a backup helps."
        )
        yield Finding(point="licence", verdict=Verdict.WARNING, says=f"It cannot be looked at: {error}", remedy=hint)
        return
    yield judge_standing(site.standing()) if site else Finding(point="licence", verdict=Verdict.NOTE, says=NOT_BEGUN)


def judge_standing(standing: Standing) -> Finding:
    """A restricted appliance still serves what is there: it is warned of, and blocks nothing."""
    verdict = VERDICTS.get(standing.state, Verdict.WARNING)
    if standing.notices:
        first = standing.notices[0]
        return Finding(point="licence", verdict=verdict, says=first.sentence, remedy=first.hint)
    return Finding(point="licence", verdict=verdict, says=f"Valid{f', until {standing.until:%Y-%m-%d}' if standing.until else ''}.")


def check_build(_settings: Settings) -> Iterator[Finding]:
    yield judge_build(licences=EMBEDDED.is_development, models=is_development(vendor_root()))


def judge_build(*, licences: bool, models: bool) -> Finding:
    """Each true where the keys built in are those of development."""
    if not licences and not models:
        return Finding(point="build", verdict=Verdict.FINE, says="A release: licences and model updates are the vendor's only.")
    parts = ("It trusts model updates by keys that everybody has.",) * models + ("No licence can be made for it.",) * licences
    remedy = "For work with real recordings install a release of your vendor's."
    return Finding(point="build", verdict=Verdict.WARNING, says=f"For development. {' '.join(parts)}", remedy=remedy)


def check_sign_in(settings: Settings) -> Iterator[Finding]:
    """Asks the provider and the directory that the settings name; nothing where they name none."""
    if settings.oidc_issuer or settings.ldap_url:
        yield from asyncio.run(_ask_sources(settings))


async def _ask_sources(settings: Settings) -> list[Finding]:
    try:
        sources = identity_sources(settings)
    except ApplianceError as error:
        return [Finding(point="sign-in", verdict=Verdict.BLOCKS, says=error.message, remedy=error.hint)]
    asked: list[OidcProvider | LdapDirectory] = [source for source in (sources.oidc, sources.ldap) if source]
    findings = []
    for source in asked:
        try:
            await source.reach()
        except ApplianceError as error:
            findings.append(Finding(point="sign-in", verdict=Verdict.WARNING, says=error.message, remedy=error.hint))
        else:
            findings.append(Finding(point="sign-in", verdict=Verdict.FINE, says=f"'{source.label}' answers."))
    sources.close()
    return findings


# What check_sign_in says names servers of the site, which are nobody's business at support.
FOR_SUPPORT: tuple[Check, ...] = (*CHECKS, check_licence, check_build)
EVERYTHING: tuple[Check, ...] = (*FOR_SUPPORT, check_sign_in)
