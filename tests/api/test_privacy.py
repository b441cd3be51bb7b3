"""The privacy statement: served to everybody, the same in docs/, and each of its proofs a test that exists."""

from __future__ import annotations

import ast
from pathlib import Path

import httpx
import pytest

from appliance.privacy import FIXED, OPEN, Statement, as_markdown, statements
from appliance.settings import Settings
from tests.api.conftest import Api, settings_for

ROOT = Path(__file__).resolve().parent.parent.parent
PROMISES = [statement for section in FIXED if section is not OPEN for statement in section.statements]


def test_everybody_may_read_it(api: Api) -> None:
    answer = httpx.get(f"{api.url}/v1/privacy").raise_for_status().json()
    titles = [section["title"] for section in answer["sections"]]
    assert titles[0] == "At this site"
    assert titles[-1] == "Not protected"


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.says[:40])
def test_every_promise_is_proven_by_a_test(promise: Statement) -> None:
    path, _, name = promise.proof.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    tests = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in tests


def test_the_document_says_the_same() -> None:
    made = as_markdown()
    assert (ROOT / "docs" / "privacy.md").read_text() == made, "run: python -m appliance.privacy > docs/privacy.md"


def said(settings: Settings) -> str:
    return " ".join(statement.says for statement in statements(settings)[0].statements)


def test_the_site_s_own_settings_are_told(tmp_path: Path) -> None:
    assert "until somebody erases them" in said(settings_for(tmp_path))
    changed = settings_for(tmp_path, retention_days=30, webhook_targets=("https://hook.example/",), tls="off")
    assert "erased 30 days" in said(changed)
    assert "https://hook.example/" in said(changed)
    assert "Plain HTTP" in said(changed)
