"""What a job costs, by how the attempt at it ended: the rules of docs/money.md, through the real worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import func, update
from sqlmodel import col

from impasto_billing.prices import Meter, PriceList, Receipt
from impasto_core.database import Database
from impasto_core.jobs import lifecycle
from impasto_core.jobs.errors import RETRIES, ErrorCode
from impasto_core.jobs.tables import Job
from impasto_core.jobs.work import Work
from impasto_core.models.tables import Model
from impasto_workers.actor import JobRunner
from impasto_workers.runtime import NodeError
from impasto_workers.services import Services
from tests.attempts.brush import STEPS, Brush
from tests.support.job_desk import Jobs, until

RICH = 1_000_000
"""What the organization has."""


@pytest.fixture
async def model(model: Model, owner_database: Database) -> Model:
    """One with a price that lets a step be seen in the cost."""
    async with owner_database.session() as session:
        await session.exec(update(Model).where(col(Model.id) == model.id).values(slug="portrait"))
    model.slug = "portrait"
    return model


@pytest.fixture
def runner(services: Services) -> JobRunner:
    return JobRunner(services, on_stuck=lambda: pytest.fail("the device is not stuck"))


async def add(jobs: Jobs, **values: object) -> Job:
    """Two pictures of 512 x 512 pixels in 30 steps, quoted at 7 credits: 15.7 million pixel-steps at 0.4."""
    job = await jobs.add(**{"n": 2, "steps": 30, "width": 512, "height": 512} | values)
    assert job.quote is not None
    assert job.quote["amount"] == 7
    return job


async def cost_of(jobs: Jobs, job: Job) -> Receipt:
    """The receipt, which the balance agrees with."""
    receipt = Receipt.model_validate((await jobs.get(job)).cost)
    assert receipt.amount + receipt.refunded == 7
    assert receipt.amount == sum(item.amount for item in receipt.line_items)
    balance = await jobs.balance()
    assert (balance.available, balance.held) == (RICH - receipt.amount, 0)
    return receipt


@asynccontextmanager
async def stopped_before(step: tuple[str, int], runner: JobRunner, brush: Brush) -> AsyncIterator[None]:
    """The job runs up to that step; after the block, to its end."""
    brush.waits_before = step
    brush.hold()
    task = asyncio.create_task(runner.run_next_job("default"))
    try:
        await until(lambda: asyncio.to_thread(brush.is_waiting.wait, 0.1), "the brush was not taken up")
        yield
    finally:
        brush.release()
        await task


async def ask_to_cancel(owner: Database, job: Job) -> None:
    async with owner.session() as session:
        await lifecycle.cancel(session, job.id)


async def cancel_before(
    step: tuple[str, int], job: Job, runner: JobRunner, brush: Brush, owner: Database
) -> None:
    """Cancel, and let the worker notice on its own."""
    brush.waits_before = step
    brush.hold()
    task = asyncio.create_task(runner.run_next_job("default"))
    await until(lambda: asyncio.to_thread(brush.is_waiting.wait, 0.1), "the brush was not taken up")
    await ask_to_cancel(owner, job)
    await task


async def test_a_job_that_succeeded_costs_what_was_quoted(jobs: Jobs, runner: JobRunner) -> None:
    job = await add(jobs)
    await runner.run_next_job("default")
    receipt = await cost_of(jobs, job)
    assert (receipt.amount, receipt.refunded) == (7, 0)
    [item] = receipt.line_items
    assert (item.model, item.meter, item.units) == ("portrait", Meter.PIXEL_STEPS, 2 * 30 * 512 * 512)


async def test_a_job_that_failed_costs_nothing(jobs: Jobs, runner: JobRunner, brush: Brush) -> None:
    brush.error = NodeError(
        "denoise_0", "denoise_latents", "ValueError", "", kind="node-failed", traceback=""
    )
    job = await add(jobs)
    await runner.run_next_job("default")
    assert (await jobs.get(job)).status == "failed"
    assert (await cost_of(jobs, job)).line_items == []


async def test_a_job_that_broke_the_worker_costs_nothing(jobs: Jobs, runner: JobRunner, brush: Brush) -> None:
    brush.crash = RuntimeError("no such tensor")
    job = await add(jobs)
    for _ in range(RETRIES[ErrorCode.INTERNAL].attempts):
        await jobs.change(job, available_at=func.now())
        await runner.run_next_job("default")
    assert (await jobs.get(job)).status == "failed"
    assert (await cost_of(jobs, job)).amount == 0


async def test_a_job_canceled_before_its_first_step_costs_nothing(
    jobs: Jobs, runner: JobRunner, brush: Brush, owner_database: Database
) -> None:
    job = await add(jobs)
    await cancel_before(("denoise_0", 1), job, runner, brush, owner_database)
    assert (await jobs.get(job)).status == "canceled"
    assert (await cost_of(jobs, job)).line_items == []


@pytest.mark.parametrize(
    ("step", "steps_run", "cost"),
    [
        (("denoise_0", 2), 1, 2),  # 1.05 credits
        (("denoise_0", 3), 2, 3),  # 2.10
        (("denoise_1", 1), 3, 4),  # 3.15
        (("denoise_1", 3), 5, 6),  # 5.24
    ],
)
async def test_a_canceled_job_pays_for_the_steps_that_ran(
    jobs: Jobs,
    runner: JobRunner,
    brush: Brush,
    owner_database: Database,
    step: tuple[str, int],
    steps_run: int,
    cost: int,
) -> None:
    job = await add(jobs)
    await cancel_before(step, job, runner, brush, owner_database)
    assert (await jobs.get(job)).status == "canceled"
    receipt = await cost_of(jobs, job)
    assert receipt.amount == cost
    [item] = receipt.line_items
    assert item.units == 2 * 30 * 512 * 512 * steps_run // (2 * STEPS)


async def test_the_steps_of_an_attempt_that_was_given_back_are_not_paid(
    jobs: Jobs, runner: JobRunner, services: Services, brush: Brush, owner_database: Database
) -> None:
    job = await add(jobs)
    async with stopped_before(("denoise_1", 1), runner, brush):
        runner.give_back()
    returned = await jobs.get(job)
    assert (returned.status, returned.cost) == ("queued", None)
    assert (await jobs.balance()).held == 7

    brush.is_waiting.clear()
    await cancel_before(("denoise_0", 2), job, runner, brush, owner_database)
    assert (await cost_of(jobs, job)).amount == 2


async def test_a_job_that_is_tried_again_costs_its_quote_once(
    jobs: Jobs, runner: JobRunner, brush: Brush
) -> None:
    job = await add(jobs)
    async with stopped_before(("denoise_1", 1), runner, brush):
        runner.give_back()
    await runner.run_next_job("default")
    assert (await jobs.get(job)).attempt == 2
    assert (await cost_of(jobs, job)).amount == 7


async def test_a_worker_that_lost_its_lease_settles_nothing(
    jobs: Jobs, runner: JobRunner, brush: Brush, worker_database: Database
) -> None:
    job = await add(jobs)
    async with stopped_before(("denoise_0", 3), runner, brush):
        await jobs.expire_lease(job)
        async with worker_database.session() as session:
            await lifecycle.return_expired_leases(session)
    assert (await jobs.get(job)).cost is None
    assert (await jobs.balance()).held == 7


async def test_a_job_quoted_by_time_pays_for_the_seconds_that_it_took(
    jobs: Jobs, runner: JobRunner, owner_database: Database
) -> None:
    job = await add(jobs)
    prices = PriceList.model_validate({"id": "2026-11-01", "other": {"gpu_seconds": 1}})
    quote = prices.quote(jobs.model, Work(1, 1), "slow work", limit_seconds=7)
    await jobs.change(job, quote=quote.model_dump(mode="json"))
    await runner.run_next_job("default")
    receipt = await cost_of(jobs, job)
    [item] = receipt.line_items
    assert item.meter == Meter.GPU_SECONDS
    assert 1 <= item.units == receipt.amount < 7
