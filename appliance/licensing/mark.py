"""The site's sense of time: a lower bound of the true time that nobody can turn back, and that no wrong clock can push ahead.

The machine's clock is believed, in both directions, except below the bound. The bound rises only by what must be true: time
that this machine was running, the day this version was made, the day a verified licence was issued. A wrong date in the
future therefore leaves nothing behind once the clock is repaired; and a clock that is set back gains no more than the time
the machine was off, or the licence waited to be installed, plus `TOLERANCE` and `DRIFT` (docs/licence.md, "The clock").

Pure; reading clocks and keeping the mark are left to others.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec.structs import replace

from appliance.domain import Value

TOLERANCE: Final = timedelta(hours=1)
DRIFT: Final = 0.001  # the share of running time that is not counted: oscillators are right to 500 ppm
ABOUT: Final = b"appliance licence mark 1\n"


class Reading(Value, frozen=True):
    """The clocks at one moment."""

    wall_at: datetime  # what the machine's clock says, in UTC; anybody may set it
    running_s: float  # since the machine was started; nobody sets it, and suspending does not stop it
    boot_id: str  # which start that was


class Mark(Value, frozen=True):
    install_id: str
    proven_at: datetime  # it is later than this
    ran_s: float  # running time since the installation
    read: Reading  # the latest one
    installed_at: datetime | None = None  # by the machine's clock, once that was plausible
    changed_ran_s: float | None = None  # `ran_s` when the machine was first seen not to fit its licence; None: it fits

    @property
    def ran_for(self) -> timedelta:
        return timedelta(seconds=self.ran_s)

    @property
    def changed_for(self) -> timedelta:
        return timedelta(seconds=0 if self.changed_ran_s is None else self.ran_s - self.changed_ran_s)


def first_mark(reading: Reading, floor: datetime) -> Mark:
    """At the installation. `floor`: the latest moment known to be past, such as when this version was made."""
    mark = Mark(install_id=f"inst_{secrets.token_hex(8)}", proven_at=floor, ran_s=0.0, read=reading)
    return advance(mark, reading, floor)


def advance(mark: Mark, reading: Reading, floor: datetime) -> Mark:
    """The mark after this reading. Never lowers the bound, and raises it by nothing that the machine's clock says."""
    passed_s = ran_between(mark.read, reading)
    installed_at = mark.installed_at
    if installed_at is None and reading.wall_at >= floor - TOLERANCE:
        installed_at = reading.wall_at
    return replace(
        mark,
        proven_at=max(mark.proven_at + timedelta(seconds=passed_s * (1 - DRIFT)), floor),
        ran_s=mark.ran_s + passed_s,
        read=reading,
        installed_at=installed_at,
    )


def ran_between(before: Reading, after: Reading) -> float:
    """Seconds for sure; across a restart of the machine none are."""
    return max(0.0, after.running_s - before.running_s) if after.boot_id == before.boot_id else 0.0


def judged_at(mark: Mark) -> datetime:
    """The time that the licence is judged by."""
    clock = mark.read.wall_at
    return clock if clock >= mark.proven_at - TOLERANCE else mark.proven_at


def turned_back_by(before: Reading, after: Reading) -> timedelta | None:
    """How far the machine's clock was set back between two readings, where that is more than it may be wrong."""
    expected = before.wall_at + timedelta(seconds=ran_between(before, after))
    back = expected - after.wall_at
    return back if back > TOLERANCE else None


def note_binding(mark: Mark, *, fits: bool) -> Mark:
    """Grace for a changed machine counts from when it was first seen, in running time."""
    if fits:
        return replace(mark, changed_ran_s=None)
    return mark if mark.changed_ran_s is not None else replace(mark, changed_ran_s=mark.ran_s)


# --- kept -------------------------------------------------------------------------------------------------------------


def seal(mark: Mark, key: bytes) -> bytes:
    """The mark with an HMAC-SHA256 before it."""
    content = msgspec.json.encode(mark)
    return _tag(content, key) + b"\n" + content


def unseal(sealed: bytes, key: bytes) -> Mark | None:
    """None when it was not sealed with this key, or changed since."""
    tag, _, content = sealed.partition(b"\n")
    if not hmac.compare_digest(tag, _tag(content, key)):
        return None
    return _decode(content)


def install_id_of(sealed: bytes) -> str | None:
    """What a mark says of itself though its seal does not hold: a restored site stays the same site."""
    mark = _decode(sealed.partition(b"\n")[2])
    return mark.install_id if mark else None


def _decode(content: bytes) -> Mark | None:
    try:
        return msgspec.json.decode(content, type=Mark)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _tag(content: bytes, key: bytes) -> bytes:
    return hmac.new(key, ABOUT + content, hashlib.sha256).hexdigest().encode()
