"""A finding of the checks: a plain verdict on one point and, where something is wrong, a remedy."""

from __future__ import annotations

from enum import StrEnum

from appliance.domain import Value


class Verdict(StrEnum):
    FINE = "fine"
    NOTE = "note"  # works, with something to know
    WARNING = "warning"  # works, but a promise or the speed is weaker
    BLOCKS = "blocks"  # the appliance does not work like this


class Finding(Value, frozen=True):
    point: str
    verdict: Verdict
    says: str
    remedy: str = ""
