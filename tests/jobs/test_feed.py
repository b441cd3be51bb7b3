"""What followers of a job are told."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from appliance.domain import Failure, JobState, Progress, Segment
from appliance.jobs.feed import FailedEvent, Feed, JobEvent, ProgressEvent, SegmentsEvent

END = FailedEvent(JobState.CANCELLED, Failure("cancelled", "It was cancelled.", "", 409), datetime(2026, 1, 1, tzinfo=UTC))


def at(fraction: float) -> Progress:
    return Progress(state=JobState.PROCESSING, fraction=fraction)


def segment(n: int) -> Segment:
    return Segment(id=n, start=float(n), end=n + 1.0, text=f"{n}")


async def collect(feed: Feed) -> list[JobEvent]:
    return [event async for event in feed.follow()]


def test_a_late_follower_gets_the_present_state_and_all_segments_so_far() -> None:
    async def run() -> list[JobEvent]:
        feed = Feed(at(0.0))
        feed.advance(at(0.5))
        feed.add((segment(0),))
        feed.add((segment(1), segment(2)))
        feed.close(END)
        return await collect(feed)

    assert asyncio.run(run()) == [ProgressEvent(at(0.5)), SegmentsEvent((segment(0), segment(1), segment(2))), END]


def test_a_slow_follower_skips_progress_but_no_segment_and_holds_no_queue() -> None:
    async def run() -> list[JobEvent]:
        feed = Feed(at(0.0))
        seen: list[JobEvent] = []
        following = feed.follow()
        seen.append(await anext(following))
        for n in range(1000):
            feed.advance(at(n / 1000))
            feed.add((segment(n),))
        seen += [await anext(following), await anext(following)]
        feed.close(END)
        return [*seen, *[event async for event in following]]

    first, segments, progress, end = asyncio.run(run())
    assert first == ProgressEvent(at(0.0))
    assert progress == ProgressEvent(at(0.999))
    assert isinstance(segments, SegmentsEvent)
    assert [s.id for s in segments.segments] == list(range(1000))
    assert end == END


def test_work_that_begins_again_replaces_the_segments() -> None:
    async def run() -> list[JobEvent]:
        feed = Feed(at(0.0))
        feed.add((segment(0),))
        following = feed.follow()
        seen = [await anext(following), await anext(following)]
        feed.start_over()
        feed.add((segment(7),))
        seen.append(await anext(following))
        await following.aclose()  # type: ignore[attr-defined]
        return seen

    assert asyncio.run(run())[1:] == [SegmentsEvent((segment(0),)), SegmentsEvent((segment(7),), replaces_all=True)]


def test_two_followers_see_the_same() -> None:
    async def run() -> tuple[list[JobEvent], list[JobEvent]]:
        feed = Feed(at(0.0))
        both = asyncio.gather(collect(feed), collect(feed))
        await asyncio.sleep(0)
        feed.add((segment(0),))
        feed.close(END)
        return tuple(await both)  # type: ignore[return-value]

    first, second = asyncio.run(run())
    assert first == second
    assert first[-1] == END
