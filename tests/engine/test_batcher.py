"""The batcher: who shares a batch, whose turn it is, and what happens when the device gives up.

The engine is not the subject here, so tasks are small stand-ins that record the batches they were decoded in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field

import pytest

from appliance.engine.batcher import Batcher, DeviceLost, OutOfMemory
from appliance.errors import Cancelled, DeviceOutOfMemory


@dataclass
class _Device:
    """Records batches. Until `open` is set the first batch waits, so that a test can queue behind it."""

    batches: list[list[str]] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)
    busy: threading.Event = field(default_factory=threading.Event)
    prepared: list[str] = field(default_factory=list)
    fault: Callable[[int], Exception | None] = lambda size: None

    def decode(self, names: list[str]) -> list[str]:
        self.busy.set()
        assert self.open.wait(10)
        if error := self.fault(len(names)):
            raise error
        self.batches.append(names)
        return [name.upper() for name in names]


@dataclass(eq=False)
class _Task:
    device: _Device
    name: str
    bucket: Hashable = "a"

    def prepare(self) -> str:
        self.device.prepared.append(self.name)
        return self.name

    def decode(self, batch: Sequence[_Task], features: Sequence[str]) -> Sequence[str]:
        assert [task.name for task in batch] == list(features)
        return self.device.decode(list(features))


class _BrokenTask(_Task):
    """Its features cannot be made."""

    def prepare(self) -> str:
        raise ValueError("broken window")


@pytest.fixture
def device() -> _Device:
    return _Device()


@pytest.fixture
def batcher(device: _Device) -> Iterator[Batcher[str, str]]:
    made: Batcher[str, str] = Batcher(4)
    yield made
    device.open.set()
    made.close()


def _occupy(batcher: Batcher[str, str], device: _Device) -> Future[str]:
    """Start a batch that lasts until `device.open` is set."""
    (future,) = batcher.open_lane(priority=-9).submit(_Task(device, "x"))
    assert device.busy.wait(10)
    return future


def _results(*futures: Future[str]) -> list[str]:
    return [future.result(10) for future in futures]


def test_recordings_share_a_batch_and_take_turns(batcher: Batcher[str, str], device: _Device) -> None:
    _occupy(batcher, device)
    long, short = batcher.open_lane(), batcher.open_lane()
    futures = long.submit(*(_Task(device, f"long{i}") for i in range(6)))
    futures += short.submit(_Task(device, "short0"), _Task(device, "short1"))
    device.open.set()
    _results(*futures)
    assert sorted(device.batches[1]) == ["long0", "long1", "short0", "short1"]
    assert device.batches[2] == ["long2", "long3", "long4", "long5"]


def test_one_recording_fills_the_batch_when_it_is_alone(batcher: Batcher[str, str], device: _Device) -> None:
    device.open.set()
    assert _results(*batcher.open_lane().submit(*(_Task(device, f"t{i}") for i in range(4)))) == ["T0", "T1", "T2", "T3"]
    assert device.batches == [["t0", "t1", "t2", "t3"]]


def test_options_never_mix_in_a_batch(batcher: Batcher[str, str], device: _Device) -> None:
    """TRAPS 19: one batch, one set of options."""
    _occupy(batcher, device)
    lane = batcher.open_lane()
    futures = lane.submit(*(_Task(device, f"{bucket}{i}", bucket) for i in range(2) for bucket in "ab"))
    device.open.set()
    _results(*futures)
    assert device.batches[1:] == [["a0", "a1"], ["b0", "b1"]]


def test_urgent_work_goes_first(batcher: Batcher[str, str], device: _Device) -> None:
    _occupy(batcher, device)
    futures = batcher.open_lane(priority=0).submit(*(_Task(device, f"normal{i}") for i in range(5)))
    futures += batcher.open_lane(priority=-1).submit(*(_Task(device, f"live{i}") for i in range(2)))
    device.open.set()
    _results(*futures)
    assert device.batches[1] == ["live0", "live1", "normal0", "normal1"]


def test_a_retry_goes_before_what_its_own_job_still_has(batcher: Batcher[str, str], device: _Device) -> None:
    _occupy(batcher, device)
    lane = batcher.open_lane()
    futures = lane.submit(*(_Task(device, f"t{i}") for i in range(5)))
    futures += lane.submit(_Task(device, "again"), first=True)
    device.open.set()
    _results(*futures)
    assert device.batches[1][0] == "again"


def test_features_of_the_next_batch_are_made_while_one_is_decoded(batcher: Batcher[str, str], device: _Device) -> None:
    lane = batcher.open_lane()
    futures = lane.submit(*(_Task(device, f"t{i}") for i in range(8)))
    assert device.busy.wait(10)
    while len(device.prepared) < 8:  # bounded by the test's timeout: decoding has not gone on
        threading.Event().wait(0.001)
    assert device.batches == []
    device.open.set()
    _results(*futures)


def test_a_closed_lane_drops_what_waits(batcher: Batcher[str, str], device: _Device) -> None:
    _occupy(batcher, device)
    other = batcher.open_lane()
    with batcher.open_lane() as lane:
        (dropped,) = lane.submit(_Task(device, "dropped"))
    (kept,) = other.submit(_Task(device, "kept"))
    device.open.set()
    assert kept.result(10) == "KEPT"
    with pytest.raises(CancelledError):
        dropped.result(10)
    with pytest.raises(Cancelled):
        lane.submit(_Task(device, "late"))
    assert device.batches[1:] == [["kept"]]


def test_out_of_memory_halves_the_batch_for_good(batcher: Batcher[str, str], device: _Device) -> None:
    """TRAPS 16."""
    device.fault = lambda size: OutOfMemory("CUDA out of memory") if size > 2 else None
    device.open.set()
    lane = batcher.open_lane()
    assert _results(*lane.submit(*(_Task(device, f"t{i}") for i in range(4)))) == ["T0", "T1", "T2", "T3"]
    _results(*lane.submit(*(_Task(device, f"u{i}") for i in range(4))))
    assert [len(batch) for batch in device.batches] == [2, 2, 2, 2]
    assert batcher.statistics().out_of_memory == 1


def test_out_of_memory_halves_as_often_as_it_takes(batcher: Batcher[str, str], device: _Device) -> None:
    device.fault = lambda size: OutOfMemory("CUDA out of memory") if size > 1 else None
    device.open.set()
    lane = batcher.open_lane()
    assert _results(*lane.submit(*(_Task(device, f"t{i}") for i in range(4)))) == ["T0", "T1", "T2", "T3"]
    _results(*lane.submit(*(_Task(device, f"u{i}") for i in range(4))))
    assert [len(batch) for batch in device.batches] == [1] * 8
    assert batcher.statistics().out_of_memory == 2


def test_the_limit_of_a_batch_follows_what_is_in_memory(batcher: Batcher[str, str], device: _Device) -> None:
    device.open.set()
    lane = batcher.open_lane()
    for limit in (3, 4, 100):
        batcher.limit_to(limit)
        _results(*lane.submit(*(_Task(device, f"t{i}") for i in range(4))))
    assert [len(batch) for batch in device.batches] == [3, 1, 4, 4]


def test_a_limit_does_not_make_good_what_the_device_did_not_bear(batcher: Batcher[str, str], device: _Device) -> None:
    device.fault = lambda size: OutOfMemory("CUDA out of memory") if size > 2 else None
    device.open.set()
    lane = batcher.open_lane()
    for _ in range(2):
        _results(*lane.submit(*(_Task(device, f"t{i}") for i in range(4))))
        batcher.limit_to(4)
    assert [len(batch) for batch in device.batches] == [2, 2, 2, 2]
    assert batcher.statistics().out_of_memory == 1


def test_out_of_memory_with_one_window_is_a_typed_error_and_the_batcher_goes_on(
    batcher: Batcher[str, str], device: _Device
) -> None:
    device.fault = lambda size: OutOfMemory("CUDA out of memory")
    device.open.set()
    lane = batcher.open_lane()
    (future,) = lane.submit(_Task(device, "t"))
    with pytest.raises(DeviceOutOfMemory):
        future.result(10)
    device.fault = lambda size: None
    assert _results(*lane.submit(_Task(device, "u"))) == ["U"]


def test_a_cuda_error_fails_everything_and_nothing_more_is_taken(batcher: Batcher[str, str], device: _Device) -> None:
    """TRAPS 16: the process must end; whoever waits is told so."""
    device.fault = lambda size: DeviceLost("CUDA failed with error invalid device ordinal")
    lane = batcher.open_lane()
    futures = lane.submit(*(_Task(device, f"t{i}") for i in range(9)))
    device.open.set()
    for future in futures:
        with pytest.raises(DeviceLost):
            future.result(10)
    with pytest.raises(DeviceLost):
        lane.submit(_Task(device, "late"))


def test_an_error_in_one_batch_does_not_end_the_batcher(batcher: Batcher[str, str], device: _Device) -> None:
    device.fault = lambda size: ValueError("broken window")
    device.open.set()
    lane = batcher.open_lane()
    with pytest.raises(ValueError, match="broken window"):
        lane.submit(_Task(device, "t"))[0].result(10)
    device.fault = lambda size: None
    assert _results(*lane.submit(_Task(device, "u"))) == ["U"]


def test_a_broken_window_fails_no_other_recording_of_its_batch(batcher: Batcher[str, str], device: _Device) -> None:
    _occupy(batcher, device)
    (good,) = batcher.open_lane().submit(_Task(device, "good"))
    (broken,) = batcher.open_lane().submit(_BrokenTask(device, "broken"))
    (other,) = batcher.open_lane().submit(_Task(device, "other"))
    device.open.set()
    assert _results(good, other) == ["GOOD", "OTHER"]
    with pytest.raises(ValueError, match="broken window"):
        broken.result(10)


def test_statistics_count_batches_and_what_waits(batcher: Batcher[str, str], device: _Device) -> None:
    first = _occupy(batcher, device)
    futures = batcher.open_lane().submit(*(_Task(device, f"t{i}") for i in range(3)))
    assert batcher.statistics().waiting == 3
    device.open.set()
    _results(first, *futures)
    known = batcher.statistics()
    assert (known.batches, known.tasks, known.sizes[-1][0], known.waiting) == (2, 4, 3, 0)
    assert known.sizes == ((1, 1), (3, 1))
