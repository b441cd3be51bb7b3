"""The process that puts one private transcript together, and ends: the only one that sees its words with their speakers.

It tells its public key, gets the words sealed to it by the recognition worker, and answers with the finished document, sealed
to the browser where it sent a key. It has no file system, no network and no children by then.
"""

from __future__ import annotations

import os
import sys
from typing import Final

import msgspec
from msgspec.structs import replace

from appliance.audio.sandbox import ResourceLimits, close_sandbox, die_with_parent
from appliance.crypto.sealing import WORKER_INFO, Recipient, result_info, seal
from appliance.domain import JobState, Transcript
from appliance.engine.wire import unpack
from appliance.export.json import render_json
from appliance.joining.join import ChildOrder, Joined, JoinOrder, join

_LIMITS: Final = ResourceLimits(memory_bytes=4 * 2**30, cpu_s=600)
_READ_BYTES: Final = 2**20


def main(order: ChildOrder) -> None:
    die_with_parent(order.parent_pid)
    recipient = Recipient()
    recipient.open(seal(b"", recipient.public_key, b""), b"")  # loads all that is needed while files can be opened
    close_sandbox(_LIMITS)
    _write(sys.stdout.fileno(), recipient.public_key.hex().encode() + b"\n")
    asked = unpack(_read_all(sys.stdin.fileno()), JoinOrder)
    heard = unpack(recipient.open(asked.sealed, WORKER_INFO), Transcript)
    [transcript] = join([heard], asked.found, asked.cautions)
    document = render_json(replace(asked.record, transcript=transcript, state=JobState.COMPLETED), transcript)
    if asked.seal_to:
        document = seal(document, asked.seal_to, result_info(asked.record.slug))
    _write(order.content_fd, document)
    _write(sys.stdout.fileno(), msgspec.json.encode(Joined(transcript.language)) + b"\n")


def _read_all(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, _READ_BYTES):
        parts.append(part)
    return b"".join(parts)


def _write(fd: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(fd, rest) :]


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=ChildOrder))
    os._exit(0)  # nothing is left to tidy up
