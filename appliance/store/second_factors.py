"""The second factor: time-based codes (RFC 6238) of an authenticator, and recovery codes for when it is lost.

The secret is sealed with the key file beside the database: who has a copy of the database alone makes no codes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from typing import Final

import msgspec
import pyotp
from sqlite_utils import Database

from appliance.errors import NotFound, WrongCredentials
from appliance.store.audit import append_audit
from appliance.store.database import first
from appliance.store.local_key import LocalKey
from appliance.store.rows import Row, json_text, now, time_text
from appliance.store.sessions import end_sessions
from appliance.store.threads import Writer

STEP_S: Final = 30
DRIFT_STEPS: Final = 1  # RFC 6238, 5.2: one step for the time between reading and sending
RECOVERY_CODES: Final = 10
RECOVERY_BYTES: Final = 10  # 80 bits: nothing to slow down for who has the hashes


class SecondFactors:
    def __init__(self, writer: Writer, key: LocalKey) -> None:
        self._writer = writer
        self._key = key

    async def begin(self, person_id: str) -> str:
        """A new secret (base32) for an authenticator; it counts once a code of it was confirmed. Raises `NotFound`."""
        secret = pyotp.random_base32()
        sealed = self._key.seal(secret.encode(), person_id)
        update = "UPDATE people SET second_factor = ? WHERE id = ? AND second_factor_at IS NULL"

        def work(db: Database) -> None:
            if not db.conn.execute(update, (sealed, person_id)).rowcount:
                raise NotFound("account without a second factor; take the present one off first")

        await self._writer.run(work)
        return secret

    async def confirm(self, person_id: str, code: str) -> tuple[str, ...]:
        """From now on it is asked for, and their sessions end. Returns recovery codes, shown once. Raises `WrongCredentials`."""
        codes = _new_recovery_codes()

        def work(db: Database) -> None:
            row = _read(db, person_id)
            if row["second_factor"] is None or row["second_factor_at"] is not None or not self._take_time_code(db, row, code):
                raise WrongCredentials
            _keep_recovery_codes(db, person_id, codes)
            db.conn.execute("UPDATE people SET second_factor_at = ? WHERE id = ?", (time_text(now()), person_id))
            end_sessions(db, person_id)
            append_audit(db, "person.second_factor_added", person_id, person_id)

        await self._writer.run(work)
        return codes

    async def check(self, person_id: str, code: str) -> bool:
        """A code works once: the time step it was for, and all before, are over; a recovery code is crossed out."""

        def work(db: Database) -> bool:
            row = _read(db, person_id)
            if row["second_factor_at"] is None:
                return False
            return self._take_time_code(db, row, code) or _take_recovery_code(db, row, code)

        return await self._writer.run(work)

    async def renew_recovery_codes(self, person_id: str) -> tuple[str, ...]:
        """The earlier ones end. Raises `NotFound`."""
        codes = _new_recovery_codes()

        def work(db: Database) -> None:
            if _read(db, person_id)["second_factor_at"] is None:
                raise NotFound("second factor on this account")
            _keep_recovery_codes(db, person_id, codes)

        await self._writer.run(work)
        return codes

    async def remove(self, person_id: str, actor: str) -> None:
        """Their sessions end. Raises `NotFound`."""

        def work(db: Database) -> None:
            if _read(db, person_id)["second_factor"] is None:
                raise NotFound("second factor on this account")
            db.conn.execute(
                "UPDATE people SET second_factor = NULL, second_factor_at = NULL, recovery_codes = '[]' WHERE id = ?", (person_id,)
            )
            end_sessions(db, person_id)
            append_audit(db, "person.second_factor_removed", actor, person_id)

        await self._writer.run(work)

    def _take_time_code(self, db: Database, row: Row, code: str) -> bool:
        """Raises `SealBroken`."""
        totp = pyotp.TOTP(self._key.open(row["second_factor"], row["id"]).decode(), interval=STEP_S)
        step = _matching_step(totp, code.replace(" ", ""))
        if step is None or step <= row["second_factor_step"]:
            return False
        db.conn.execute("UPDATE people SET second_factor_step = ? WHERE id = ?", (step, row["id"]))
        return True


def provisioning_uri(secret: str, email: str) -> str:
    """What an authenticator reads from a QR code."""
    return pyotp.TOTP(secret, interval=STEP_S).provisioning_uri(name=email, issuer_name="Appliance")


def _matching_step(totp: pyotp.TOTP, code: str) -> int | None:
    now_step = int(time.time()) // STEP_S
    for step in range(now_step - DRIFT_STEPS, now_step + DRIFT_STEPS + 1):
        if hmac.compare_digest(totp.generate_otp(step).encode(), code.encode(errors="replace")):
            return step
    return None


def _read(db: Database, person_id: str) -> Row:
    found = first(db, "SELECT * FROM people WHERE id = ?", (person_id,))
    if found is None:
        raise NotFound("person with that id")
    return found


def _new_recovery_codes() -> tuple[str, ...]:
    texts = (base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode().lower() for _ in range(RECOVERY_CODES))
    return tuple("-".join(text[at : at + 4] for at in range(0, 16, 4)) for text in texts)


def _keep_recovery_codes(db: Database, person_id: str, codes: tuple[str, ...]) -> None:
    kept = json_text([_recovery_digest(code) for code in codes])
    db.conn.execute("UPDATE people SET recovery_codes = ? WHERE id = ?", (kept, person_id))


def _take_recovery_code(db: Database, row: Row, code: str) -> bool:
    kept = msgspec.json.decode(row["recovery_codes"], type=list[str])
    given = _recovery_digest(code)
    if given not in kept:
        return False
    kept.remove(given)
    db.conn.execute("UPDATE people SET recovery_codes = ? WHERE id = ?", (json_text(kept), row["id"]))
    return True


def _recovery_digest(code: str) -> str:
    plain = "".join(char for char in code.lower() if char.isalnum())
    return hashlib.sha256(plain.encode(errors="replace")).hexdigest()
