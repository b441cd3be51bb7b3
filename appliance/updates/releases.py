"""The releases that are kept on this machine: which is in use, switching in one step, and going back.

Bringing a release in is `importer.py`'s work. What serves, `catalogue.Shelf`, sees a switch at its next question.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec.structs import replace

from appliance.catalogue.activation import sync_folder
from appliance.catalogue.manifest import look_at, read_manifest
from appliance.catalogue.releases import (
    FOLDER,
    RECORD,
    SWITCH,
    Channel,
    ReleaseRecord,
    Switch,
    channel_folder,
    read_record,
    read_switch,
    release_folder,
)
from appliance.domain import Value
from appliance.errors import ModelDamaged, NoSuchRelease, NothingToRollBack, UpdateNotWritten, UpdateRunning
from appliance.updates.blobs import BlobStore
from appliance.updates.failpoints import reach

TRUST = "trust"  # folder of what a channel believes
PROVEN = "proven"  # a file in a release that has served, or was loaded by the appliance itself


class KeptRelease(Value, frozen=True):
    """A release as people see it."""

    record: ReleaseRecord
    active: bool
    previous: bool  # what a roll-back leads to
    failed: bool  # was rolled back by itself


class Releases:
    """Safe to use from several threads and processes."""

    def __init__(self, models_dir: Path) -> None:
        self.models_dir = models_dir
        self.folder = models_dir / FOLDER
        self.blobs = BlobStore(self.folder / "blobs" / "sha256")

    def kept(self) -> tuple[KeptRelease, ...]:
        """By channel, newest first."""
        return tuple(kept for channel in Channel for kept in self._kept(channel))

    def find(self, name: str) -> ReleaseRecord:
        """By its name, "vendor-7" or "site-2". Raises NoSuchRelease."""
        kept = {kept.record.name: kept.record for kept in self.kept()}
        if name not in kept:
            raise NoSuchRelease(name, tuple(kept))
        return kept[name]

    def active(self, channel: Channel) -> ReleaseRecord | None:
        return self._record(channel, read_switch(self.models_dir, channel).active)

    def activate(self, record: ReleaseRecord) -> None:
        """Use this release from now on; jobs that run end with what they began with. Raises ModelDamaged."""
        self._check_whole(record)
        with self.switching():
            self.switch_to(record)

    def roll_back(self, channel: Channel) -> ReleaseRecord | None:
        """Use the previous release again; None where that means the models that were fetched. Raises NothingToRollBack."""
        with self.switching():
            switch = read_switch(self.models_dir, channel)
            if switch.previous is None:
                raise NothingToRollBack(channel.value)
            self._write_switch(channel, replace(switch, active=switch.previous, previous=None))
            return self._record(channel, switch.previous)

    def give_up(self, record: ReleaseRecord) -> bool:
        """Roll back a release that does not work, unless somebody has switched meanwhile; True when it was done."""
        with self.switching():
            switch = read_switch(self.models_dir, record.channel)
            if switch.active != record.version:
                return False
            failed = tuple(sorted({*switch.failed, record.version}))
            self._write_switch(record.channel, Switch(switch.previous or 0, None, failed))
            return True

    def is_proven(self, record: ReleaseRecord) -> bool:
        return (self._folder(record) / PROVEN).exists()

    def prove(self, record: ReleaseRecord) -> None:
        """Remember that the appliance has loaded it, so that a later fault is not taken for the release's."""
        with suppress(OSError):  # of a folder that cannot be written; then it is found out again
            (self._folder(record) / PROVEN).touch()

    # --- for the importer -----------------------------------------------------------------------------------------------

    @contextmanager
    def importing(self) -> Iterator[None]:
        """One import at a time, of all processes. Raises UpdateRunning."""
        with self._locked("import.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield

    @contextmanager
    def switching(self) -> Iterator[None]:
        """Held for moments: whoever else wants to switch waits."""
        with self._locked("switch.lock", fcntl.LOCK_EX):
            yield

    def switch_to(self, record: ReleaseRecord) -> None:
        """Only while `switching`."""
        switch = read_switch(self.models_dir, record.channel)
        failed = tuple(version for version in switch.failed if version != record.version)
        previous = switch.active if switch.active != record.version else switch.previous
        self._write_switch(record.channel, Switch(record.version, previous, failed))

    def collect(self) -> None:
        """Only while `switching`: remove releases that nobody goes back to, and contents that none of the kept ones has."""
        for channel in Channel:
            switch = read_switch(self.models_dir, channel)
            versions = self._versions(channel)
            keep = {switch.active, switch.previous, max(versions, default=0)}
            for version in set(versions) - keep:
                folder = release_folder(self.models_dir, channel, version)
                (folder / RECORD).unlink(missing_ok=True)  # first, so that half a release is never taken for one
                reach("release collected")
                shutil.rmtree(folder)
        self.blobs.collect({sha256 for kept in self.kept() for sha256 in kept.record.blobs})

    # --- inside ---------------------------------------------------------------------------------------------------------

    def _kept(self, channel: Channel) -> Iterator[KeptRelease]:
        switch = read_switch(self.models_dir, channel)
        for version in sorted(self._versions(channel), reverse=True):
            if record := self._record(channel, version):
                yield KeptRelease(record, version == switch.active, version == switch.previous, version in switch.failed)

    def _versions(self, channel: Channel) -> list[int]:
        try:
            names = os.listdir(channel_folder(self.models_dir, channel) / "releases")
        except FileNotFoundError:
            return []
        return [int(name) for name in names if name.isdecimal()]

    def _record(self, channel: Channel, version: int) -> ReleaseRecord | None:
        return read_record(release_folder(self.models_dir, channel, version))

    def _folder(self, record: ReleaseRecord) -> Path:
        return release_folder(self.models_dir, record.channel, record.version)

    def _check_whole(self, record: ReleaseRecord) -> None:
        """Sizes only; contents are read before their first use."""
        for released in record.models:
            folder = self._folder(record) / released.folder
            manifest = read_manifest(folder)
            looks = look_at(folder, manifest) if manifest else None
            if manifest is None or looks is None:
                raise ModelDamaged(released.model.id, "a file", "is missing")
            for file in manifest.files:
                if looks[file.name][0] != file.size_bytes:
                    raise ModelDamaged(released.model.id, file.name, "has another size")

    def _write_switch(self, channel: Channel, switch: Switch) -> None:
        """On the disk, whole, before the one rename that counts."""
        folder = channel_folder(self.models_dir, channel)
        temporary = folder / f"{SWITCH}.new"
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(switch))
            file.flush()
            os.fsync(file.fileno())
        reach("switch written")
        temporary.replace(folder / SWITCH)
        reach("switched")
        sync_folder(folder)

    @contextmanager
    def _locked(self, name: str, how: int) -> Iterator[None]:
        try:
            for channel in Channel:
                (channel_folder(self.models_dir, channel) / "releases").mkdir(parents=True, exist_ok=True)
            self.blobs.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UpdateNotWritten(str(self.folder), error.strerror or str(error)) from error
        try:
            try:
                fcntl.flock(lock, how)
            except BlockingIOError:
                raise UpdateRunning from None
            yield
        finally:
            os.close(lock)
