"""TLS 1.3 and who vouches for it: the built-in authority, the customer's files, or an ACME server."""

from appliance.tls.authority import Authority
from appliance.tls.builtin import BuiltIn
from appliance.tls.door import Door, Shown, built_in, open_door
from appliance.tls.front import Front
from appliance.tls.private_folder import PrivateFolder
from appliance.tls.redirect import Redirect

__all__ = [
    "Authority",
    "BuiltIn",
    "Door",
    "Front",
    "PrivateFolder",
    "Redirect",
    "Shown",
    "built_in",
    "open_door",
]
