"""The schema on one page, and the way to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlite_utils import Database

import appliance.store
from appliance.errors import StartRefused
from appliance.store import Store
from appliance.store.database import connect
from appliance.store.migrations import migrate, migrations

SCHEMA = Path(appliance.store.__file__).parent / "schema.sql"


def schema_of(db: Database) -> str:
    """Without SQLite's own tables and the inner ones of the search index."""
    found = db.query(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'search\\__%' ESCAPE '\\' ORDER BY rowid"
    )
    return "".join(f"{row['sql']};\n\n" for row in found if "sqlite_" not in row["sql"].split("(")[0])


def test_all_migrations_together_make_the_schema_that_is_written_down(tmp_path: Path) -> None:
    db = connect(tmp_path / "x.db")
    migrate(db)
    found = schema_of(db)
    db.close()
    assert found == SCHEMA.read_text()


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    db = connect(tmp_path / "x.db")
    migrate(db)
    before = schema_of(db)
    migrate(db)
    assert schema_of(db) == before
    assert [m.name for m in migrations.applied(db)] == [m.name for m in migrations._migrations]
    db.close()


@pytest.mark.anyio
async def test_a_database_of_a_newer_version_is_refused_and_unchanged(path: Path) -> None:
    await (await Store.open(path)).close()
    db = connect(path)
    row = {"migration_set": "appliance", "name": "m999_from_the_future", "applied_at": "2030-01-01"}
    db.table("_sqlite_migrations").insert(row)
    before = schema_of(db)
    with pytest.raises(StartRefused, match="newer version"):
        await Store.open(path)
    assert schema_of(db) == before
    db.close()


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(db: Database) -> None:
        db.conn.execute("CREATE TABLE half_done (x)")
        raise RuntimeError("power cut")

    monkeypatch.setattr(migrations, "_migrations", [*migrations._migrations, migrations._Migration("m002_broken", broken)])
    db = connect(tmp_path / "x.db")
    with pytest.raises(RuntimeError):
        migrate(db)
    assert schema_of(db) == ""
    db.close()
