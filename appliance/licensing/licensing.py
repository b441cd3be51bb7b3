"""The licence at work: which one counts, what it allows now, and what is written down when that changes.

It refuses new recordings and new people, and nothing else: nobody asks it before text is read, exported or erased.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Final

from appliance.engine.gpu import CPU, DeviceChoice, Gpu, survey
from appliance.errors import DiskFull, HoursUsedUp, LicenceNotAccepted, LicenceNotKept, LicenceRefusal, SeatsTaken, StoreBusy
from appliance.licensing.clock import read_clocks
from appliance.licensing.files import LicenceFiles
from appliance.licensing.mark import Mark, advance, judged_at, note_binding, seal, turned_back_by
from appliance.licensing.site import Clock, SiteLicence, latest, unsealed
from appliance.store import Store
from licence import EMBEDDED, Licence, LicenceError, Standing, State, TrustedKeys, check_newer, read_licence

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 60.0
SAVE_EVERY_S: Final = 600.0  # of running time; a crash loses no more, and nothing while the machine is not restarted
AUDIT_ID: Final = re.compile("licence_[0-9a-f]{1,32}")


class Licensing(SiteLicence):
    """Lives on one event loop. The checks are as quick as `standing`."""

    def __init__(  # noqa: PLR0917 - wired in `open` only
        self, store: Store, files: LicenceFiles, key: bytes, trusted: TrustedKeys, clock: Clock, gpus: Sequence[Gpu], mark: Mark
    ) -> None:
        super().__init__(files, trusted, clock, gpus, mark)
        self._store = store
        self._key = key  # of the mark
        self._saved_ran_s = mark.ran_s
        self._state: State | None = None  # as last written down
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(
        cls,
        store: Store,
        data_dir: Path,
        licence_file: Path | None = None,
        *,
        trusted: TrustedKeys = EMBEDDED,
        clock: Clock = read_clocks,
        gpus: Sequence[Gpu] | None = None,
    ) -> Licensing:
        """Of this site; at the first start the installation begins here. `gpus`: instead of those of this machine."""
        files = LicenceFiles(data_dir, licence_file)
        key = await asyncio.to_thread(files.key)
        found = [sealed for sealed in (await store.licence_mark.read(), files.read_mark()) if sealed is not None]
        marks = unsealed(found, key)
        if len(marks) < len(found):
            log.warning("A copy of the licence's clock was changed from outside, or restored without its key; it is not used.")
            await store.audit.record("clock.mark_refused", "system", copies=len(found) - len(marks))
        here = survey().gpus if gpus is None else gpus
        licensing = cls(store, files, key, trusted, clock, here, latest(marks, found, clock()))
        if not marks:
            await licensing._save()
        await licensing.recount()
        return licensing

    async def start(self) -> None:
        """Look now, and from then on once a minute."""
        await self.look()
        self._spawn(self._watch())

    async def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.look()
        await self._save()

    # --- what it refuses ----------------------------------------------------------------------------------------------

    def check_new_job(self) -> None:
        """Before a recording is read. Raises `LicenceRefusal`."""
        standing = self._checked("No new recordings are taken.")
        limit_h = standing.limits.hours_a_month
        if limit_h is not None and self.hours_used >= limit_h:
            raise HoursUsedUp(limit_h, f"{self.hours_renew_at:%Y-%m-%d}")

    def check_seat(self, taken: int) -> None:
        """Before one more person is let in, beside `taken` others. Raises `LicenceRefusal`."""
        standing = self._checked("Nobody new can be let in.")
        if standing.limits.seats is not None and taken >= standing.limits.seats:
            raise SeatsTaken(standing.limits.seats)

    def permitted(self, choice: DeviceChoice) -> DeviceChoice:
        """As many of the chosen GPUs as the licence allows, the first ones; slices of one GPU count once."""
        limit = self.standing().limits.gpus
        numbers = [self._gpu_numbers.get(device.uuid or "", device.uuid) for device in choice.devices]
        if limit is None or choice.kind != "cuda" or len(set(numbers)) <= limit:
            return choice
        allowed = list(dict.fromkeys(numbers))[:limit]
        kept = tuple(device for device, number in zip(choice.devices, numbers, strict=True) if number in allowed)
        reason = f"{choice.reason} The licence allows {limit} of these {len(set(numbers))} GPUs."
        log.warning("%s", reason)
        return DeviceChoice(kept or (CPU,), reason, fell_back=not kept)

    # --- what changes it ----------------------------------------------------------------------------------------------

    async def install(self, raw: bytes, actor: str) -> Standing:
        """Keep a licence that verifies and is newer than those here; the one it replaces is kept beside it.

        Raises `LicenceNotAccepted`, and then everything is as it was; `LicenceNotKept`.
        """
        now, present = self._now(), self._read_files()
        try:
            licence = read_licence(raw, self._trusted)
            check_newer(licence, present.every(), self._facts(now), judged_at(now))
        except LicenceError as error:
            await self._store.audit.record("licence.refused", actor)
            refusal = LicenceNotAccepted(error.message, error.hint)
            refusal.code = error.code
            raise refusal from error
        counts = self._choose(now, present)
        before = next((old for one, old in present.licences if one is counts and old != raw), None)
        await asyncio.to_thread(self._files.keep, raw, before)
        await self._store.audit.record("licence.installed", actor, audit_id(licence), serial=licence.serial)
        await self.look()
        return self.standing()

    def note_job_ended(self, _job: object = None) -> None:
        """What it took is to be counted; a listener of the jobs."""
        self._spawn(self.recount())

    async def recount(self) -> None:
        self.note_used((await self._store.usage.totals(*self.months_counted)).audio_s)

    async def look(self) -> None:
        """Move the clock on, and write down what has changed since the last look."""
        reading = self._clock()
        back = turned_back_by(self._mark.read, reading)
        mark = advance(self._mark, reading, self._floor())
        counts = self._choose(mark, self._read_files())
        self._mark = note_binding(mark, fits=counts is None or counts.bind is None or counts.bind.fits(self._identities()))
        if back is not None:
            log.warning("This machine's clock was set back by %.1f hours.", back.total_seconds() / 3600)
            await self._store.audit.record("clock.turned_back", "system", seconds=round(back.total_seconds()))
        await self._note_state()
        await self.recount()
        if back is not None or self._mark.ran_s - self._saved_ran_s >= SAVE_EVERY_S:
            await self._save()

    async def _note_state(self) -> None:
        standing = self.standing()
        if standing.state is self._state:
            return
        self._state = standing.state
        for notice in standing.notices:
            log.warning("Licence: %s %s", notice.sentence, notice.hint)
        subject = audit_id(standing.licence) if standing.licence else ""
        await self._store.audit.record("licence.changed", "system", subject, state=standing.state.value)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with contextlib.suppress(DiskFull, StoreBusy):  # said by whoever needs the disk
                await self.look()

    async def _save(self) -> None:
        sealed = seal(self._mark, self._key)
        try:
            await asyncio.to_thread(self._files.write_mark, sealed)
            await self._store.licence_mark.write(sealed)
        except (LicenceNotKept, DiskFull, StoreBusy) as error:
            log.warning("The licence's clock could not be saved: %s", error)
            return
        self._saved_ran_s = self._mark.ran_s

    def _checked(self, refused: str) -> Standing:
        standing = self.standing()
        if standing.is_restricted:
            notice = standing.notices[0]
            raise LicenceRefusal(f"{refused} {notice.sentence}", notice.hint)
        return standing

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def audit_id(licence: Licence) -> str:
    """The licence's id where the audit log can hold it; else one made from it, for no free text stands there."""
    return licence.id if AUDIT_ID.fullmatch(licence.id) else f"licence_{hashlib.sha256(licence.id.encode()).hexdigest()[:16]}"
