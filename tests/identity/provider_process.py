"""The process behind `provider.py`: `oidc-provider-mock`, made to break one rule at a time.

As a program: `python -m tests.identity.provider_process FOLDER`, with certificates in FOLDER for HTTPS.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import flask
import oidc_provider_mock
from authlib import jose
from oidc_provider_mock import User
from oidc_provider_mock._app import AuthorizationCodeGrant
from oidc_provider_mock._storage import storage
from werkzeug.serving import make_server

PEOPLE = {
    "ayse": {"name": "Ayşe Aydın", "email": "ayse@example.org", "email_verified": True, "groups": ["doctors", "staff"]},
    "bob": {"name": "Bob", "email": "ayse@example.org", "email_verified": False, "groups": ["staff"]},
}


class BentProvider:
    """The provider's own process: its application, and what a test wants of it."""

    def __init__(self) -> None:
        AuthorizationCodeGrant.TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post", "none"]
        people = [User(sub=sub, claims=dict(claims)) for sub, claims in PEOPLE.items()]
        self.app = oidc_provider_mock.app(require_nonce=True, user_claims=people)
        self.how: dict[str, Any] = {}
        self.asked: list[str] = []
        self.challenges: dict[str, str] = {}  # by code
        self.app.add_url_rule("/bend", view_func=self.bend, methods=["POST"])
        self.app.add_url_rule("/rotate", view_func=self.rotate, methods=["POST"])
        self.app.add_url_rule("/requests", view_func=self.requests)
        self.app.before_request(self.before)
        self.app.after_request(self.after)

    def bend(self) -> tuple[str, int]:
        self.how = flask.request.get_json()
        return "", 204

    def rotate(self) -> tuple[str, int]:
        storage.jwk = jose.RSAKey.generate_key(is_private=True)
        return "", 204

    def requests(self) -> flask.Response:
        return flask.jsonify(self.asked)

    def before(self) -> tuple[Any, int] | None:
        path = flask.request.path
        self.asked.append(path)
        if path in self.how.get("broken", ()):
            return "out of order", 500
        if path == "/oauth2/token" and self.challenges.pop(flask.request.form["code"], None) != challenge_of(
            flask.request.form.get("code_verifier", "")
        ):
            return {"error": "invalid_grant"}, 400
        return None

    def after(self, response: flask.Response) -> flask.Response:
        path, is_fine = flask.request.path, response.status_code == 200
        if path == "/oauth2/authorize" and "location" in response.headers:
            code = parse_qs(urlsplit(response.headers["location"]).query).get("code", [""])[0]
            assert flask.request.args["code_challenge_method"] == "S256"
            self.challenges[code] = flask.request.args["code_challenge"]
        if path == "/oauth2/token" and is_fine:
            response.set_data(json.dumps(bent_tokens(response.get_json(), storage.jwk, self.how)))
        if path == "/.well-known/openid-configuration" and is_fine:
            response.set_data(json.dumps(response.get_json() | self.how.get("metadata", {})))
        return response


def challenge_of(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def main(folder: Path) -> None:
    certificate = folder / "server.pem"
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate.exists() else None
    if tls:
        tls.load_cert_chain(certificate, folder / "server.key")
    server = make_server("127.0.0.1", 0, BentProvider().app, threaded=True, ssl_context=tls)
    print(f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


def bent_tokens(tokens: dict[str, Any], key: Any, how: dict[str, Any]) -> dict[str, Any]:
    """`claims` are changed and the token signed again by the same key; `alg` signs it in a way that proves nothing."""
    if "claims" in how or "alg" in how:
        payload = tokens["id_token"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "==")) | how.get("claims", {})
        claims |= {name: int(time.time()) - how["age_s"] for name in ("iat", "exp") if "age_s" in how}
        claims = {name: value for name, value in claims.items() if value is not None}
        match how.get("alg", "RS256"):
            case "none":
                tokens["id_token"] = by_hand({"alg": "none"}, claims, None)
            case "HS256 with the public key":
                tokens["id_token"] = by_hand({"alg": "HS256"}, claims, key.as_pem(is_private=False))
            case "HS256 with the client's secret":
                tokens["id_token"] = by_hand({"alg": "HS256"}, claims, b"client secret")
            case "RS256 by a stranger":
                tokens["id_token"] = jose.jwt.encode({"alg": "RS256"}, claims, jose.RSAKey.generate_key(is_private=True)).decode()
            case _:
                tokens["id_token"] = jose.jwt.encode({"alg": "RS256"}, claims, key).decode()
    if "access_token" in how:
        tokens["access_token"] = how["access_token"]
    return tokens


def by_hand(header: dict[str, str], claims: dict[str, Any], key: bytes | None) -> str:
    """No library would sign with nothing, or take a public key for a secret."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    signature = hmac.digest(key, b".".join(parts), "sha256") if key else b""
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
