"""Who somebody is, as another system of the organisation says: an OpenID Connect provider or an LDAP directory.

Nothing here knows accounts, sessions or HTTP routes; an `ExternalIdentity` is all that comes out.
"""

from appliance.identity.ldap import LdapDirectory, NameAndPassword
from appliance.identity.oidc import Callback, OidcProvider, SignInStart
from appliance.identity.provider import ExternalIdentity, IdentityProvider
from appliance.identity.sources import IdentitySources, identity_sources

__all__ = [
    "Callback",
    "ExternalIdentity",
    "IdentityProvider",
    "IdentitySources",
    "LdapDirectory",
    "NameAndPassword",
    "OidcProvider",
    "SignInStart",
    "identity_sources",
]
