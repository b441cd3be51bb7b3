"""The built-in authority over the years: first start, renewal, new names, a new authority."""

from __future__ import annotations

import logging
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from appliance.errors import CertificateRefused
from appliance.tls.builtin import AUTHORITY_FILE, LEAF_FILE, PUBLIC_FILE, BuiltIn
from appliance.tls.names import Names, configured_names
from appliance.tls.private_folder import PrivateFolder
from tests.tls.makers import NOW


class Machine:
    """Its names can change."""

    def __init__(self, folder: Path) -> None:
        self.folder = PrivateFolder(folder / "tls")
        self.names = configured_names(["localhost", "box", "10.0.0.5"])

    def started(self, *configured: str) -> BuiltIn:
        asked = configured_names(configured)
        return BuiltIn(self.folder, lambda: self.names + asked, asked)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_first_start_makes_what_is_missing_and_the_next_finds_it(machine: Machine) -> None:
    first = machine.started().credentials(NOW)
    again = machine.started().credentials(NOW + timedelta(days=1))
    assert first.pem == again.pem
    assert first.names == machine.names
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in machine.folder.path.iterdir()}
    assert modes == {".lock": 0o600, AUTHORITY_FILE: 0o600, PUBLIC_FILE: 0o600, LEAF_FILE: 0o600}
    assert stat.S_IMODE(machine.folder.path.stat().st_mode) == 0o700
    public = machine.folder.read(PUBLIC_FILE)
    assert public
    assert b"PRIVATE" not in public


def test_two_starts_at_once_make_one_authority(machine: Machine) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: machine.started().authority(NOW).fingerprint, range(16)))
    assert len(set(made)) == 1


def test_it_renews_itself_when_a_third_is_left_and_keeps_its_authority(machine: Machine) -> None:
    own = machine.started()
    first = own.credentials(NOW)
    assert own.credentials(NOW + timedelta(days=59)).pem == first.pem
    later = own.credentials(NOW + timedelta(days=61))
    assert later.pem != first.pem
    assert later.certificate.issuer == first.certificate.issuer
    assert later.not_after > first.not_after


def test_an_appliance_that_was_off_for_a_year_comes_back(machine: Machine) -> None:
    first = machine.started().credentials(NOW)
    assert machine.started().credentials(NOW + timedelta(days=365)).not_after > first.not_after


def test_a_new_private_address_gets_a_new_certificate(machine: Machine) -> None:
    own = machine.started()
    own.credentials(NOW)
    machine.names = configured_names(["localhost", "box", "192.168.1.9"])
    assert own.credentials(NOW).names == machine.names


def test_an_address_that_went_away_changes_nothing(machine: Machine) -> None:
    """A machine with containers has new ones every minute."""
    own = machine.started()
    first = own.credentials(NOW)
    machine.names = configured_names(["localhost", "box"])
    assert own.credentials(NOW).pem == first.pem


def test_a_name_beyond_the_authority_is_said_once_with_what_to_do(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    machine.started().credentials(NOW)
    own = machine.started("transcripts.ward.example")
    for _ in range(3):
        assert own.credentials(NOW).names == machine.names
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "may not vouch for transcripts.ward.example" in said
    assert "appliance trust renew --authority" in said
    assert own.coverage(NOW).beyond == Names(("transcripts.ward.example",), ())


def test_a_new_authority_knows_the_names_of_today(machine: Machine) -> None:
    old = machine.started().authority(NOW)
    own = machine.started("transcripts.ward.example")
    new = own.renew_authority(NOW)
    assert new.fingerprint != old.fingerprint
    leaf = own.credentials(NOW)
    assert "transcripts.ward.example" in leaf.names.dns
    leaf.certificate.verify_directly_issued_by(new.certificate)


def test_a_leaf_of_a_former_authority_is_not_served(machine: Machine) -> None:
    own = machine.started()
    former = own.credentials(NOW)
    own.renew_authority(NOW)
    machine.folder.write(LEAF_FILE, former.pem)
    own.credentials(NOW).certificate.verify_directly_issued_by(own.authority(NOW).certificate)


def test_a_damaged_leaf_is_made_anew(machine: Machine) -> None:
    own = machine.started()
    own.credentials(NOW)
    machine.folder.write(LEAF_FILE, b"rubbish")
    assert own.credentials(NOW).is_valid(NOW)


def test_a_damaged_authority_is_not_replaced_behind_people_s_backs(machine: Machine) -> None:
    own = machine.started()
    own.credentials(NOW)
    machine.folder.write(AUTHORITY_FILE, b"rubbish")
    with pytest.raises(CertificateRefused, match="damaged"):
        own.credentials(NOW)


def test_a_clock_far_behind_is_said(machine: Machine) -> None:
    own = machine.started()
    own.credentials(NOW)
    with pytest.raises(CertificateRefused, match="clock of this machine says 2020-01-01"):
        own.credentials(NOW.replace(year=2020, month=1, day=1))


def test_the_end_of_the_authority_is_announced_a_year_before(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    own = machine.started()
    own.credentials(NOW)
    assert "ends on" not in caplog.text
    own.credentials(NOW + timedelta(days=3652 - 300))
    assert "ends on 2036-11-21" in caplog.text
