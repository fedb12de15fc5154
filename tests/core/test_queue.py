"""Wake-ups: messages that Dramatiq would take for its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import fields

import boto3
import dramatiq
import pytest
from redis.asyncio import Redis

from impasto_core.queue import ACTOR, Broker, QueueUnavailable, WakeUps, make_broker
from impasto_core.queue.wake_ups import NUDGE_SECONDS
from impasto_core.settings import Settings
from impasto_ctl.embedded import EmbeddedServers
from tests.support.brokers import both_brokers, elsewhere
from tests.support.databases import DatabaseUrls
from tests.support.servers import closed_port

only_sqs = pytest.mark.parametrize("broker", ["sqs"], indirect=True)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def urls(servers: EmbeddedServers) -> DatabaseUrls:
    """No database of its own: none of these tests asks one."""
    return DatabaseUrls(*[servers.database_url] * len(fields(DatabaseUrls)))


@pytest.fixture
def queues(settings: Settings, redis: Redis) -> Iterator[Broker]:
    broker = make_broker(settings)
    yield broker
    broker.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wake_ups(queues: Broker, clock: Clock) -> WakeUps:
    return WakeUps(queues, clock)


def consumer(queues: Broker, pool: str = "default") -> dramatiq.Consumer:
    queues.declare_queue(pool)
    return queues.consume(pool, prefetch=1, timeout=20)


def take(consumer: dramatiq.Consumer) -> dramatiq.MessageProxy:
    message = next(found for found in consumer if found is not None)
    assert isinstance(message, dramatiq.MessageProxy)
    return message


def delete_queues(settings: Settings) -> None:
    """As somebody may by mistake who is allowed to. ministack's root key works with any secret."""
    sqs = boto3.client(
        "sqs",
        endpoint_url=settings.sqs_endpoint_url,
        region_name=settings.sqs_region,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    for url in sqs.list_queues(QueueNamePrefix=settings.sqs_queue_prefix)["QueueUrls"]:
        sqs.delete_queue(QueueUrl=url)


@both_brokers
async def test_a_wake_up_tells_a_pool_to_look_for_a_job_and_names_none(
    wake_ups: WakeUps, queues: Broker
) -> None:
    await wake_ups.send("large")
    message = take(consumer(queues, "large"))
    assert (message.queue_name, message.actor_name) == ("large", ACTOR)
    assert (message.args, message.kwargs) == (("large",), {})


@both_brokers
async def test_wake_ups_are_counted_until_a_worker_takes_them(wake_ups: WakeUps, queues: Broker) -> None:
    assert await wake_ups.waiting("default") == 0
    await wake_ups.send("default", count=23)
    await wake_ups.send("large")
    assert await wake_ups.waiting("default") == 23
    take(consumer(queues))
    assert await wake_ups.waiting("default") == 22


@both_brokers
async def test_a_wake_up_that_was_answered_is_gone_and_one_that_was_not_is_there_again(
    wake_ups: WakeUps, queues: Broker
) -> None:
    await wake_ups.send("default", count=2)
    worker = consumer(queues)
    worker.ack(take(worker))
    unanswered = take(worker)
    assert await wake_ups.waiting("default") == 0
    worker.requeue([unanswered])
    assert await wake_ups.waiting("default") == 1


@both_brokers
async def test_a_broker_that_is_away_is_reported_as_such(settings: Settings) -> None:
    with closed_port() as port:
        broker = make_broker(Settings(**settings.model_dump() | elsewhere(port)))
        wake_ups = WakeUps(broker)
        with pytest.raises(QueueUnavailable):
            await wake_ups.send("default")
        with pytest.raises(QueueUnavailable):
            await wake_ups.top_up("default", 1)
        with pytest.raises(dramatiq.errors.BrokerConnectionError):
            next(consumer(broker))
        broker.close()


@both_brokers
async def test_a_queue_is_filled_up_to_the_jobs_that_wait(wake_ups: WakeUps) -> None:
    await wake_ups.send("default", 2)
    assert await wake_ups.top_up("default", 5) == 3
    assert await wake_ups.top_up("default", 5) == 0
    assert await wake_ups.waiting("default") == 5


async def test_what_redis_forgot_is_sent_at_once(wake_ups: WakeUps, redis: Redis) -> None:
    await wake_ups.top_up("default", 5)
    await redis.flushall()
    assert await wake_ups.top_up("default", 5) == 5


# What SQS counts may be a minute old.


@only_sqs
async def test_while_sqs_counts_too_few_a_queue_is_not_flooded(
    wake_ups: WakeUps, queues: Broker, clock: Clock
) -> None:
    """It says 0 all the time, which may be true or not: then a minute later it must be."""
    sent = []
    worker = consumer(queues)
    for _ in range(31):
        sent.append(await wake_ups.top_up("default", 20))
        for _ in range(sent[-1]):
            worker.ack(take(worker))
        clock.now += 2
    filled, *nudges, filled_again = sent
    assert filled == 20
    assert sum(nudges) <= 60 / NUDGE_SECONDS
    assert filled_again == 20 - sum(nudges)


@only_sqs
async def test_while_sqs_counts_too_many_jobs_do_not_starve(wake_ups: WakeUps, clock: Clock) -> None:
    await wake_ups.send("default", 100)
    sent = []
    for _ in range(10):
        sent.append(await wake_ups.top_up("default", 1))
        clock.now += NUDGE_SECONDS / 2
    assert sent == [1, 0] * 5


# What dramatiq-sqs would do otherwise


@only_sqs
async def test_a_queue_that_was_deleted_is_made_again(
    wake_ups: WakeUps, queues: Broker, settings: Settings
) -> None:
    await wake_ups.send("default")
    delete_queues(settings)
    await wake_ups.send("default")
    delete_queues(settings)
    worker = consumer(queues)
    await wake_ups.send("default")
    worker.ack(take(worker))


@only_sqs
async def test_a_worker_that_was_busy_or_idle_for_long_hears_the_next_wake_up_at_once(
    wake_ups: WakeUps, queues: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    await wake_ups.send("default")
    worker = consumer(queues)
    message = take(worker)
    monkeypatch.setattr(time, "sleep", pauses.append)
    for _ in range(100):
        assert next(worker) is None, "one at a time"
    assert len(pauses) == 100
    assert max(pauses) <= 0.01
    worker.ack(message)
