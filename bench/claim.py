"""Claims: from a queue of ten thousand jobs beside one of ten; and how soon an idle worker hears of a job."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import func, text
from sqlmodel import select

from bench.installation import Platform
from bench.interleave import milliseconds, p50, progress, seconds_of
from bench.rows import Row
from impasto_core.database import Database
from impasto_core.ids import new_id
from impasto_core.jobs import lifecycle
from impasto_core.jobs.errors import JobError
from impasto_core.jobs.lifecycle import Lease
from impasto_core.jobs.tables import Job
from impasto_core.models.service import find_model
from impasto_core.organizations.tables import Organization
from impasto_core.pipelines import TEXT_TO_IMAGE, TextToImageInput
from impasto_core.queue import WakeUps, make_broker
from impasto_core.settings import Settings

ROUNDS = 300
STARTS = 100


def rows(platform: Platform) -> Iterator[Row]:
    yield asyncio.run(claims(platform.owner_url))
    yield from asyncio.run(_starts(platform))


async def claims(owner_url: str) -> Row:
    async with _database(owner_url) as database:
        queues = {
            "10 queued": await _Queue.fill(database, organizations=10, jobs=10),
            "10,000 queued": await _Queue.fill(database, organizations=1_000, jobs=10_000),
        }
        async with database.session() as session:
            await (await session.connection()).execute(text("ANALYZE jobs, queue_shares, organizations"))
        times: dict[str, list[float]] = {name: [] for name in queues}
        for done in range(ROUNDS):
            for name, queue in queues.items():
                times[name].append(await seconds_of(queue.claim))
                await queue.replace()
            progress("claims", done + 1, ROUNDS)
    few, many = (p50(times[name]) for name in queues)
    return Row(
        "a claim with 10,000 jobs of 1,000 organizations queued, p50",
        "a claim with 10 queued",
        many / few,
        2,
        detail=f"{milliseconds(many)} and {milliseconds(few)}",
    )


async def _starts(platform: Platform) -> list[Row]:
    broker = make_broker(Settings.model_construct(redis_url=SecretStr(platform.redis_url)))
    wake_ups = WakeUps(broker)
    async with _database(platform.owner_url) as database:
        waited = []
        for done in range(STARTS + 5):
            seconds = await _start(database, wake_ups)
            if done >= 5:  # the first ones load the model
                waited.append(seconds)
            progress("starts", done + 1, STARTS + 5)
    broker.close()
    percentiles = {"p50": p50(waited), "p99": statistics.quantiles(waited, n=100)[98]}
    return [
        Row(f"commit to actor start, idle worker, {name}", "nothing", percentiles[name] * 1000, wanted, "ms")
        for name, wanted in (("p50", 20), ("p99", 100))
    ]


async def _start(database: Database, wake_ups: WakeUps) -> float:
    """Seconds from the commit of a small job to the transaction in which the worker claims it."""
    async with database.session() as session:
        model = await find_model(session, "impasto-shapes")
        assert model is not None  # noqa: S101
        request = TextToImageInput(prompt="a heart", steps=1, width=64, height=64).resolve(model)
        organization = (await session.exec(select(Organization.id).limit(1))).one()
        job = Job(
            organization_id=organization,
            models=[model.slug],
            mode="live",
            pool=model.pool,
            pipeline=TEXT_TO_IMAGE.id,
            input=request.model_dump(mode="json"),
            graph=TEXT_TO_IMAGE.build(request, model),
            pixel_steps=request.work().pixel_steps,
        )
        session.add(job)
    async with database.session() as session:
        committed: datetime = (await session.exec(select(func.now()))).one()
    await wake_ups.send(job.pool)
    while True:
        await asyncio.sleep(0.05)
        async with database.session() as session:
            found = await session.get_one(Job, job.id)
        if found.finished_at and found.started_at:
            return (found.started_at - committed).total_seconds()


class _Queue:
    """A pool with jobs of several organizations, one after the other, and always as many."""

    def __init__(self, database: Database, pool: str) -> None:
        self._database = database
        self._pool = pool
        self._claimed: Job | None = None

    @classmethod
    async def fill(cls, database: Database, *, organizations: int, jobs: int) -> _Queue:
        queue = cls(database, f"bench-{new_id()}")
        made = [Organization(name="bench", slug=f"bench-{new_id()}") for _ in range(organizations)]
        async with database.session() as session:
            session.add_all(made)
            await session.flush()
            session.add_all(queue._job(made[number % organizations].id) for number in range(jobs))
        return queue

    def _job(self, organization_id: UUID) -> Job:
        return Job(
            organization_id=organization_id,
            mode="live",
            pool=self._pool,
            pipeline="text-to-image",
            models=[],
            graph={},
            pixel_steps=1,
        )

    async def claim(self) -> None:
        async with self._database.session() as session:
            claim = partial(lifecycle.claim, pool=self._pool, worker="bench", lease_seconds=600)
            self._claimed = await claim(session)

    async def replace(self) -> None:
        """The claimed job ends, and its organization queues another one."""
        job, self._claimed = self._claimed, None
        assert job is not None  # noqa: S101
        async with self._database.session() as session:
            error = JobError(code="bench", message="")
            await lifecycle.fail(session, Lease(job.id, job.attempt), error)
            session.add(self._job(job.organization_id))


@asynccontextmanager
async def _database(url: str) -> AsyncIterator[Database]:
    database = Database(url, pool_size=2, statement_seconds=600)
    try:
        yield database
    finally:
        await database.close()
