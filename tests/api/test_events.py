"""A transcript's progress as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from litestar.response import ServerSentEventMessage
from msgspec import structs

from appliance.api.events import _ended
from appliance.api.sse import with_heartbeats
from appliance.domain import JobState
from appliance.store import UNLIMITED, PersonEdit, PersonState
from tests.api.conftest import Api
from tests.api.people import new_person, signed_in
from tests.api.standins import HOLD
from tests.api.test_transcripts import make, send


def read(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    event = ""
    for line in lines:
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield event, json.loads(line.removeprefix("data: "))


def test_state_then_segments_then_done(api: Api, client: httpx.Client, wav: bytes) -> None:
    accepted = send(client, wav, prompt=HOLD)
    with client.stream("GET", accepted["events_url"]) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        events = read(answer.iter_lines())
        seen = [next(events)]
        assert seen[0][0] == "state"
        while seen[-1][0] != "segments":
            seen.append(next(events))
        assert seen[-1][1]["segments"][0]["text"] == "Good morning."
        api.pool.release()
        seen += list(events)
    assert seen[-1][0] == "done"
    assert seen[-1][1]["id"] == accepted["id"]
    fractions = [data["progress"]["fraction"] for name, data in seen if name == "state"]
    assert fractions == sorted(fractions)


def test_whoever_comes_late_gets_everything_so_far(api: Api, client: httpx.Client, wav: bytes) -> None:
    accepted = send(client, wav, prompt=HOLD)
    assert api.pool.holding.acquire(timeout=10)
    with client.stream("GET", accepted["events_url"], headers={"Last-Event-ID": "whatever"}) as answer:
        events = read(answer.iter_lines())
        assert next(events)[0] == "state"
        assert next(data for name, data in events if name == "segments")["segments"][0]["text"] == "Good morning."
    api.pool.release()


def test_a_finished_one_says_so_and_ends(client: httpx.Client, wav: bytes) -> None:
    url = f"/api/v1/transcripts/{make(client, wav)['id']}/events/"
    with client.stream("GET", url) as answer:
        assert [name for name, _ in read(answer.iter_lines())] == ["state", "done"]


def test_a_failed_one_says_why(client: httpx.Client) -> None:
    accepted = send(client, b"no recording " * 100)
    with client.stream("GET", accepted["events_url"]) as answer:
        name, data = list(read(answer.iter_lines()))[-1]
    assert name == "error"
    assert data["code"] == "unsupported_media"
    assert data["status"] == "failed"


def test_a_browser_that_reconnects_after_the_end_is_told_to_stop(client: httpx.Client, wav: bytes) -> None:
    url = f"/api/v1/transcripts/{make(client, wav)['id']}/events/"
    assert client.get(url, headers={"Last-Event-ID": "end"}).status_code == 204


def test_whoever_stops_following_does_not_stop_the_job(api: Api, client: httpx.Client, wav: bytes) -> None:
    accepted = send(client, wav, prompt=HOLD)
    with client.stream("GET", accepted["events_url"]) as answer:
        next(read(answer.iter_lines()))
    api.pool.release()
    with client.stream("GET", accepted["events_url"]) as answer:
        assert list(read(answer.iter_lines()))[-1][0] == "done"


def test_whoever_may_not_read_it_any_more_hears_no_more_of_it(api: Api, wav: bytes) -> None:
    person = new_person(api)
    browser = signed_in(api, person).client
    accepted = send(browser, wav, prompt=HOLD)
    with browser.stream("GET", accepted["events_url"]) as answer:
        events = read(answer.iter_lines())
        while next(events)[0] != "segments":
            pass
        assert api.pool.holding.acquire(timeout=10)
        api.run(api.services.store.people.change(person.id, PersonEdit(state=PersonState.DISABLED), "console"))
        api.pool.release()
        assert {name for name, _ in events} <= {"state"}


def test_heartbeats_fill_the_silence_and_nothing_is_lost() -> None:
    closed = asyncio.Event

    async def scenario() -> tuple[list[int | None], bool]:
        go, ended = asyncio.Event(), closed()

        async def source() -> AsyncIterator[int]:
            try:
                yield 1
                await go.wait()
                yield 2
            finally:
                ended.set()

        seen: list[int | None] = []
        async for item in with_heartbeats(source(), every_s=0.01):
            seen.append(item)
            if seen.count(None) == 2:
                go.set()
        return seen, ended.is_set()

    seen, ended = asyncio.run(scenario())
    assert [item for item in seen if item is not None] == [1, 2]
    assert seen.count(None) >= 2
    assert ended


@pytest.mark.parametrize("key", ["999999999", "no-such-slug"])
def test_nothing_to_follow(client: httpx.Client, key: str) -> None:
    assert client.get(f"/api/v1/transcripts/{key}/events/").status_code == 404


def test_a_running_one_without_a_job_is_not_said_to_be_done(api: Api, client: httpx.Client, wav: bytes) -> None:
    record = api.run(api.services.store.transcripts.get(make(client, wav)["id"], UNLIMITED))
    running = structs.replace(record, state=JobState.PROCESSING, transcript=None)

    async def events() -> list[ServerSentEventMessage]:
        return [event async for event in _ended(running)]

    assert [event.event for event in asyncio.run(events())] == ["state"]
