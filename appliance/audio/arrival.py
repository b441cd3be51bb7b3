"""Bytes that a client sends must keep coming: what it has reserved, or keeps others from, is not held for a trickle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from appliance.errors import ClientGone, UploadBroken

SLOWEST_BYTES_PER_S: Final = 256  # half of what the thriftiest speech codec sends, and a fraction of any line


async def steadily(chunks: AsyncIterator[bytes], stall_timeout_s: float) -> AsyncIterator[bytes]:
    """The same chunks. Only the waiting for them is counted, not what the caller does between.

    Raises UploadBroken when `stall_timeout_s` of waiting brought less than `SLOWEST_BYTES_PER_S`, ClientGone when the
    connection broke.
    """
    loop = asyncio.get_running_loop()
    least = max(1, round(SLOWEST_BYTES_PER_S * stall_timeout_s))
    waited_s, arrived = 0.0, 0
    while True:
        began = loop.time()
        try:
            async with asyncio.timeout(stall_timeout_s - waited_s):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise UploadBroken(f"less than {least} bytes arrived in {stall_timeout_s:g} seconds") from error
        except OSError as error:
            raise ClientGone from error
        waited_s, arrived = waited_s + loop.time() - began, arrived + len(chunk)
        if arrived >= least:
            waited_s, arrived = 0.0, 0
        yield chunk
