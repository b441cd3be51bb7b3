"""The licence at work on real files and a real store: installed, chosen, judged, written down, and never in the way."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.engine.gpu import CPU, Device, DeviceChoice
from appliance.errors import HoursUsedUp, LicenceNotAccepted, LicenceNotKept, LicenceRefusal, SeatsTaken
from appliance.licensing.files import LicenceFiles
from appliance.licensing.licensing import audit_id
from appliance.licensing.site import month, next_month
from appliance.store import Store, Used
from licence import Binding, Limits, State
from tests.licence.making import END, NEXT, START, STRANGER, licence, signed
from tests.licensing.conftest import DAY, GPU_A, Site, gpu

pytestmark = pytest.mark.anyio
YEARS = timedelta(days=3653)


async def test_a_first_start_simply_works_and_ends_after_thirty_days(site: Site) -> None:
    async with site.opened() as licensing:
        assert licensing.standing().state is State.EVALUATION
        licensing.check_new_job()
        licensing.check_seat(10_000)
        site.pass_time(30 * DAY)
        await licensing.look()
        with pytest.raises(LicenceRefusal, match=r"No new recordings are taken\. There is no licence\.") as refused:
            licensing.check_new_job()
        assert "appliance licence install" in refused.value.hint
        with pytest.raises(LicenceRefusal, match="Nobody new can be let in"):
            licensing.check_seat(0)
    assert site.events().count("licence.changed") == 2


async def test_the_evaluation_goes_on_across_restarts_and_is_not_begun_again(site: Site) -> None:
    ids = set()
    for _ in range(4):
        async with site.opened() as licensing:
            ids.add(licensing.install_id)
            site.pass_time(7 * DAY)
    site.pass_time(2 * DAY)
    async with site.opened() as licensing:
        ids.add(licensing.install_id)
        assert licensing.standing().is_restricted
    assert len(ids) == 1


async def test_an_installed_licence_counts_at_once_and_after_a_restart(site: Site) -> None:
    async with site.opened() as licensing:
        standing = await licensing.install(signed(licence(limits=Limits(seats=2))), "console")
        assert standing.state is State.VALID
        with pytest.raises(SeatsTaken):
            licensing.check_seat(2)
        licensing.check_seat(1)
    assert (site.data_dir / "licence.json").stat().st_mode & 0o777 == 0o600
    async with site.opened() as licensing:
        assert licensing.standing().licence == licence(limits=Limits(seats=2))
    installed = [entry for entry in site.heard if entry.event == "licence.installed"]
    assert [(entry.actor, entry.subject, entry.facts) for entry in installed] == [("console", audit_id(licence()), {"serial": 1})]


async def test_a_file_put_there_by_hand_counts_without_a_restart(site: Site, tmp_path: Path) -> None:
    site.mounted = tmp_path / "mount" / "licence.json"
    async with site.opened() as licensing:
        assert licensing.standing().state is State.EVALUATION
        site.mounted.parent.mkdir()
        site.mounted.write_bytes(signed(licence()))
        assert licensing.standing().state is State.VALID
        site.mounted.unlink()
        (site.data_dir / "licence.json").write_bytes(signed(licence(id="lic_2", serial=2)))
        assert licensing.standing().licence == licence(id="lic_2", serial=2)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "licence_unreadable"),
        (b"x" * 100_000, "licence_unreadable"),
        (signed(licence(serial=9), STRANGER), "licence_unknown_signer"),
        (signed(licence(serial=9)).replace(b'"sig":"', b'"sig":"AAAA'), "licence_bad_signature"),
        (signed(licence(id="lic_0", serial=1)), "licence_superseded"),
        (signed(licence(id="lic_old", serial=7)), "licence_superseded"),
        (signed(licence(id="lic_9", serial=9, not_before=START - YEARS, expires_at=START - 20 * DAY)), "licence_ended"),
    ],
)
async def test_what_is_refused_leaves_the_licence_as_it_is(site: Site, raw: bytes, code: str) -> None:
    present = licence(serial=5, supersedes=("lic_old",))
    async with site.opened() as licensing:
        await licensing.install(signed(present), "console")
        with pytest.raises(LicenceNotAccepted) as refused:
            await licensing.install(raw, "key_0123456789abcdef")
        assert refused.value.code == code
        assert refused.value.hint
        assert licensing.standing().licence == present
        assert LicenceFiles(site.data_dir).licences() == (signed(present),)
    assert ("licence.refused", "key_0123456789abcdef") in [(entry.event, entry.actor) for entry in site.heard]


async def test_an_older_serial_that_supersedes_the_newer_is_taken(site: Site) -> None:
    async with site.opened() as licensing:
        await licensing.install(signed(licence(id="lic_9", serial=9)), "console")
        chosen = licence(id="lic_3", serial=3, supersedes=("lic_9",))
        assert (await licensing.install(signed(chosen), "console")).licence == chosen


async def test_a_renewal_may_be_installed_before_the_old_one_ends(site: Site) -> None:
    """The old one is kept and counts until the new one begins, whichever key signed it."""
    renewal = licence(id="lic_2", serial=2, not_before=END, expires_at=END + 365 * DAY)
    async with site.opened() as licensing:
        await licensing.install(signed(licence()), "console")
        site.pass_time(20 * DAY)
        assert (await licensing.install(signed(renewal, NEXT), "console")).licence == licence()
        assert (await licensing.install(signed(renewal, NEXT), "console")).licence == licence()  # again: nothing is lost
        site.pass_time(END - site.wall_at)
        standing = licensing.standing()
        assert (standing.licence, standing.state) == (renewal, State.VALID)


async def test_a_broken_file_beside_a_good_one_does_no_harm(site: Site) -> None:
    async with site.opened() as licensing:
        await licensing.install(signed(licence()), "console")
        (site.data_dir / "licence.previous.json").write_bytes(b"{}")
        assert licensing.standing().state is State.VALID


async def test_hours_of_a_month_are_counted_from_the_journal_and_renewed(site: Site) -> None:
    now = month(datetime.now(UTC))  # the journal writes the true time
    site.wall_at = now
    limited = licence(not_before=now - DAY, expires_at=now + 90 * DAY, limits=Limits(hours_a_month=2))
    async with site.opened() as licensing:
        await licensing.install(signed(limited), "console")
        store = licensing._store
        await store.usage.record(Used(owner="key_0123456789abcdef", model="whisper-base", audio_s=3599, engine_s=1))
        await licensing.recount()
        licensing.check_new_job()
        await store.usage.record(Used(owner="key_fedcba9876543210", model="whisper-base", audio_s=3601, engine_s=1))
        await licensing.recount()
        with pytest.raises(HoursUsedUp, match="2 hours") as refused:
            licensing.check_new_job()
        assert f"{next_month(now):%Y-%m-%d}" in refused.value.hint
        site.pass_time(next_month(now) - site.wall_at)
        await licensing.look()
        licensing.check_new_job()


async def test_only_the_first_gpus_of_the_licence_are_used(site: Site) -> None:
    site.gpus = (gpu("MIG-1", 0), gpu("MIG-2", 0), gpu("GPU-b", 1), gpu("GPU-c", 2))
    devices = tuple(Device("cuda", "H200", one.uuid) for one in site.gpus)
    choice = DeviceChoice(devices, "All of them.")
    async with site.opened() as licensing:
        assert licensing.permitted(choice) is choice
        await licensing.install(signed(licence(limits=Limits(gpus=2))), "console")
        kept = licensing.permitted(choice)
        assert [device.uuid for device in kept.devices] == ["MIG-1", "MIG-2", "GPU-b"]
        assert "allows 2 of these 3 GPUs" in kept.reason
        await licensing.install(signed(licence(serial=2, limits=Limits(gpus=0))), "console")
        assert licensing.permitted(choice).devices == (CPU,)
        assert licensing.permitted(choice).fell_back
        on_cpu = DeviceChoice((CPU,), "No GPU.")
        assert licensing.permitted(on_cpu) is on_cpu


async def test_a_changed_gpu_starts_grace_and_the_old_one_ends_it(site: Site) -> None:
    async with site.opened() as licensing:
        bound = licence(bind=Binding(2, (licensing.install_id, GPU_A)))
        assert (await licensing.install(signed(bound), "console")).state is State.VALID
    site.gpus = (gpu("GPU-new"),)
    async with site.opened() as licensing:
        assert licensing.standing().state is State.GRACE
        site.pass_time(13 * DAY)
        await licensing.look()
        assert licensing.standing().state is State.GRACE
        site.pass_time(DAY)
        await licensing.look()
        assert licensing.standing().state is State.EVALUATION  # which still runs, and covers it
        site.pass_time(16 * DAY)
        assert licensing.standing().is_restricted
    site.gpus = (gpu(GPU_A),)
    async with site.opened() as licensing:
        assert licensing.standing().state is State.VALID


async def test_a_clock_set_back_is_written_down_and_judged_at_the_mark(site: Site) -> None:
    async with site.opened() as licensing:
        await licensing.install(signed(licence(not_before=START, issued_at=START)), "console")
        site.pass_time(400 * DAY)
        await licensing.look()
        assert licensing.standing().is_restricted
        site.wall_at -= 390 * DAY
        await licensing.look()
        assert licensing.standing().is_restricted
        assert licensing.standing().judged_at > START + 399 * DAY
    turned = [entry for entry in site.heard if entry.event == "clock.turned_back"]
    assert [entry.facts["seconds"] for entry in turned] == [390 * 86400]


async def test_an_absurd_date_is_over_when_the_clock_is_repaired(site: Site) -> None:
    async with site.opened() as licensing:
        await licensing.install(signed(licence()), "console")
        for jump in (YEARS, -YEARS, 2 * YEARS, -YEARS, -YEARS):
            site.wall_at += jump
            await licensing.look()
        assert licensing.standing().state is State.VALID
    site.boot_id = "second"
    async with site.opened() as licensing:
        assert licensing.standing().state is State.VALID


async def test_the_mark_lives_in_two_places_and_either_is_enough(site: Site) -> None:
    async with site.opened() as licensing:
        first = licensing.install_id
        site.pass_time(20 * DAY)
    (site.data_dir / "licensing" / "mark").unlink()
    async with site.opened() as licensing:
        assert licensing.install_id == first
        site.pass_time(5 * DAY)
    await forget_stored_mark(site)
    async with site.opened() as licensing:
        assert licensing.install_id == first
        site.wall_at = START
        assert licensing.standing().until is not None
        assert licensing.standing().days_left is not None
        assert licensing.standing().days_left == pytest.approx(5)  # 25 of 30 days have run, whatever the clock says


async def forget_stored_mark(site: Site) -> None:
    store = await Store.open(site.data_dir / "appliance.db")
    await store.licence_mark.write(b"")
    await store.close()


async def test_a_forged_mark_is_not_believed_and_locks_nobody_out(site: Site) -> None:
    async with site.opened() as licensing:
        first = licensing.install_id
        site.pass_time(DAY)
    mark = site.data_dir / "licensing" / "mark"
    tag, _, content = mark.read_bytes().partition(b"\n")
    forged = json.dumps({**json.loads(content), "ran_s": 0.0, "installed_at": "2999-01-01T00:00:00Z"}).encode()
    mark.write_bytes(tag + b"\n" + forged)
    async with site.opened() as licensing:  # the store's copy holds
        assert licensing.standing().days_left == pytest.approx(29)
    assert "clock.mark_refused" in site.events()
    (site.data_dir / "licensing" / "mark.key").write_bytes(b"another key".ljust(32))
    async with site.opened() as licensing:  # none holds: no second evaluation, but the same site, and a licence helps
        assert licensing.install_id == first
        assert licensing.standing().is_restricted
        assert (await licensing.install(signed(licence()), "console")).state is State.VALID


async def test_keys_and_marks_are_nobody_else_s(site: Site) -> None:
    async with site.opened():
        folder = site.data_dir / "licensing"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {"mark": 0o600, "mark.key": 0o600}


async def test_a_disk_that_takes_nothing_stops_nobody(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.data_dir.mkdir()
    (site.data_dir / "licensing").write_text("a file where a folder should be: nothing can be kept")
    async with site.opened() as licensing:
        assert licensing.standing().state is State.EVALUATION
        licensing.check_new_job()
    assert "begins anew at the next start" in caplog.text
    (site.data_dir / "licence.json").mkdir()
    async with site.opened() as licensing:
        with pytest.raises(LicenceNotKept, match="could not be written"):
            await licensing.install(signed(licence()), "console")
