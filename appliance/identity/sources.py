"""The sources of identities that the settings name, checked as far as that is possible without asking them."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.identity.ldap import LdapDirectory
from appliance.identity.oidc import OidcProvider
from appliance.settings import Settings


@dataclass(frozen=True)
class IdentitySources:
    oidc: OidcProvider | None = None
    ldap: LdapDirectory | None = None

    def close(self) -> None:
        if self.ldap:
            self.ldap.close()


def identity_sources(settings: Settings) -> IdentitySources:
    """Raises `StartRefused` with the setting at fault."""
    return IdentitySources(
        oidc=OidcProvider(settings) if settings.oidc_issuer else None,
        ldap=LdapDirectory(settings) if settings.ldap_url else None,
    )
