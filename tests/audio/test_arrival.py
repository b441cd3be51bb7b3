"""Who sends slowly is waited for; who sends a trickle, or nothing, is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from appliance.audio.arrival import steadily
from appliance.errors import UploadBroken

STALL_TIMEOUT_S = 0.5  # 128 bytes


async def sent(*chunks: tuple[float, int]) -> AsyncIterator[bytes]:
    """(seconds before it, its length in bytes) of each."""
    for wait_s, n_bytes in chunks:
        await asyncio.sleep(wait_s)
        yield bytes(n_bytes)


def receive(chunks: AsyncIterator[bytes], busy_s: float = 0.0) -> int:
    async def run() -> int:
        n_bytes = 0
        async for chunk in steadily(chunks, STALL_TIMEOUT_S):
            n_bytes += len(chunk)
            await asyncio.sleep(busy_s)
        return n_bytes

    return asyncio.run(run())


def test_a_slow_line_is_waited_for() -> None:
    assert receive(sent(*[(0.1, 150)] * 8)) == 1200


def test_what_the_receiver_does_between_is_not_counted() -> None:
    assert receive(sent(*[(0.01, 10)] * 4), busy_s=0.2) == 40


def test_the_last_bytes_may_be_few() -> None:
    assert receive(sent((0.0, 1), (0.1, 0))) == 1


@pytest.mark.parametrize(
    "chunks", [[(10.0, 1)], [(0.2, 40)] * 9, [(0.0, 200), (0.2, 1), (10.0, 500)]], ids=["nothing", "a trickle", "a stop"]
)
def test_a_trickle_is_not(chunks: list[tuple[float, int]]) -> None:
    with pytest.raises(UploadBroken, match=r"less than 128 bytes arrived in 0\.5 seconds"):
        receive(sent(*chunks))
