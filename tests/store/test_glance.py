"""A look at the database changes nothing, waits for nobody, and needs no place to write to."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.errors import StartRefused
from appliance.store import Store, Used, glance
from appliance.store.database import connect, transaction
from appliance.store.figures import read_figures

ALWAYS = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.anyio
async def test_beside_an_appliance_that_is_writing_the_newest_is_seen_at_once(store: Store, path: Path) -> None:
    await store.licence_mark.write(b"sealed")
    await store.usage.record(Used("system", "whisper-base", audio_s=90.0, engine_s=1.0))
    writing = connect(path)
    with transaction(writing):
        writing.conn.execute("DELETE FROM licence_mark")
        began = datetime.now(UTC)
        with glance(path) as seen:
            assert seen.licence_mark() == b"sealed"
            assert seen.usage(*ALWAYS).audio_s == 90.0
        assert datetime.now(UTC) - began < timedelta(seconds=5)
    writing.close()
    with glance(path) as seen:
        assert seen.licence_mark() is None
    await store.licence_mark.write(b"the appliance goes on writing")


@pytest.mark.anyio
async def test_of_a_stopped_appliance_nothing_is_made_or_changed(path: Path) -> None:
    store = await Store.open(path)
    await store.licence_mark.write(b"sealed")
    await store.close()
    before = content(path.parent)
    with glance(path) as seen:
        assert seen.licence_mark() == b"sealed"
    figures = read_figures(path)
    assert figures
    assert (figures.sound, figures.rows["licence_mark"]) == (True, 1)
    assert content(path.parent) == before
    assert not any(name.endswith(("-wal", "-shm")) for name in before)


@pytest.mark.anyio
async def test_after_a_kill_the_log_is_read_too(path: Path, tmp_path: Path) -> None:
    """As a copy of the files of a running store is what a killed one leaves."""
    store = await Store.open(path)
    await store.licence_mark.write(b"in the log only")
    (tmp_path / "left").mkdir()
    for name, part in content(path.parent).items():
        (tmp_path / "left" / name).write_bytes(part)
    await store.close()
    with glance(tmp_path / "left" / path.name) as seen:
        assert seen.licence_mark() == b"in the log only"


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("is_running", [True, False])
async def test_where_nothing_can_be_written_it_is_read_all_the_same(path: Path, is_running: bool) -> None:
    store = await Store.open(path)
    await store.licence_mark.write(b"sealed")
    if is_running:
        seen = await asyncio.to_thread(look_without_writing, path)
        await store.close()
    else:
        await store.close()
        seen = await asyncio.to_thread(look_without_writing, path)
    assert seen == "b'sealed'\nRead-only file system\n"


def look_without_writing(path: Path) -> str:
    mount = f'mount --bind "{path.parent}" "{path.parent}" && mount -o remount,bind,ro "{path.parent}"'
    prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    if subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a file system of his own")
    code = (
        "import sys; from pathlib import Path; from appliance.store.glance import glance\n"
        "with glance(Path(sys.argv[1])) as seen: print(seen.licence_mark())\n"
        "try: Path(sys.argv[1] + '.x').touch()\n"
        "except OSError as error: print(error.strerror)\n"
    )
    command = [*prefix, sys.executable, "-c", code, str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("DROP TABLE licence_mark", "earlier version"),
        ("INSERT INTO _sqlite_migrations VALUES (999, 'appliance', 'm999_from_the_future', '2030-01-01')", "newer version"),
    ],
)
async def test_a_database_of_another_version_is_named_and_stays_as_it_is(path: Path, change: str, says: str) -> None:
    await (await Store.open(path)).close()
    db = connect(path)
    db.conn.execute(change)
    db.close()
    before = content(path.parent)
    with pytest.raises(StartRefused, match=says), glance(path) as seen:
        seen.licence_mark()
    assert content(path.parent) == before


def test_what_is_no_database_is_said_to_be_none(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database, and long enough to be taken for one" * 100)
    with pytest.raises(StartRefused, match="not a usable database"), glance(path):
        pass
