"""Wake-ups: messages that Dramatiq would take for its own."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from impasto_core.queue import ACTOR, QueueUnavailable, WakeUps, make_broker
from impasto_core.settings import Settings
from impasto_ctl.embedded import EmbeddedServers
from tests.support.databases import DatabaseUrls
from tests.support.servers import closed_port


@pytest.fixture
def urls(servers: EmbeddedServers) -> DatabaseUrls:
    """No database of its own: none of these tests asks one."""
    return DatabaseUrls(*[servers.database_url] * 4)


@pytest.fixture
def wake_ups(settings: Settings, redis: Redis) -> Iterator[WakeUps]:
    broker = make_broker(settings)
    yield WakeUps(broker)
    broker.close()


async def test_a_wake_up_tells_a_pool_to_look_for_a_job_and_names_none(
    wake_ups: WakeUps, redis: Redis
) -> None:
    await wake_ups.send("large")
    [stored] = (await redis.hgetall("impasto:queue:large.msgs")).values()
    message = json.loads(stored)
    assert (message["queue_name"], message["actor_name"]) == ("large", ACTOR)
    assert (message["args"], message["kwargs"]) == (["large"], {})


async def test_wake_ups_are_counted_until_a_worker_takes_them(wake_ups: WakeUps) -> None:
    assert await wake_ups.waiting("default") == 0
    await wake_ups.send("default", count=3)
    await wake_ups.send("large")
    assert await wake_ups.waiting("default") == 3


async def test_a_broker_that_is_away_is_reported_as_such(settings: Settings) -> None:
    with closed_port() as port:
        broker = make_broker(Settings(**settings.model_dump() | {"redis_url": f"redis://127.0.0.1:{port}"}))
        wake_ups = WakeUps(broker)
        with pytest.raises(QueueUnavailable):
            await wake_ups.send("default")
        with pytest.raises(QueueUnavailable):
            await wake_ups.waiting("default")
        broker.close()
