"""The command around the transcriber: what is written where, what fails how, what Ctrl-C leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from appliance.cli import transcribe as command
from appliance.cli.wish import OnProgress, Wish
from appliance.errors import InvalidRequest, NotMedia


class Echo:
    """Answers with the name of the recording; refuses those called bad; stops at those called stop."""

    at_once = 2

    def __init__(self) -> None:
        self.wishes: list[Wish] = []
        self.cancelled: list[str] = []
        self.open = 0
        self.most_open = 0

    async def transcribe(self, recording: Path, wish: Wish, on_progress: OnProgress) -> bytes:
        self.wishes.append(wish)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            on_progress("writing", 0.5)
            await asyncio.sleep(0)
            return await self._answer(recording, wish)
        except asyncio.CancelledError:
            self.cancelled.append(recording.stem)
            raise
        finally:
            self.open -= 1

    async def _answer(self, recording: Path, wish: Wish) -> bytes:
        if recording.stem == "bad":
            raise NotMedia
        if recording.stem == "stop":
            raise KeyboardInterrupt
        return f"{recording.name} as {wish.format}\n".encode()


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Echo:
    fake = Echo()

    @asynccontextmanager
    async def opening() -> AsyncIterator[Echo]:
        yield fake

    monkeypatch.setattr(command, "transcriber_for", lambda *_: opening())
    return fake


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command.app, [str(argument) for argument in arguments])


def recordings(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.touch()
    return paths


@pytest.mark.usefixtures("echo")
def test_stdout_holds_the_text_and_nothing_else(tmp_path: Path) -> None:
    done = run(*recordings(tmp_path, "talk.mp3"), "--format", "srt")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "talk.mp3 as srt\n", "")


@pytest.mark.usefixtures("echo")
def test_one_failure_does_not_stop_the_others(tmp_path: Path) -> None:
    done = run(*recordings(tmp_path, "a.mp3", "bad.mp3", "c.mp3"), "-o", tmp_path / "texts")
    assert done.exit_code == 1
    assert sorted(path.name for path in (tmp_path / "texts").iterdir()) == ["a.txt", "c.txt"]
    assert "bad.mp3: The file is not a recording" in done.stderr
    assert "2 of 3 recordings done. 1 failed" in done.stderr


def test_no_more_are_worked_on_than_is_worth_it(tmp_path: Path, echo: Echo) -> None:
    run(*recordings(tmp_path, *(f"{n}.mp3" for n in range(6))), "-o", tmp_path / "texts")
    assert echo.most_open == 2


@pytest.mark.usefixtures("echo")
def test_a_text_that_appears_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    target = tmp_path / "talk.txt"
    target.write_text("precious")
    with pytest.raises(InvalidRequest, match="cannot be written: File exists"):
        command.deliver(b"new", target, force=False)
    assert target.read_text() == "precious"
    command.deliver(b"new", target, force=True)
    assert target.read_text() == "new"


def test_options_become_the_wish(tmp_path: Path, echo: Echo) -> None:
    talk = recordings(tmp_path, "talk.mp3")
    run(*talk, "-m", "tiny", "-l", "auto", "--speakers", "3", "--hotwords", "Aydın, metoprolol,", "--translate", "-f", "json")
    assert echo.wishes == [
        Wish(model="tiny", diarize=True, speakers=3, hotwords=("Aydın", "metoprolol"), translate=True, format="json")
    ]


def test_contradictions_are_refused_before_any_work(tmp_path: Path, echo: Echo) -> None:
    talk = recordings(tmp_path, "talk.mp3")
    assert isinstance(run(*talk, "--speakers", "2", "--no-diarize").exception, InvalidRequest)
    assert isinstance(run(*talk, "--server", "http://x", "--device", "cpu").exception, InvalidRequest)
    assert echo.wishes == []


@pytest.mark.usefixtures("echo")
def test_ctrl_c_ends_with_130_and_a_sentence(tmp_path: Path) -> None:
    done = run(*recordings(tmp_path, "stop.mp3"))
    assert done.exit_code == 130
    assert "Stopped." in done.stderr
