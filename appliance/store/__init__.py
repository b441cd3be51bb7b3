"""All SQL. Everybody else sees `Store` and the values below; nobody else sees a row, a query or a connection."""

import appliance.store.sqlite  # noqa: F401  # first, and for what importing it does
from appliance.store.alone import held_alone
from appliance.store.audit import Audit
from appliance.store.chain import ChainName, Entry, Head, Verified, verify
from appliance.store.deliveries import Deliveries, Delivery, SwitchedOff
from appliance.store.edits import Revision, SegmentEdit, TranscriptEdit
from appliance.store.envelopes import Envelopes, PrivateState
from appliance.store.glance import Glance, glance
from appliance.store.idempotency import Claim, IdempotencyKeys
from appliance.store.journal import Journal
from appliance.store.keys import ApiKeys, KeyRecord, Scope
from appliance.store.links import Link, Purpose
from appliance.store.people import KnownElsewhere, Offer, People, PersonEdit, fold_email
from appliance.store.reach import SYSTEM, UNLIMITED, Reach, Right, own_reach
from appliance.store.restoring import Restored, check_schema, prepare_restored, replace_database, stored_tombstones
from appliance.store.retention import MAX_DAYS, Retention, erase_after
from appliance.store.search import Snippet
from appliance.store.second_factors import SecondFactors, provisioning_uri
from appliance.store.sessions import NewSession, Session, Sessions
from appliance.store.shares import NewShare, Share, Shares, View
from appliance.store.snapshot import check_copy, snapshot
from appliance.store.standing import EVERYDAY, MemberRole, Membership, Person, PersonRole, PersonState, Standing
from appliance.store.store import Store
from appliance.store.tombstones import Tombstone
from appliance.store.transcripts import NewTranscript, Page, Transcripts
from appliance.store.usage import Usage, UsageTotals, Used
from appliance.store.workspaces import Asker, Member, Workspace, Workspaces

__all__ = [
    "EVERYDAY",
    "MAX_DAYS",
    "SYSTEM",
    "UNLIMITED",
    "ApiKeys",
    "Asker",
    "Audit",
    "ChainName",
    "Claim",
    "Deliveries",
    "Delivery",
    "Entry",
    "Envelopes",
    "Glance",
    "Head",
    "IdempotencyKeys",
    "Journal",
    "KeyRecord",
    "KnownElsewhere",
    "Link",
    "Member",
    "MemberRole",
    "Membership",
    "NewSession",
    "NewShare",
    "NewTranscript",
    "Offer",
    "Page",
    "People",
    "Person",
    "PersonEdit",
    "PersonRole",
    "PersonState",
    "PrivateState",
    "Purpose",
    "Reach",
    "Restored",
    "Retention",
    "Revision",
    "Right",
    "Scope",
    "SecondFactors",
    "SegmentEdit",
    "Session",
    "Sessions",
    "Share",
    "Shares",
    "Snippet",
    "Standing",
    "Store",
    "SwitchedOff",
    "Tombstone",
    "TranscriptEdit",
    "Transcripts",
    "Usage",
    "UsageTotals",
    "Used",
    "Verified",
    "View",
    "Workspace",
    "Workspaces",
    "check_copy",
    "check_schema",
    "erase_after",
    "fold_email",
    "glance",
    "held_alone",
    "own_reach",
    "prepare_restored",
    "provisioning_uri",
    "replace_database",
    "snapshot",
    "stored_tombstones",
    "verify",
]
