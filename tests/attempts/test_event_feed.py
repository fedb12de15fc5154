"""Events reach Redis in order, and never hold a job up."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from impasto_core.ids import new_id
from impasto_core.jobs.events import EventWriter, Finished, Node, Step, StreamEvent
from impasto_workers import event_feed
from impasto_workers.event_feed import EventFeed
from tests.support.job_desk import events_in


def step(number: int, node: str = "denoise_0") -> Step:
    return Step(node=node, step=number, total=1000, progress=number / 1000)


async def test_events_are_written_in_order(redis: Redis) -> None:
    job_id = new_id()
    feed = EventFeed(EventWriter(redis, job_id, 1))
    events: list[StreamEvent] = [
        step(1),
        Node(node="n", node_type="l2i", state="started"),
        step(2),
        Finished(),
    ]
    for event in events:
        feed.put(event)
    await feed.close()
    assert await events_in(redis, job_id) == events


async def test_steps_that_came_too_fast_are_left_out_but_not_the_last(redis: Redis) -> None:
    job_id = new_id()
    feed = EventFeed(EventWriter(redis, job_id, 1))
    for number in range(1, 1001):
        feed.put(step(number))
    feed.put(Finished())
    await feed.close()
    events = await events_in(redis, job_id)
    assert len(events) < 100
    assert events[-2:] == [step(1000), Finished()]


class Silent(EventWriter):
    """Redis behind a network that swallows everything."""

    async def write(self, *events: StreamEvent) -> None:
        await asyncio.sleep(3600)


async def test_a_silent_redis_holds_nobody_up(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(event_feed, "CLOSE_SECONDS", 0.1)
    feed = EventFeed(Silent(redis, new_id(), 1))
    feed.put(step(1))
    feed.put(Finished())
    async with asyncio.timeout(2):
        await feed.close()
    assert "2 events were not written" in caplog.text
