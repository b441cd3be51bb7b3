"""The licence at work: which one counts, what it allows now, and what is written down when that changes.

It refuses new recordings and new people, and nothing else: nobody asks it before text is read, exported or erased.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from appliance import __released__
from appliance.domain import Value
from appliance.engine.gpu import CPU, DeviceChoice, Gpu, survey
from appliance.errors import DiskFull, HoursUsedUp, LicenceNotAccepted, LicenceNotKept, LicenceRefusal, SeatsTaken, StoreBusy
from appliance.licensing.clock import read_clocks
from appliance.licensing.files import LicenceFiles, Stamp
from appliance.licensing.mark import (
    Mark,
    Reading,
    advance,
    first_mark,
    install_id_of,
    judged_at,
    note_binding,
    seal,
    turned_back_by,
    unseal,
)
from appliance.store import Store
from licence import (
    EMBEDDED,
    EVALUATION_DAYS,
    Facts,
    Held,
    Licence,
    LicenceError,
    Standing,
    State,
    TrustedKeys,
    check_newer,
    choose,
    judge,
    read_licence,
)

log = logging.getLogger(__name__)

Clock = Callable[[], Reading]

LOOK_EVERY_S: Final = 60.0
SAVE_EVERY_S: Final = 600.0  # of running time; a crash loses no more, and nothing while the machine is not restarted
BUILT_AT: Final = datetime.fromisoformat(__released__).replace(tzinfo=UTC)
AUDIT_ID: Final = re.compile("licence_[0-9a-f]{1,32}")


class Trusted(Value, frozen=True):
    """The licence files as they are on the disk now."""

    stamp: Stamp
    licences: tuple[tuple[Licence, bytes], ...]
    error: LicenceError | None  # of the first that is not to be trusted

    def every(self) -> list[Licence]:
        return [licence for licence, _ in self.licences]


class Licensing:
    """Lives on one event loop. `standing` and the checks are quick: three calls of `stat` and a little arithmetic."""

    def __init__(  # noqa: PLR0917 - wired in `open` only
        self, store: Store, files: LicenceFiles, key: bytes, trusted: TrustedKeys, clock: Clock, gpus: Sequence[Gpu], mark: Mark
    ) -> None:
        self._store = store
        self._files = files
        self._key = key  # of the mark
        self._trusted = trusted
        self._clock = clock
        self._gpu_numbers = {gpu.uuid: gpu.index for gpu in gpus}
        self._mark = mark
        self._saved_ran_s = mark.ran_s
        self._state: State | None = None  # as last written down
        self._on_disk: Trusted | None = None
        self._used_s = 0.0
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
        marks = [mark for sealed in found if (mark := unseal(sealed, key))]
        if len(marks) < len(found):
            log.warning("A copy of the licence's clock was changed from outside, or restored without its key; it is not used.")
            await store.audit.record("clock.mark_refused", "system", copies=len(found) - len(marks))
        mark = max(marks, key=lambda one: (one.ran_s, one.proven_at)) if marks else _new_mark(found, clock())
        here = survey().gpus if gpus is None else gpus
        licensing = cls(store, files, key, trusted, clock, here, mark)
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

    # --- what is so now -----------------------------------------------------------------------------------------------

    def standing(self) -> Standing:
        return self._judge(self._now())

    @property
    def install_id(self) -> str:
        return self._mark.install_id

    @property
    def gpu_uuids(self) -> tuple[str, ...]:
        return tuple(self._gpu_numbers)

    @property
    def hours_used(self) -> float:
        """Of audio, in this calendar month in UTC."""
        return self._used_s / 3600

    @property
    def hours_renew_at(self) -> datetime:
        return next_month(judged_at(self._now()))

    @property
    def concurrent_jobs(self) -> int | None:
        """How many recordings may be in work at the same time; the others wait. None: as many as there is room for."""
        return self.standing().limits.concurrent_jobs

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
        """The audio of this month. Where the machine's clock was set back, that of the months between counts too."""
        mark = self._now()
        moments = (mark.read.wall_at, judged_at(mark))
        totals = await self._store.usage.totals(month(min(moments)), next_month(max(moments)))
        self._used_s = totals.audio_s

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

    # --- from files and clocks to a standing --------------------------------------------------------------------------

    def _now(self) -> Mark:
        return advance(self._mark, self._clock(), self._floor())

    def _floor(self) -> datetime:
        """No right clock shows less: this version was made, and the licences here were issued."""
        issued = (licence.issued_at for licence in self._read_files().every())
        return max((BUILT_AT, *(moment for moment in issued if moment is not None)))

    def _judge(self, mark: Mark) -> Standing:
        on_disk = self._read_files()
        held: Held = self._choose(mark, on_disk) or on_disk.error
        return judge(held, self._facts(mark), judged_at(mark))

    def _choose(self, mark: Mark, on_disk: Trusted) -> Licence | None:
        return choose(on_disk.every(), self._facts(mark), judged_at(mark))

    def _facts(self, mark: Mark) -> Facts:
        return Facts(
            identities=self._identities(),
            built_at=BUILT_AT,
            installed_at=mark.installed_at,
            ran_for=mark.ran_for,
            changed_for=mark.changed_for,
        )

    def _identities(self) -> frozenset[str]:
        return frozenset((self.install_id, *self._gpu_numbers))

    def _read_files(self) -> Trusted:
        stamp = self._files.stamp()
        if self._on_disk is None or self._on_disk.stamp != stamp:
            self._on_disk = _verify_all(stamp, self._files.licences(), self._trusted)
        return self._on_disk

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


def _verify_all(stamp: Stamp, files: Sequence[bytes], trusted: TrustedKeys) -> Trusted:
    licences, errors = [], []
    for raw in files:
        try:
            licences.append((read_licence(raw, trusted), raw))
        except LicenceError as error:
            errors.append(error)
    return Trusted(stamp, tuple(licences), errors[0] if errors else None)


def _new_mark(broken: Sequence[bytes], reading: Reading) -> Mark:
    """Of a new installation; or of one whose marks cannot be trusted: the same site still, and its evaluation is over."""
    mark = first_mark(reading, BUILT_AT)
    if not broken:
        return mark
    ids = (install_id for sealed in broken if (install_id := install_id_of(sealed)))
    return replace(mark, install_id=next(ids, mark.install_id), ran_s=EVALUATION_DAYS * 86400.0)


def audit_id(licence: Licence) -> str:
    """The licence's id where the audit log can hold it; else one made from it, for no free text stands there."""
    return licence.id if AUDIT_ID.fullmatch(licence.id) else f"licence_{hashlib.sha256(licence.id.encode()).hexdigest()[:16]}"


def month(moment: datetime) -> datetime:
    """Its first moment."""
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(moment: datetime) -> datetime:
    begin = month(moment)
    return begin.replace(year=begin.year + 1, month=1) if begin.month == 12 else begin.replace(month=begin.month + 1)
