"""Before the appliance starts: the checks of the doctor that are quick, so that a wrong machine is named, not found out.

Silent where all is well. What blocks refuses the start, with its remedy; what weakens a promise is a warning in the log.
"""

from __future__ import annotations

import logging

from appliance.cli.checks import Check, check_data_folder, check_device, check_memory, check_swap
from appliance.cli.findings import Finding, Verdict
from appliance.errors import StartRefused
from appliance.settings import Settings

log = logging.getLogger(__name__)

STARTING: tuple[Check, ...] = (check_device, check_memory, check_swap, check_data_folder)


def preflight(settings: Settings, checks: tuple[Check, ...] = STARTING) -> None:
    """Raises StartRefused with the first finding that blocks; a GPU that was asked for is never replaced by the CPU."""
    for finding in (finding for check in checks for finding in check(settings)):
        if finding.verdict is Verdict.BLOCKS:
            raise StartRefused(finding.says, finding.remedy)
        tell(finding)


def tell(finding: Finding) -> None:
    if finding.verdict is Verdict.WARNING:
        log.warning("%s %s", finding.says, finding.remedy)
    elif finding.verdict is Verdict.NOTE:
        log.info("%s", finding.says)
