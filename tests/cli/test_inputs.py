"""Which recordings are meant, and where their texts go."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.cli.inputs import find_recordings, plan_tasks
from appliance.errors import InvalidRequest


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    for name in ("a.mp3", "b.WAV", "notes.txt", "2026/c.m4a", "2026/a.mp3"):
        file = tmp_path / "calls" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path / "calls"


def test_a_folder_means_the_recordings_below_it(calls: Path) -> None:
    names = [path.relative_to(calls).as_posix() for path in find_recordings([str(calls)])]
    assert names == ["2026/a.mp3", "2026/c.m4a", "a.mp3", "b.WAV"]


def test_a_pattern_and_a_file_that_it_matches_mean_it_once(calls: Path) -> None:
    found = find_recordings([f"{calls}/a.mp3", f"{calls}/**/*.mp3"])
    assert [path.relative_to(calls).as_posix() for path in found] == ["a.mp3", "2026/a.mp3"]


def test_a_file_that_is_named_is_tried_whatever_its_name(calls: Path) -> None:
    assert find_recordings([f"{calls}/notes.txt"]) == (calls / "notes.txt",)


@pytest.mark.parametrize("argument", ["gone.mp3", "*.nothing", ""])
def test_an_argument_that_leads_to_nothing_is_named(calls: Path, monkeypatch: pytest.MonkeyPatch, argument: str) -> None:
    (calls / "empty").mkdir()
    monkeypatch.chdir(calls / "empty")
    with pytest.raises(InvalidRequest, match=f"no recording at '{argument}'".replace("*", r"\*")):
        find_recordings([argument])


def test_one_text_goes_to_stdout_and_several_need_a_folder(calls: Path) -> None:
    assert plan_tasks([calls / "a.mp3"], None, "txt", force=False)[0].target is None
    with pytest.raises(InvalidRequest, match="2 recordings need a folder"):
        plan_tasks([calls / "a.mp3", calls / "b.WAV"], None, "txt", force=False)


def test_texts_are_named_after_their_recordings(calls: Path) -> None:
    one = plan_tasks([calls / "a.mp3"], calls / "out.srt", "srt", force=False)
    into = plan_tasks([calls / "a.mp3"], calls / "new", "srt", force=False)
    same_stem = plan_tasks([calls / "a.mp3", Path("a.wav"), Path("c.mp3")], calls, "txt", force=False)
    assert [task.target for task in one + into] == [calls / "out.srt", calls / "new" / "a.srt"]
    assert [task.target for task in same_stem] == [calls / "a.mp3.txt", calls / "a.wav.txt", calls / "c.txt"]


def test_two_recordings_of_one_name_are_refused(calls: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"Several recordings are called 'a\.mp3'"):
        plan_tasks(find_recordings([f"{calls}/**/a.mp3"]), calls, "txt", force=False)


def test_nothing_is_written_over_without_force(calls: Path) -> None:
    (calls / "a.txt").touch()
    with pytest.raises(InvalidRequest, match=r"Already there: .*a\.txt"):
        plan_tasks([calls / "a.mp3"], calls, "txt", force=False)
    assert plan_tasks([calls / "a.mp3"], calls, "txt", force=True)[0].target == calls / "a.txt"
    with pytest.raises(InvalidRequest, match="is a file"):
        plan_tasks([calls / "a.mp3", calls / "b.WAV"], calls / "a.txt", "txt", force=True)
