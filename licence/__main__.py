"""The vendor's side: `python -m licence keygen | issue | inspect | check-release`. Never needed on a customer's machine."""

from __future__ import annotations

import argparse
import getpass
import json
import secrets
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from licence.document import PAYLOAD_TYPE, Binding, Licence, Limits, parse_payload, read_licence, write_payload
from licence.envelope import payload_of, read_envelope, sign
from licence.errors import LicenceError
from licence.keys import EMBEDDED, TrustedKeys, public_key_of, read_trusted_keys

SHORTEST_PASSPHRASE = 12  # characters


class Refusal(Exception):
    """What this tool will not do, as a sentence."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 refused."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (LicenceError, Refusal, OSError) as error:
        print(f"Refused: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m licence", description="Make keys, issue licences and look into them.")
    commands = parser.add_subparsers(required=True)
    _add_keygen(commands.add_parser("keygen", help="Make a key pair; the private half is protected by a passphrase."))
    _add_issue(commands.add_parser("issue", help="Sign a licence."))
    inspect = commands.add_parser("inspect", help="Show what a licence says, and whether its signature holds.")
    inspect.set_defaults(run=_inspect)
    inspect.add_argument("file", type=Path)
    inspect.add_argument("--trusted", type=Path, help="A keys.json; without: the keys built in.")
    check = commands.add_parser("check-release", help="Fail while the development keys are built in.")
    check.set_defaults(run=_check_release)
    return parser


# --- keygen -----------------------------------------------------------------------------------------------------------


def _add_keygen(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_keygen)
    parser.add_argument("folder", type=Path, help="Where to; outside every git checkout.")
    _add_passphrase(parser)


def _keygen(options: argparse.Namespace) -> None:
    folder: Path = options.folder.resolve()
    refuse_checkout(folder)
    passphrase = _passphrase(options.passphrase_file, again=True)
    key = Ed25519PrivateKey.generate()
    public = public_key_of(key)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    private_file, public_file = folder / f"{public.id}.private.pem", folder / f"{public.id}.public.json"
    _write_secret(private_file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase)))
    public_file.write_bytes(msgspec.json.encode(public) + b"\n")
    print(f"Key {public.id}\n  private: {private_file}\n  public:  {public_file}")


def refuse_checkout(folder: Path) -> None:
    """Raises `Refusal` inside a git checkout: what lies there is committed one day."""
    for parent in (folder, *folder.parents):
        if (parent / ".git").exists():
            raise Refusal(f"{folder} lies in the git checkout {parent}; private keys stay out of repositories.")


def _write_secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(content)


def _add_passphrase(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--passphrase-file", type=Path, help="The passphrase, as the first line; without: it is asked for.")


def _passphrase(file: Path | None, *, again: bool) -> bytes:
    given = file.read_text().splitlines()[0] if file else getpass.getpass("Passphrase of the private key: ")
    if again and len(given) < SHORTEST_PASSPHRASE:
        raise Refusal(f"The passphrase needs at least {SHORTEST_PASSPHRASE} characters.")
    if again and file is None and getpass.getpass("Once more: ") != given:
        raise Refusal("The two passphrases differ.")
    return given.encode()


# --- issue ------------------------------------------------------------------------------------------------------------


def _add_issue(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_issue)
    parser.add_argument("--key", type=Path, required=True, help="The private key.")
    _add_passphrase(parser)
    parser.add_argument("--out", type=Path, required=True, help="The licence file to write.")
    parser.add_argument("--id", default=f"licence_{secrets.token_hex(8)}", help="Without: a new one.")
    parser.add_argument("--serial", type=int, required=True, help="Higher than any licence of this customer before.")
    parser.add_argument("--customer", required=True)
    parser.add_argument("--edition", default="standard")
    parser.add_argument("--not-before", type=_day, help="A date; without: today.")
    term = parser.add_mutually_exclusive_group(required=True)
    term.add_argument("--days", type=int, help="From its beginning.")
    term.add_argument("--expires", type=_day, help="A date; the licence ends when this day begins.")
    term.add_argument("--perpetual", action="store_true")
    parser.add_argument("--grace-days", type=int, default=14)
    parser.add_argument("--support-until", type=_day)
    parser.add_argument("--feature", action="append", default=[])
    for limit, kind in (("seats", int), ("gpus", int), ("concurrent-jobs", int), ("hours-a-month", float)):
        parser.add_argument(f"--{limit}", type=kind)
    parser.add_argument("--bind", action="append", default=[], help="An install id or a GPU's UUID; give it several times.")
    parser.add_argument("--bind-need", type=int, help="How many of them must be there; without: all but one, at least one.")
    parser.add_argument("--supersedes", action="append", default=[], help="The id of a licence that this one replaces.")


def _day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _issue(options: argparse.Namespace) -> None:
    licence = parse_payload(write_payload(_wanted(options, datetime.now(UTC))))  # as every appliance will read it
    if licence.issued_at is not None and licence.expires_at is not None and licence.expires_at <= licence.issued_at:
        raise Refusal(f"A licence that ended on {licence.expires_at:%Y-%m-%d} is of no use.")
    key = _private_key(options.key, _passphrase(options.passphrase_file, again=False))
    options.out.write_bytes(sign(PAYLOAD_TYPE, write_payload(licence), key))
    print(f"Licence {licence.id} for {licence.customer}, signed by {public_key_of(key).id}: {options.out}")


def _private_key(file: Path, passphrase: bytes) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(file.read_bytes(), passphrase)
    except ValueError as error:
        raise Refusal(f"{file} cannot be opened with this passphrase: {error}.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Refusal(f"{file} is not an Ed25519 key.")
    return key


def _wanted(options: argparse.Namespace, now: datetime) -> Licence:
    not_before = options.not_before or now.replace(hour=0, minute=0, second=0, microsecond=0)
    return Licence(
        id=options.id,
        serial=options.serial,
        customer=options.customer,
        edition=options.edition,
        not_before=not_before,
        expires_at=not_before + timedelta(days=options.days) if options.days else options.expires,
        perpetual=options.perpetual,
        grace_days=options.grace_days,
        issued_at=now,
        support_until=options.support_until,
        features=tuple(options.feature),
        limits=Limits(options.seats, options.gpus, options.concurrent_jobs, options.hours_a_month),
        bind=_binding(options),
        supersedes=tuple(options.supersedes),
    )


def _binding(options: argparse.Namespace) -> Binding | None:
    if not options.bind:
        return None
    need = max(1, len(options.bind) - 1) if options.bind_need is None else options.bind_need
    return Binding(need, tuple(options.bind))


# --- inspect, check-release -------------------------------------------------------------------------------------------


def _inspect(options: argparse.Namespace) -> None:
    raw = options.file.read_bytes()
    trusted = read_trusted_keys(options.trusted.read_bytes()) if options.trusted else EMBEDDED
    print(json.dumps(json.loads(payload_of(read_envelope(raw))), indent=2, ensure_ascii=False))
    licence = read_licence(raw, trusted)
    print(f"The signature holds: licence {licence.id} for {licence.customer}.", file=sys.stderr)


def _check_release(options: argparse.Namespace) -> None:
    refuse_development_keys(EMBEDDED)
    print(f"Built in: current {EMBEDDED.current.id}, next {EMBEDDED.next.id}.")


def refuse_development_keys(keys: TrustedKeys) -> None:
    """Raises `Refusal`."""
    if keys.is_development:
        raise Refusal("The development keys are built in. Put the vendor's keys into licence/keys.json (docs/licence.md).")


if __name__ == "__main__":
    sys.exit(main())
