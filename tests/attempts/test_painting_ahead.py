"""The device paints the next job while the pictures of the one before are stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from impasto_core.jobs.tables import Job
from impasto_core.storage import ObjectStore
from impasto_workers.actor import JobRunner
from impasto_workers.services import Services
from impasto_workers.time_limits import Held
from tests.attempts.brush import Brush
from tests.support.job_desk import Jobs, until


class ClosedStore(ObjectStore):
    """Takes what it is given once it has opened."""

    opened: asyncio.Event
    waiting = 0

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        self.waiting += 1
        await self.opened.wait()
        await super().put(key, data, content_type)


@pytest.fixture
async def store(services: Services) -> AsyncIterator[ClosedStore]:
    store = ClosedStore(services.settings)
    store.opened = asyncio.Event()
    yield store
    store.opened.set()


@pytest.fixture
def held() -> list[Held | None]:
    """What the watchdog is told."""
    return []


@pytest.fixture
def runner(services: Services, store: ClosedStore, held: list[Held | None]) -> JobRunner:
    return JobRunner(
        replace(services, store=store), on_stuck=lambda: pytest.fail("it is not stuck"), hold=held.append
    )


async def statuses(jobs: Jobs, *those: Job) -> list[str]:
    return [(await jobs.get(job)).status for job in those]


async def test_a_job_is_painted_while_the_one_before_is_stored(
    jobs: Jobs, runner: JobRunner, brush: Brush, store: ClosedStore
) -> None:
    first, second = await jobs.add(), await jobs.add()
    await runner.paint_next_job("default")
    assert await statuses(jobs, first, second) == ["running", "queued"]
    ahead = asyncio.create_task(runner.paint_next_job("default"))
    await until(lambda: _true(brush.runs == 2), "the second is not painted")
    assert await statuses(jobs, first, second) == ["running", "running"]
    store.opened.set()
    await ahead
    await runner.finish()
    assert await statuses(jobs, first, second) == ["succeeded", "succeeded"]


async def test_no_third_job_is_taken_while_two_wait_for_the_store(
    jobs: Jobs, runner: JobRunner, store: ClosedStore
) -> None:
    for _ in range(3):
        await jobs.add()
    await runner.paint_next_job("default")
    second = asyncio.create_task(runner.paint_next_job("default"))
    await until(lambda: _true(store.waiting == 2), "the second is not painted")
    assert not second.done(), "Dramatiq would take the next message"
    store.opened.set()
    await second
    await runner.finish()


async def test_a_worker_that_ends_gives_back_both(
    jobs: Jobs, runner: JobRunner, brush: Brush, store: ClosedStore
) -> None:
    first, second = await jobs.add(), await jobs.add()
    await runner.paint_next_job("default")
    brush.hold()
    painting = asyncio.create_task(runner.paint_next_job("default"))
    await until(lambda: asyncio.to_thread(brush.is_waiting.wait, 0.1), "the second is not painted")
    runner.give_back()
    store.opened.set()
    await painting
    await runner.finish()
    assert await statuses(jobs, first, second) == ["queued", "queued"]
    assert [await jobs.outcomes(job) for job in (first, second)] == [["returned"], ["returned"]]


async def test_the_watchdog_knows_the_job_whose_time_is_up_first(
    jobs: Jobs, runner: JobRunner, brush: Brush, store: ClosedStore, held: list[Held | None]
) -> None:
    first, second = await jobs.add(), await jobs.add()
    await runner.paint_next_job("default")
    assert (now := held[-1]) is not None
    assert now.lease.job_id == first.id
    brush.hold()
    painting = asyncio.create_task(runner.paint_next_job("default"))
    await until(lambda: asyncio.to_thread(brush.is_waiting.wait, 0.1), "the second is not painted")
    store.opened.set()
    await until(lambda: _true(len(runner._in_hand) == 1), "the first is not stored")
    assert (now := held[-1]) is not None
    assert now.lease.job_id == second.id, "that the first has ended says nothing of the second"
    brush.release()
    await painting
    await runner.finish()
    assert held[-1] is None


async def _true(value: bool) -> bool:
    return value
