"""All SQL. Everybody else sees `Store` and the values below; nobody else sees a row, a query or a connection."""

import appliance.store.sqlite  # noqa: F401  # first, and for what importing it does
from appliance.store.alone import held_alone
from appliance.store.deliveries import Deliveries, Delivery
from appliance.store.edits import Revision, SegmentEdit, TranscriptEdit
from appliance.store.idempotency import Claim, IdempotencyKeys
from appliance.store.keys import ApiKeys, KeyRecord, Scope
from appliance.store.search import Snippet
from appliance.store.store import Store
from appliance.store.transcripts import NewTranscript, Page, Transcripts

__all__ = [
    "ApiKeys",
    "Claim",
    "Deliveries",
    "Delivery",
    "IdempotencyKeys",
    "KeyRecord",
    "NewTranscript",
    "Page",
    "Revision",
    "Scope",
    "SegmentEdit",
    "Snippet",
    "Store",
    "TranscriptEdit",
    "Transcripts",
    "held_alone",
]
