"""Every byte of a recording is counted before it exists, and given back whatever happens."""

from __future__ import annotations

import os
import threading

import pytest

from appliance.audio.memory import MemoryBudget, MemoryFile
from appliance.errors import MemoryFull, UploadTooLarge


def test_memory_is_reserved_before_it_is_written(budget: MemoryBudget) -> None:
    small = MemoryBudget(1000, lambda: 7)
    with MemoryFile.create("test", small) as file:
        file.write(bytes(900))
        with pytest.raises(UploadTooLarge):
            file.write(bytes(101))
        assert (file.size, os.fstat(file.fd).st_size, small.used_bytes) == (900, 900, 900)


def test_a_full_budget_says_when_to_come_back(budget: MemoryBudget) -> None:
    with budget.reserve(budget.total_bytes - 10), pytest.raises(MemoryFull) as full:
        budget.reserve(11)
    assert full.value.retry_after_s == 7
    assert full.value.status == 503


def test_what_could_never_fit_is_too_large_rather_than_asked_to_wait(budget: MemoryBudget) -> None:
    with pytest.raises(UploadTooLarge):
        budget.reserve(budget.total_bytes + 1)


def test_uploads_leave_room_to_decode_what_was_accepted(budget: MemoryBudget) -> None:
    share = budget.total_bytes * 3 // 4
    with pytest.raises(UploadTooLarge, match="48 MiB"):
        budget.reserve(share + 1, upload=True)
    with budget.reserve(share, upload=True), budget.reserve(budget.total_bytes - share):
        pass
    with MemoryFile.create("test", budget, upload=True) as growing, budget.reserve(share - 10, upload=True):
        growing.write(bytes(10))
        with pytest.raises(MemoryFull):
            growing.write(b"x")


def test_a_reservation_grows_shrinks_and_is_released_once(budget: MemoryBudget) -> None:
    reservation = budget.reserve(100)
    reservation.grow(50)
    assert budget.used_bytes == 150
    reservation.shrink_to(120)
    reservation.shrink_to(500)  # never grows by shrinking
    assert (budget.used_bytes, reservation.n_bytes) == (120, 120)
    reservation.release()
    reservation.release()


def test_sealing_returns_what_was_reserved_beyond_the_size(budget: MemoryBudget) -> None:
    with MemoryFile.create("test", budget, reserve_bytes=5000) as file:
        file.write(b"recording")
        assert budget.used_bytes == 5000
        file.seal()
        assert budget.used_bytes == 9


def test_a_sealed_file_cannot_be_changed_by_anyone(budget: MemoryBudget) -> None:
    with MemoryFile.create("test", budget) as file:
        file.write(b"recording")
        file.seal()
        for change in (lambda: os.pwrite(file.fd, b"x", 0), lambda: os.ftruncate(file.fd, 0), lambda: os.ftruncate(file.fd, 99)):
            with pytest.raises(PermissionError):
                change()
        assert os.pread(file.fd, 99, 0) == b"recording"


def test_a_recording_has_no_path(budget: MemoryBudget) -> None:
    """TRAPS 1 and 4: not even an unnamed file of a disk file system."""
    with MemoryFile.create("test", budget) as file:
        assert os.readlink(f"/proc/self/fd/{file.fd}") == "/memfd:test (deleted)"


def test_closing_frees_file_and_reservation_and_may_be_repeated(budget: MemoryBudget) -> None:
    file = MemoryFile.create("test", budget, reserve_bytes=100)
    fd = file.fd
    file.close()
    file.close()
    assert budget.used_bytes == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_forgotten_file_complains_and_is_freed(budget: MemoryBudget) -> None:
    with pytest.warns(ResourceWarning, match="left open"):
        MemoryFile.create("test", budget, reserve_bytes=100).__del__()
    assert budget.used_bytes == 0


def test_samples_move_from_a_pipe_within_the_budget(budget: MemoryBudget) -> None:
    read_fd, write_fd = os.pipe()
    tight = MemoryBudget(4096)
    try:
        with MemoryFile.create("test", tight) as file:
            os.write(write_fd, bytes(4000))
            assert file.write_from_pipe(read_fd) == 4000
            with pytest.raises(BlockingIOError):
                file.write_from_pipe(read_fd)
            os.write(write_fd, bytes(97))
            with pytest.raises(UploadTooLarge):
                file.write_from_pipe(read_fd)
            assert (file.size, tight.used_bytes) == (4000, 4000)
    finally:
        os.close(read_fd)
        os.close(write_fd)


def test_many_threads_never_reserve_more_than_there_is(budget: MemoryBudget) -> None:
    refused = []

    def reserve_often() -> None:
        for _ in range(500):
            try:
                budget.reserve(budget.total_bytes // 3).release()
            except MemoryFull:
                refused.append(budget.used_bytes)

    threads = [threading.Thread(target=reserve_often) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(used <= budget.total_bytes for used in refused)
