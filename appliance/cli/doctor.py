"""`appliance doctor`: is this machine fit, in plain words. Exit status 1 when something blocks."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import msgspec
import typer

from appliance.cli.configuration import read_settings
from appliance.cli.findings import Finding, Verdict
from appliance.cli.site_checks import EVERYTHING

app = typer.Typer()

SIGNS = {Verdict.FINE: "✓", Verdict.NOTE: "·", Verdict.WARNING: "!", Verdict.BLOCKS: "✗"}
WIDTH = max(len("open files"), len("libraries"))


@app.command(help="Check this machine: a plain verdict and a remedy for each point.")
def doctor(as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    settings = read_settings()
    findings = []
    with nothing_logged():
        for finding in (finding for check in EVERYTHING for finding in check(settings)):
            findings.append(finding)
            if not as_json:
                print(describe(finding), flush=True)
    if as_json:
        print(msgspec.json.encode(findings).decode())
    else:
        print(f"\n{conclusion(findings)}")
    raise typer.Exit(1 if _with(findings, Verdict.BLOCKS) else 0)


@contextmanager
def nothing_logged() -> Iterator[None]:
    """What the checks would log is said by the findings."""
    logger = logging.getLogger("appliance")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def describe(finding: Finding) -> str:
    line = f"{SIGNS[finding.verdict]} {finding.point:<{WIDTH}}  {finding.says}"
    return f"{line}\n{'':<{WIDTH + 4}}→ {finding.remedy}" if finding.remedy else line


def conclusion(findings: Sequence[Finding]) -> str:
    blocks, warnings = len(_with(findings, Verdict.BLOCKS)), len(_with(findings, Verdict.WARNING))
    if blocks:
        return f"Not fit yet: {blocks} {'point blocks' if blocks == 1 else 'points block'} the appliance (✗)."
    if warnings:
        return f"Fit, with {warnings} {'warning' if warnings == 1 else 'warnings'} (!)."
    return "Fit: everything is as it should be."


def _with(findings: Sequence[Finding], verdict: Verdict) -> list[Finding]:
    return [finding for finding in findings if finding.verdict is verdict]
