"""What the pages are served with."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from appliance.web import CONTENT_TYPES, FILES, STATIC_DIR, routes


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient[Litestar]]:
    with TestClient(Litestar(list(routes()), openapi_config=None)) as opened:
        yield opened


def test_the_page_is_public_and_strict(client: TestClient[Litestar]) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert all(router.opt == {"access": "public"} for router in routes())


def test_a_page_the_browser_holds_is_not_sent_again(client: TestClient[Litestar]) -> None:
    first = client.get("/static/app.js")
    again = client.get("/static/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, first.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/static/app.js", headers={"If-None-Match": '"old"'}).content == first.content


@pytest.mark.parametrize("name", ["nothing.js", "__init__.py", "..%2f__init__.py", "%2fetc%2fpasswd", ".."])
def test_only_files_of_the_page_are_served(client: TestClient[Litestar], name: str) -> None:
    answer = client.get(f"/static/{name}")
    assert answer.status_code == 404 or answer.content == FILES["index.html"].content  # ".." is the page itself


def test_every_file_has_a_type() -> None:
    assert {path.suffix for path in STATIC_DIR.iterdir()} <= set(CONTENT_TYPES)


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    """TRAPS 11: no script, font or picture of another host; and no code that a strict policy would have to allow."""
    page = FILES["index.html"].content.decode()
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=", page) == []
    for name, file in FILES.items():
        text = file.content.decode().replace("http://www.w3.org/2000/svg", "")
        assert re.findall(r"(?:https?:)?//[\w-]+\.\w+", re.sub(r"(?m)^\s*//.*$", "", text)) == [], name
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(", text.replace("without innerHTML", "")), name


def test_every_module_that_is_imported_is_there() -> None:
    for name, file in FILES.items():
        for imported in re.findall(r'from "\./([\w.]+)"', file.content.decode()):
            assert imported in FILES, f"{name} imports {imported}"
