"""How a site stands with its licence: from the files, the mark and the clocks to a standing. Reads, and changes nothing.

What is written down, and what is refused, is left to `licensing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from appliance import __released__
from appliance.domain import Value
from appliance.engine.gpu import Gpu, survey
from appliance.licensing.clock import read_clocks
from appliance.licensing.files import LicenceFiles, Stamp
from appliance.licensing.mark import Mark, Reading, advance, first_mark, install_id_of, judged_at, unseal
from appliance.store import glance
from licence import (
    EMBEDDED,
    EVALUATION_DAYS,
    Facts,
    Held,
    Licence,
    LicenceError,
    Standing,
    TrustedKeys,
    choose,
    judge,
    read_licence,
)

Clock = Callable[[], Reading]

BUILT_AT: Final = datetime.fromisoformat(__released__).replace(tzinfo=UTC)


class Trusted(Value, frozen=True):
    """The licence files as they are on the disk now."""

    stamp: Stamp
    licences: tuple[tuple[Licence, bytes], ...]
    error: LicenceError | None  # of the first that is not to be trusted

    def every(self) -> list[Licence]:
        return [licence for licence, _ in self.licences]


class SiteLicence:
    """`standing` is quick: three calls of `stat` and a little arithmetic."""

    def __init__(self, files: LicenceFiles, trusted: TrustedKeys, clock: Clock, gpus: Sequence[Gpu], mark: Mark) -> None:
        self._files = files
        self._trusted = trusted
        self._clock = clock
        self._gpu_numbers = {gpu.uuid: gpu.index for gpu in gpus}
        self._mark = mark
        self._on_disk: Trusted | None = None
        self._used_s = 0.0

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

    def note_used(self, audio_s: float) -> None:
        """In `months_counted`."""
        self._used_s = audio_s

    @property
    def hours_renew_at(self) -> datetime:
        return next_month(judged_at(self._now()))

    @property
    def concurrent_jobs(self) -> int | None:
        """How many recordings may be in work at the same time; the others wait. None: as many as there is room for."""
        return self.standing().limits.concurrent_jobs

    @property
    def months_counted(self) -> tuple[datetime, datetime]:
        """This month. Where the machine's clock was set back, the months between count too."""
        mark = self._now()
        moments = (mark.read.wall_at, judged_at(mark))
        return month(min(moments)), next_month(max(moments))

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


def look_at_licence(
    database: Path,
    data_dir: Path,
    licence_file: Path | None = None,
    *,
    trusted: TrustedKeys = EMBEDDED,
    clock: Clock = read_clocks,
    gpus: Sequence[Gpu] | None = None,
) -> SiteLicence | None:
    """Beside a running appliance, or where nothing can be written; None before the first start. Raises `StartRefused`, `StoreBusy`.

    `gpus`: instead of those of this machine.
    """
    if not database.exists():
        return None
    files = LicenceFiles(data_dir, licence_file)
    with glance(database) as seen:
        found = [sealed for sealed in (seen.licence_mark(), files.read_mark()) if sealed is not None]
        if not found:
            return None
        mark = latest(unsealed(found, files.read_key()), found, clock())
        site = SiteLicence(files, trusted, clock, survey().gpus if gpus is None else gpus, mark)
        site.note_used(seen.usage(*site.months_counted).audio_s)
        return site


def unsealed(found: Sequence[bytes], key: bytes | None) -> list[Mark]:
    """Those that nobody changed from outside."""
    return [mark for sealed in found if key is not None and (mark := unseal(sealed, key))]


def latest(marks: Sequence[Mark], found: Sequence[bytes], reading: Reading) -> Mark:
    """The one that is furthest on; a new one where none holds."""
    return max(marks, key=lambda one: (one.ran_s, one.proven_at)) if marks else _new_mark(found, reading)


def _new_mark(broken: Sequence[bytes], reading: Reading) -> Mark:
    """Of a new installation; or of one whose marks cannot be trusted: the same site still, and its evaluation is over."""
    mark = first_mark(reading, BUILT_AT)
    if not broken:
        return mark
    ids = (install_id for sealed in broken if (install_id := install_id_of(sealed)))
    return replace(mark, install_id=next(ids, mark.install_id), ran_s=EVALUATION_DAYS * 86400.0)


def _verify_all(stamp: Stamp, files: Sequence[bytes], trusted: TrustedKeys) -> Trusted:
    licences, errors = [], []
    for raw in files:
        try:
            licences.append((read_licence(raw, trusted), raw))
        except LicenceError as error:
            errors.append(error)
    return Trusted(stamp, tuple(licences), errors[0] if errors else None)


def month(moment: datetime) -> datetime:
    """Its first moment."""
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(moment: datetime) -> datetime:
    begin = month(moment)
    return begin.replace(year=begin.year + 1, month=1) if begin.month == 12 else begin.replace(month=begin.month + 1)
