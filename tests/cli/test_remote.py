"""The command line as a client of a running appliance, over real HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.cli.remote import Refused, remote_transcriber
from appliance.cli.wish import OnProgress, Wish
from tests.web.standin import KEY, Standin


@pytest.fixture
def standin() -> Iterator[Standin]:
    server = Standin()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "talk.mp3"
    path.write_bytes(b"x" * 300_000)
    return path


async def transcribe(standin: Standin, recording: Path, on_progress: OnProgress, wish: Wish, key: str = KEY) -> bytes:
    async with remote_transcriber(standin.url, key) as transcriber:
        return await transcriber.transcribe(recording, wish, on_progress)


def state(status: str, **progress: Any) -> dict[str, Any]:
    return {"status": status, "progress": {"stage": None, "fraction": 0.0, "eta_s": None, "queue_position": None} | progress}


def run(work: Coroutine[Any, Any, bytes]) -> bytes:
    return asyncio.run(asyncio.wait_for(work, 20))


def test_a_recording_is_sent_followed_and_fetched(standin: Standin, recording: Path) -> None:
    standin.tell("1", "state", state("queued", queue_position=2))
    standin.tell("1", "state", state("processing", stage="recognize", fraction=0.5))
    standin.tell("1", "done", {"status": "completed"})
    seen: list[tuple[str, float | None]] = []
    wish = Wish(diarize=True, speakers=2, hotwords=("Aydın",), format="srt")
    document = run(transcribe(standin, recording, lambda doing, fraction: seen.append((doing, fraction)), wish))
    assert document == b"1 as srt"
    sent = standin.uploads[0]["head"]
    assert re.search(r'name="speakers"\s+2', sent)
    assert re.search(r'name="hotwords"\s+Aydın', sent)
    assert ("sending", 1.0) in seen
    assert seen[-2:] == [("waiting, number 2 in line", None), ("writing", 0.5)]


@pytest.mark.slow
def test_a_broken_connection_is_made_again(standin: Standin, recording: Path) -> None:
    standin.tell("1", "state", state("processing", stage="decode"))
    standin.hang_up("1")
    standin.tell("1", "done", {})
    assert run(transcribe(standin, recording, lambda *_: None, Wish())) == b"1 as txt"


@pytest.mark.slow
def test_a_full_appliance_is_asked_again_with_the_same_key(standin: Standin, recording: Path) -> None:
    standin.refusals.append((503, {"error": "Full.", "code": "memory_full", "hint": ""}, {"Retry-After": "1"}))
    standin.tell("1", "done", {})
    said: list[str] = []
    run(transcribe(standin, recording, lambda doing, _: said.append(doing), Wish()))
    assert "no room yet, again in 1 s" in said
    assert len(standin.uploads) == 1


def test_a_model_that_will_not_come_back_by_waiting_is_said_at_once(standin: Standin, recording: Path) -> None:
    answer = {"error": "Damaged.", "code": "model_damaged", "hint": "Fetch it again."}
    standin.refusals.append((503, answer, {"Retry-After": "10", "x-should-retry": "false"}))
    with pytest.raises(Refused, match="Damaged"):
        run(transcribe(standin, recording, lambda *_: None, Wish()))
    assert not standin.uploads


def test_a_failed_job_is_the_appliances_own_sentence(standin: Standin, recording: Path) -> None:
    standin.tell("1", "error", {"status": "failed", "error": "No audio track.", "code": "no_audio_track", "hint": "Check it."})
    with pytest.raises(Refused, match="No audio track") as caught:
        run(transcribe(standin, recording, lambda *_: None, Wish()))
    assert caught.value.hint == "Check it."


def test_a_wrong_key_says_how_to_give_one(standin: Standin, recording: Path) -> None:
    with pytest.raises(Refused, match="not valid here") as caught:
        run(transcribe(standin, recording, lambda *_: None, Wish(), key="stt_wrong"))
    assert "APPLIANCE_KEY" in caught.value.hint


def test_nobody_there_is_a_sentence(recording: Path) -> None:
    async def ask() -> bytes:
        async with remote_transcriber("http://127.0.0.1:9", KEY) as transcriber:
            return await transcriber.transcribe(recording, Wish(), lambda *_: None)

    with pytest.raises(Refused, match="does not answer"):
        asyncio.run(ask())


def test_stopping_takes_the_recording_out_of_the_appliance(standin: Standin, recording: Path) -> None:
    async def stop_while_it_works() -> None:
        started = asyncio.Event()
        work = asyncio.create_task(
            transcribe(standin, recording, lambda doing, _: started.set() if doing == "reading" else None, Wish())
        )
        standin.tell("1", "state", state("processing", stage="decode"))
        await asyncio.wait_for(started.wait(), 20)
        work.cancel()
        await asyncio.wait({work})
        assert work.cancelled()

    asyncio.run(stop_while_it_works())
    assert "DELETE /api/v1/transcripts/1" in [request.rstrip("/") for request in standin.requests]


def test_a_proxy_of_the_shell_is_not_used(standin: Standin, recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    standin.tell("1", "done", {})
    assert run(transcribe(standin, recording, lambda *_: None, Wish())) == b"1 as txt"
