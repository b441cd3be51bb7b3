"""`envelope.js` in a real Chromium against the vectors and against the Python implementation, both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from appliance.crypto.encoding import from_base64url, pad, to_base64url
from appliance.crypto.envelope import MAX_ITERATIONS, MIN_ITERATIONS, lock, read_envelope, unlock, write_envelope
from appliance.crypto.sealing import result_info, seal
from tests.web.standin import Standin

pytestmark = pytest.mark.slow

VECTORS = json.loads((Path(__file__).parent / "vectors" / "envelopes.json").read_text())
PASSWORD = "pässwörd 会議"
PRELUDE = """
const e = await import("/static/envelope.js");
const utf8 = (text) => new TextEncoder().encode(text);
const text = (bytes) => new TextDecoder().decode(bytes);
const code = (work) => work.then(() => "opened", (error) => error.code ?? `${error}`);
"""


@pytest.fixture
def opened(page: Page, standin: Standin) -> Page:
    page.goto(standin.url)
    return page


def run(page: Page, body: str, argument: object = None) -> Any:
    return page.evaluate(f"async (given) => {{ {PRELUDE} {body} }}", argument)


def locked(content: bytes = b"who said what") -> dict[str, Any]:
    made = lock(content, PASSWORD, transcript="a-slug", owner="person_1", version=3, iterations=MIN_ITERATIONS)
    fields: dict[str, Any] = json.loads(write_envelope(made))
    return fields


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_the_published_vectors_are_reproduced(opened: Page, vector: dict[str, Any]) -> None:
    body = """
      const { content, unlocked } = await e.open(given.envelope, given.password);
      const made = await e.encrypt(content, unlocked, given.envelope, e.fromBase64Url(given.envelope.iv));
      return [text(content), made];
    """
    assert run(opened, body, vector) == [vector["content"], vector["envelope"]]


def test_what_the_browser_locks_python_opens(opened: Page) -> None:
    body = """
      const key = await e.deriveKey(given);
      return JSON.stringify(await e.encrypt(utf8("Sayın Aydın 会"), key, { transcript: "t", owner: "o", version: 2 }));
    """
    made = read_envelope(run(opened, body, PASSWORD).encode())
    assert made.kdf.iterations == 600_000
    assert unlock(made, PASSWORD).decode() == "Sayın Aydın 会"


def test_what_python_locks_the_browser_opens_and_nobody_else(opened: Page) -> None:
    body = """
      const [envelope, password] = given;
      return [text((await e.open(envelope, password)).content), await code(e.open(envelope, password + "."))];
    """
    assert run(opened, body, [locked(), PASSWORD]) == ["who said what", "wrong_password"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("transcript", "b-slug"),
        ("owner", "person_2"),
        ("version", 4),
        ("iv", to_base64url(bytes(12))),
        ("ciphertext", to_base64url(bytes(1040))),
        ("iterations", MIN_ITERATIONS + 1),
        ("salt", to_base64url(bytes(16))),
    ],
)
def test_an_alteration_of_anything_bound_is_seen(opened: Page, field: str, value: object) -> None:
    envelope = locked()
    (envelope["kdf"] if field in envelope["kdf"] else envelope)[field] = value
    assert run(opened, "return code(e.open(...given))", [envelope, PASSWORD]) == "wrong_password"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("iterations", 10**12),
        ("iterations", MAX_ITERATIONS + 1),
        ("iterations", MIN_ITERATIONS - 1),
        ("iterations", "600000"),
        ("salt", to_base64url(bytes(15))),
        ("name", "PBKDF2-SHA-1"),
        ("format", "another"),
        ("format_version", 2),
        ("cipher", "AES-128-GCM"),
        ("iv", to_base64url(bytes(11))),
        ("ciphertext", "!"),
        ("owner", ""),
        ("version", 0),
        ("more", "in the clear"),
    ],
)
def test_a_hostile_envelope_is_refused_before_any_work(opened: Page, field: str, value: object) -> None:
    envelope = locked()
    (envelope["kdf"] if field in envelope["kdf"] else envelope)[field] = value
    assert run(opened, "return code(e.open(...given))", [envelope, PASSWORD]) == "invalid_envelope"


def test_a_changed_password_means_a_new_salt_and_the_next_version(opened: Page) -> None:
    before = locked()
    body = "return (await e.changePassword(given[0], given[1], 'another one', 100000)).envelope"
    after = run(opened, body, [before, PASSWORD])
    assert unlock(read_envelope(json.dumps(after).encode()), "another one") == b"who said what"
    assert (after["version"], after["transcript"], after["owner"]) == (4, "a-slug", "person_1")
    assert after["kdf"]["salt"] != before["kdf"]["salt"]
    assert after["iv"] != before["iv"]


def test_keys_cannot_be_taken_out_of_the_browser(opened: Page) -> None:
    body = """
      const keys = [(await e.deriveKey(given)).key, (await e.makeSealKey()).privateKey];
      return keys.map((key) => key.extractable);
    """
    assert run(opened, body, PASSWORD) == [False, False]


@pytest.mark.parametrize("length", [0, 1, 1022, 1023, 1024, 8191, 8192, 100_000])
def test_padding_is_the_same_on_both_sides(opened: Page, length: int) -> None:
    body = "return [e.toBase64Url(e.pad(new Uint8Array(given).fill(7))), e.unpad(e.pad(new Uint8Array(given).fill(7))).length]"
    assert run(opened, body, length) == [to_base64url(pad(b"\x07" * length)), length]


def test_a_result_sealed_here_opens_there_for_its_transcript_only(opened: Page) -> None:
    """HPKE of RFC 9180: `cryptography` seals, the page's own implementation opens."""
    opened.evaluate("async () => { window.seals = (await (await import('/static/envelope.js')).makeSealKey()); }")
    public_key = from_base64url(run(opened, "return e.toBase64Url(window.seals.publicKey)"))
    sealed = seal(b"who said what", public_key, result_info("a-slug"))
    body = """
      const bytes = e.fromBase64Url(given);
      const altered = bytes.slice();
      altered[70] ^= 1;
      const open = (what, slug) => e.openSealedResult(what, window.seals, slug);
      return [text(await open(bytes, "a-slug")), await code(open(bytes, "b-slug")), await code(open(altered, "a-slug"))];
    """
    assert run(opened, body, to_base64url(sealed)) == ["who said what", "seal_broken", "seal_broken"]


def test_the_key_schedule_is_that_of_the_rfc(opened: Page) -> None:
    vector = json.loads((Path(__file__).parent / "vectors" / "hpke.json").read_text())
    body = """
      const bytes = (hex) => Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
      const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
      const publicKey = bytes(given.pkRm);
      const part = (from, to) => e.toBase64Url(publicKey.subarray(from, to));
      const jwk = { kty: "EC", crv: "P-256", d: e.toBase64Url(bytes(given.skRm)), x: part(1, 33), y: part(33, 65) };
      const privateKey = await crypto.subtle.importKey("jwk", jwk, { name: "ECDH", namedCurve: "P-256" }, false, ["deriveBits"]);
      const { key, nonce } = await e.sealSecrets(bytes(given.enc), { privateKey, publicKey }, bytes(given.info), given.aead_id);
      return [hex(key), hex(nonce)];
    """
    assert run(opened, body, vector) == [vector["key"], vector["base_nonce"]]
