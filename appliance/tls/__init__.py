"""TLS 1.3 and who vouches for it: the built-in authority, the customer's files, or an ACME server."""

from appliance.tls.authority import Authority
from appliance.tls.builtin import PUBLIC_FILE, BuiltIn
from appliance.tls.door import Door, Shown, built_in, open_door
from appliance.tls.front import Front
from appliance.tls.private_folder import TLS_FOLDER, PrivateFolder
from appliance.tls.redirect import Redirect

__all__ = [
    "PUBLIC_FILE",
    "TLS_FOLDER",
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
