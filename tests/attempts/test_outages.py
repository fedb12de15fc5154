"""Servers that go away in the middle of an attempt and come back: the picture is not painted again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import make_url

from impasto_core.queue import WakeUps, make_broker
from impasto_core.settings import Settings
from impasto_workers import attempt, warm_up
from impasto_workers.actor import JobRunner
from impasto_workers.services import Services, open_services
from tests.attempts.brush import Brush
from tests.support.job_desk import Jobs, until
from tests.support.proxy import Proxy


@pytest.fixture
async def proxies(settings: Settings) -> AsyncIterator[dict[str, Proxy]]:
    urls = {"postgres": settings.database_url.get_secret_value(), "s3": settings.s3_endpoint_url}
    proxies = {name: Proxy(lambda url=url: make_url(url).port) for name, url in urls.items()}
    for proxy in proxies.values():
        await proxy.open()
    yield proxies
    for proxy in proxies.values():
        await proxy.close()


@pytest.fixture
async def services(
    settings: Settings, proxies: dict[str, Proxy], brush: Brush, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Services]:
    """Of a worker that reaches PostgreSQL and S3 through the proxies, and tries again sooner than in life."""
    monkeypatch.setattr(attempt, "STORAGE_PAUSES", (0.1,) * 50)
    monkeypatch.setattr(warm_up, "RETRY_SECONDS", 0.1)
    database_url = make_url(settings.database_url.get_secret_value()).set(port=proxies["postgres"].port)
    through = Settings(
        **settings.model_dump()
        | {
            "database_url": database_url.render_as_string(hide_password=False),
            "s3_endpoint_url": f"http://127.0.0.1:{proxies['s3'].port}",
        }
    )
    async with open_services(through, WakeUps(make_broker(through)), lambda: brush) as services:
        yield services


@pytest.fixture
def runner(services: Services) -> JobRunner:
    return JobRunner(services, on_stuck=lambda: pytest.fail("the device is not stuck"))


@pytest.mark.parametrize("server", ["postgres", "s3"])
async def test_a_server_that_is_away_when_the_picture_is_done_gets_it_when_it_is_back(
    jobs: Jobs, runner: JobRunner, brush: Brush, proxies: dict[str, Proxy], server: str
) -> None:
    job = await jobs.add()
    brush.hold()
    running = asyncio.create_task(runner.run_next_job("default"))
    await until(lambda: asyncio.to_thread(brush.is_waiting.wait, 0.1), "the brush was not taken up")
    outage = asyncio.create_task(proxies[server].refuse(1))
    await asyncio.sleep(0)  # it has begun
    brush.release()
    await running
    await outage
    assert (await jobs.get(job)).status == "succeeded"
    assert await jobs.outcomes(job) == ["succeeded"]
    assert brush.runs == 1
    assert len(await jobs.images(job)) == 1


@pytest.mark.usefixtures("model")
async def test_a_worker_that_starts_while_postgresql_is_away_waits_for_it(
    services: Services, brush: Brush, proxies: dict[str, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_up, "freeze_what_lives", lambda: None)  # that would be this process
    outage = asyncio.create_task(proxies["postgres"].refuse(0.5))
    await asyncio.sleep(0)  # it has begun
    await warm_up.warm_up(services)
    assert outage.done()
    assert brush.runs == 1, "it has painted its step"
