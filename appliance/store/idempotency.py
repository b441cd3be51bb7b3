"""Idempotency keys: sending the same request twice gives one transcript."""

from __future__ import annotations

from typing import TYPE_CHECKING

from appliance.domain import TranscriptRecord, Value

if TYPE_CHECKING:
    from appliance.store.transcripts import NewTranscript


class Claim(Value, frozen=True):
    record: TranscriptRecord  # without its text; `Transcripts.get` has it
    created: bool  # False: this key was used before, and `record` is the transcript of that time


class IdempotencyKeys:
    async def claim(self, owner: str, key: str, fingerprint: str, new: NewTranscript, ttl_s: float) -> Claim:
        """Create the transcript unless this owner's key already has one; atomic, so two uploads at once make one.

        `fingerprint` is a digest over the recording and the options. A key is forgotten after `ttl_s`, and as soon as its
        transcript fails, is cancelled, interrupted or erased, so that sending again starts over.
        Raises `IdempotencyMismatch` when the key was used for something else, `DiskFull`.
        """
        raise NotImplementedError
