"""The vendor's command line: keys outside of repositories, licences as every appliance reads them, no release with test keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from licence import EMBEDDED, Binding, Limits, PublicKey, TrustedKeys, read_licence
from licence.__main__ import Refusal, main, refuse_checkout, refuse_development_keys
from licence.keys import DEVELOPMENT_KEY_IDS, public_key_of
from tests.licence.making import NEXT, TRUSTED, licence, signed

PASSPHRASE = "correct horse battery"


class Vendor:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.passphrase = folder / "passphrase"
        self.passphrase.write_text(PASSPHRASE + "\n")

    def run(self, *arguments: object) -> int:
        return main([str(argument) for argument in arguments])

    def keygen(self) -> tuple[Path, PublicKey]:
        assert self.run("keygen", self.folder / "keys", "--passphrase-file", self.passphrase) == 0
        (private,) = (self.folder / "keys").glob("*.private.pem")
        (public,) = (self.folder / "keys").glob("*.public.json")
        return private, msgspec.json.decode(public.read_bytes(), type=PublicKey)

    def issue(self, key: Path, *options: object) -> Path:
        out = self.folder / "licence.json"
        about = ("--id", "lic_7", "--serial", 7, "--customer", "Newsroom", "--out", out)
        assert self.run("issue", "--key", key, "--passphrase-file", self.passphrase, *about, *options) == 0
        return out


@pytest.fixture
def vendor(tmp_path: Path) -> Vendor:
    return Vendor(tmp_path)


def test_a_key_pair_is_secret_and_protected(vendor: Vendor) -> None:
    private, public = vendor.keygen()
    assert private.stat().st_mode & 0o777 == 0o600
    assert private.parent.stat().st_mode & 0o777 == 0o700
    assert b"ENCRYPTED PRIVATE KEY" in private.read_bytes()
    assert public.id in private.name


def test_private_keys_stay_out_of_repositories(vendor: Vendor, capsys: pytest.CaptureFixture[str]) -> None:
    checkout = vendor.folder / "project"
    (checkout / ".git").mkdir(parents=True)
    assert vendor.run("keygen", checkout / "deep" / "keys", "--passphrase-file", vendor.passphrase) == 1
    assert "git checkout" in capsys.readouterr().err
    assert not (checkout / "deep").exists()
    with pytest.raises(Refusal):
        refuse_checkout(Path(__file__).resolve().parent)


def test_a_short_passphrase_is_refused(vendor: Vendor, capsys: pytest.CaptureFixture[str]) -> None:
    vendor.passphrase.write_text("short\n")
    assert vendor.run("keygen", vendor.folder / "keys", "--passphrase-file", vendor.passphrase) == 1
    assert "at least 12" in capsys.readouterr().err


def test_what_is_issued_is_what_an_appliance_reads(vendor: Vendor) -> None:
    key, public = vendor.keygen()
    file = vendor.issue(
        key,
        *("--edition", "clinic", "--not-before", "2027-01-01", "--days", 365, "--grace-days", 21, "--seats", 25, "--gpus", 2),
        *("--concurrent-jobs", 4, "--hours-a-month", 500, "--bind", "inst_1", "--bind", "GPU-a", "--bind", "GPU-b"),
        *("--feature", "live", "--supersedes", "lic_6", "--support-until", "2028-01-01"),
    )
    read = read_licence(file.read_bytes(), TrustedKeys(public, public_key_of(NEXT)))
    assert read.issued_at is not None
    assert abs(datetime.now(UTC) - read.issued_at) < timedelta(minutes=5)
    assert (read.id, read.serial, read.customer, read.edition) == ("lic_7", 7, "Newsroom", "clinic")
    assert read.expires_at == datetime(2028, 1, 1, tzinfo=UTC)
    assert read.limits == Limits(25, 2, 4, 500.0)
    assert read.bind == Binding(2, ("inst_1", "GPU-a", "GPU-b"))
    assert (read.features, read.supersedes, read.grace_days) == (("live",), ("lic_6",), 21)


def test_a_wrong_passphrase_issues_nothing(vendor: Vendor, capsys: pytest.CaptureFixture[str]) -> None:
    key, _ = vendor.keygen()
    wrong = vendor.folder / "wrong"
    wrong.write_text("not the passphrase\n")
    out = vendor.folder / "licence.json"
    about = ("--id", "x", "--serial", 1, "--customer", "x", "--perpetual", "--out", out)
    assert vendor.run("issue", "--key", key, "--passphrase-file", wrong, *about) == 1
    assert "passphrase" in capsys.readouterr().err
    assert not out.exists()


def test_a_licence_that_makes_no_sense_is_not_issued(vendor: Vendor, capsys: pytest.CaptureFixture[str]) -> None:
    key, _ = vendor.keygen()
    out = vendor.folder / "licence.json"
    about = ("issue", "--key", key, "--passphrase-file", vendor.passphrase, "--id", "x", "--serial", 1, "--customer", "x")
    assert vendor.run(*about, "--expires", "2020-01-01", "--out", out) == 1
    assert vendor.run(*about, "--perpetual", "--bind", "a", "--bind-need", 2, "--out", out) == 1
    assert "needs 2 of 1" in capsys.readouterr().err
    assert not out.exists()


def test_inspecting_says_whether_the_signature_holds(vendor: Vendor, capsys: pytest.CaptureFixture[str]) -> None:
    file, trusted = vendor.folder / "a.json", vendor.folder / "keys.json"
    file.write_bytes(signed(licence()))
    trusted.write_bytes(msgspec.json.encode(TRUSTED))
    assert vendor.run("inspect", file, "--trusted", trusted) == 0
    assert "City Hospital" in capsys.readouterr().out
    assert vendor.run("inspect", file) == 1
    shown = capsys.readouterr()
    assert "City Hospital" in shown.out  # shown all the same: that is what inspecting is for
    assert "does not know" in shown.err


def test_a_release_with_the_development_keys_is_refused() -> None:
    """`make release` and the image's build call this; the keys of the repository are the development root."""
    assert {EMBEDDED.current.id, EMBEDDED.next.id} == DEVELOPMENT_KEY_IDS
    with pytest.raises(Refusal, match="development keys"):
        refuse_development_keys(EMBEDDED)
    half = TrustedKeys(TRUSTED.current, EMBEDDED.next)
    with pytest.raises(Refusal):
        refuse_development_keys(half)
    refuse_development_keys(TRUSTED)
    assert main(["check-release"]) == 1
