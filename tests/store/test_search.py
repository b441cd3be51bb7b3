"""Search in every script, with anything a person may type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.store import UNLIMITED, Store
from appliance.store.database import connect
from appliance.store.search import find_marks, match_expression, parse_query, tokenize
from tests.store.samples import new_transcript, save


def found(text: str, query: str) -> list[str]:
    return [text[start:end] for start, end in find_marks(text, parse_query(query))]


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("The Budget meeting", "budget", ["Budget"]),
        ("Die Straße nach Köln", "STRASSE", ["Straße"]),
        ("Die Straße nach Köln", "koln", ["Köln"]),
        ("ещё раз Ёлка", "еще елка", ["ещё", "Ёлка"]),
        ("东京的会议", "会议", ["会议"]),
        ("東京タワーの近くで会いました", "タワー", ["タワー"]),
        ("東京タワーの近くで会いました", "近", ["近"]),
        ("これはﾃｽﾄです", "テスト", ["ﾃｽﾄ"]),
        ("ประชุมวันจันทร์", "วันจันทร์", ["วันจันทร์"]),
        ("मैं हिन्दी बोलता हूँ", "हिन्दी", ["हिन्दी"]),
        ("مُحَمَّد قال", "محمد", ["مُحَمَّد"]),
        ("회의는 월요일", "회의", ["회의는"]),  # begins with it: Korean particles, German endings
        ("don't stop", "don't", ["don't"]),
        ("We have 2,500 euros", "2,500", ["2,500"]),
        ("the cat sat on the mat", '"cat sat"', ["cat sat"]),
        ("the cat sat on the mat", '"sat cat"', []),
        ("Verträge und Vertragsentwurf", "vertrag", ["Verträge", "Vertragsentwurf"]),
        ("in an individual case", "in", ["in"]),  # short words stay whole
        ("in an individual case", "in*", ["in", "individual"]),
        ("in an individual case", '"indiv"', []),  # quotes are exact
    ],
)
def test_where_a_query_matches(text: str, query: str, expected: list[str]) -> None:
    assert found(text, query) == expected


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("我们明天在北京开会", "北京"),
        ("我们明天在北京开会", "京"),
        ("明日は東京で会議があります", "東京で会議"),
        ("Café à la crème", "creme cafe"),
        ("नमस्ते दुनिया", "दुनिया"),
    ],
)
async def test_the_index_finds_every_script(store: Store, text: str, query: str) -> None:
    wanted = await save(store, ["something else", text])
    await save(store, ["东 是 金", "entirely unrelated", "मैं"])
    page = await store.transcripts.list(UNLIMITED, limit=10, offset=0, query=query)
    assert [record.id for record in page.results] == [wanted.id]
    [snippet] = page.snippets[wanted.id]
    assert (snippet.segment, snippet.start, snippet.text) == (1, 5.0, text)
    assert snippet.marks == find_marks(text, parse_query(query)) != ()


@pytest.mark.anyio
async def test_words_of_a_query_may_stand_in_different_segments_and_in_the_title(store: Store) -> None:
    record = await save(store, ["we met the minister", "and talked about fish"], new_transcript(title="Bergen 2026"))
    await save(store, ["only the minister"])
    page = await store.transcripts.list(UNLIMITED, limit=10, offset=0, query="minister fish bergen")
    assert [found.id for found in page.results] == [record.id]
    assert [snippet.segment for snippet in page.snippets[record.id]] == [None, 0, 1]


@pytest.mark.anyio
async def test_a_query_without_any_word_finds_nothing_and_an_empty_one_finds_all(store: Store) -> None:
    await save(store, ["hello"])
    for query, count in (("", 1), ("  ", 1), ('"', 0), ("*()", 0), ("…", 0)):
        assert (await store.transcripts.list(UNLIMITED, limit=10, offset=0, query=query)).count == count, query


@given(st.text(max_size=60))
def test_no_query_is_a_syntax_error(query: str) -> None:
    """Against the real FTS5, with whatever hypothesis types, lone quotes and operators included."""
    check_against_fts5(query)


@pytest.mark.parametrize(
    "query",
    ['"', "AND", "NOT x", "NEAR(a b)", "a:b", "^a", "a -b", "col : x", "\x00", "\ud800", "'; DROP TABLE", "*", '"a" "', "﷽"],
)
def test_operators_are_words(query: str) -> None:
    check_against_fts5(query)


def check_against_fts5(query: str) -> None:
    terms = parse_query(query)
    if not terms:
        return
    db = connect(":memory:")  # type: ignore[arg-type]
    db.conn.execute("CREATE VIRTUAL TABLE search USING fts5(tokens, tokenize = 'ascii')")
    db.conn.execute("INSERT INTO search VALUES (?)", (" ".join(token.folded for token in tokenize(query)),))
    hits = db.conn.execute("SELECT count(*) FROM search WHERE search MATCH ?", (match_expression(terms),)).fetchone()[0]
    db.close()
    assert hits == 1, "a text must be found by itself"


@given(st.text(max_size=80))
def test_tokens_lie_in_order_inside_the_text(text: str) -> None:
    ends = 0
    for token in tokenize(text):
        assert ends <= token.start < token.end <= len(text)
        assert token.folded
        assert " " not in token.folded
        ends = token.end
