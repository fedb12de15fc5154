"""`impasto-webhooks` as an operator starts it, and the sweeper that cleans up after it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from impasto_core.clock import utc_now
from impasto_core.database import Database
from impasto_core.queue import WakeUps, make_broker
from impasto_core.settings import Settings
from impasto_core.storage import ObjectStore
from impasto_ctl.embedded import EmbeddedServers
from impasto_workers.sweeper import WEBHOOKS_KEPT, Sweeper
from impasto_workers.webhooks.backlog import backlog
from impasto_workers.webhooks.claims import LEASE
from tests.support.databases import DatabaseUrls
from tests.support.processes import eventually
from tests.support.programs import Program, environ_of
from tests.webhooks.desk import Desk
from tests.webhooks.receiver import Receiver, silent

Start = Callable[[], Program]


@pytest.fixture
def start(servers: EmbeddedServers, urls: DatabaseUrls, tmp_path: Path) -> Iterator[Start]:
    started: list[Program] = []
    environ = environ_of(servers, urls.webhooks) | {"IMPASTO_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8"}

    def start() -> Program:
        log = tmp_path / f"webhooks-{len(started)}.log"
        started.append(Program("impasto_workers.webhooks.main", environ, log))
        return started[-1]

    yield start
    for program in started:
        program.close()


async def test_a_dispatcher_that_is_killed_in_the_middle_loses_nothing(
    desk: Desk, receiver: Receiver, start: Start
) -> None:
    endpoint = await desk.endpoint(receiver.url)
    receiver.behaviours.extend([silent(receiver.over)] * 3)
    for _ in range(3):
        await desk.job()
    first = start()
    await desk.until(lambda: len(receiver.received) == 3, "nothing was sent")
    first.send(signal.SIGKILL)
    first.wait()
    cut_short = {message.id for message in receiver.received}

    await desk.pass_time(LEASE)
    second = start()
    await desk.until_finished()
    again = receiver.received[3:]
    assert {message.id for message in again} == cut_short
    whsec, _ = await desk.shown(endpoint)
    assert all(message.verify(whsec)["type"] == "job.succeeded" for message in again)
    assert {attempt.number for attempt in await desk.attempts()} == {2}

    second.send(signal.SIGTERM)
    assert second.wait(within=20) == 0, second.log.read_text()


async def test_a_dispatcher_that_is_told_to_stop_ends_what_it_has_begun(
    desk: Desk, receiver: Receiver, start: Start
) -> None:
    await desk.endpoint(receiver.url)
    receiver.behaviours.append(silent(receiver.over))
    await desk.job()
    dispatcher = start()
    await desk.until(lambda: bool(receiver.received), "nothing was sent")
    dispatcher.send(signal.SIGTERM)
    receiver.over.set()
    assert dispatcher.wait(within=20) == 0, dispatcher.log.read_text()
    assert len(await desk.attempts()) == 1


def test_production_does_not_start_with_the_keys_of_development(
    servers: EmbeddedServers, urls: DatabaseUrls, tmp_path: Path
) -> None:
    environ = environ_of(servers, urls.webhooks) | {
        "IMPASTO_ENVIRONMENT": "production",
        "IMPASTO_API_KEY_PEPPER": "p" * 32,
    }
    dispatcher = Program("impasto_workers.webhooks.main", environ, tmp_path / "log")
    try:
        eventually(lambda: not dispatcher.is_running, "it runs")
        assert "IMPASTO_ENCRYPTION_KEYS must be keys of your own" in dispatcher.log.read_text()
    finally:
        dispatcher.close()


@pytest.mark.usefixtures("dispatcher")
async def test_what_was_told_a_month_ago_is_forgotten_with_its_log(
    desk: Desk,
    receiver: Receiver,
    worker_database: Database,
    redis: Redis,
    settings: Settings,
    urls: DatabaseUrls,
) -> None:
    await desk.endpoint(receiver.url)
    await desk.job()
    await desk.until_finished()
    settings = settings.model_copy(update={"database_url": SecretStr(urls.worker)})
    wake_ups, store = WakeUps(make_broker(settings)), ObjectStore(settings)
    for age, left in ((WEBHOOKS_KEPT - timedelta(hours=1), 1), (WEBHOOKS_KEPT + timedelta(hours=1), 0)):
        now = utc_now() + age
        sweeper = Sweeper(worker_database, redis, store, wake_ups, clock=lambda now=now: now)
        await sweeper.forget_webhooks()
        assert [len(rows) for rows in (await desk.events(), await desk.attempts())] == [left, left]


async def test_late_deliveries_are_counted_but_not_those_that_wait_for_their_turn(
    desk: Desk, worker_database: Database
) -> None:
    await desk.endpoint("https://example.com/")
    await desk.endpoint("https://example.com/", ordered=True)
    for _ in range(2):
        await desk.job()
    await desk.pass_time(timedelta(minutes=5))
    [state] = await backlog(worker_database)
    assert state.due == 2
    assert 300 <= state.oldest < 360
