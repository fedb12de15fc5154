"""Jobs put straight into the database, and a look at what became of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

from redis.asyncio import Redis
from sqlalchemy import func, update
from sqlmodel import col, select

from impasto_billing.ledger import service as ledger
from impasto_billing.ledger.service import Balance
from impasto_billing.prices import price_list_of
from impasto_core.clock import utc_now
from impasto_core.database import Database
from impasto_core.images.tables import Image
from impasto_core.jobs.events import FIRST, EventReader, StreamEvent
from impasto_core.jobs.tables import Job, JobAttempt
from impasto_core.models.tables import Model
from impasto_core.pipelines import PIPELINES


async def until(condition: Callable[[], Awaitable[bool]], complaint: str, within: float = 30) -> None:
    """Returns once the condition holds; fails with the complaint when it does not within some seconds."""
    deadline = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < deadline, complaint
        await asyncio.sleep(0.02)


class Jobs:
    """The jobs of one organization, seen with the owner's eyes."""

    def __init__(self, owner: Database, organization_id: UUID, model: Model) -> None:
        self._database = owner
        self.organization_id = organization_id
        self.model = model

    async def add(
        self, pipeline: str = "text-to-image", images_in: dict[str, str] | None = None, **values: object
    ) -> Job:
        """Queue a job, one step of 64 x 64 pixels unless `values` say otherwise. Nobody is woken.

        Like any job it has a quote, which is held.
        """
        chosen = PIPELINES[pipeline]
        values = {"prompt": "a heart", "seed": 7, "steps": 1} | values
        request = chosen.input_type(**values).resolve(self.model)
        job = Job(
            organization_id=self.organization_id,
            models=[self.model.slug],
            mode="live",
            pool=self.model.pool,
            pipeline=pipeline,
            input=request.model_dump(mode="json"),
            graph=chosen.build(request, self.model),
            pixel_steps=request.work().pixel_steps,
            images_in=images_in or {},
        )
        quote = price_list_of(utc_now()).quote(self.model, request.work(), pipeline, limit_seconds=60)
        job.quote = quote.model_dump(mode="json")
        async with self._database.session() as session:
            session.add(job)
            await ledger.hold(
                session,
                organization_id=self.organization_id,
                job_id=job.id,
                amount=quote.amount,
                api_key_id=None,
            )
        return job

    async def balance(self) -> Balance:
        async with self._database.session() as session:
            return await ledger.balance(session, self.organization_id, utc_now())

    async def get(self, job: Job) -> Job:
        async with self._database.session() as session:
            return await session.get_one(Job, job.id)

    async def images(self, job: Job) -> list[Image]:
        async with self._database.session() as session:
            found = select(Image).where(Image.job_id == job.id).order_by(col(Image.index))
            return list((await session.exec(found)).all())

    async def outcomes(self, job: Job) -> list[str | None]:
        """How its attempts ended, the first one first."""
        async with self._database.session() as session:
            found = (
                select(JobAttempt.outcome).where(JobAttempt.job_id == job.id).order_by(col(JobAttempt.number))
            )
            return list((await session.exec(found)).all())

    async def change(self, job: Job, **values: object) -> None:
        async with self._database.session() as session:
            await session.exec(update(Job).where(col(Job.id) == job.id).values(**values))

    async def expire_lease(self, job: Job) -> None:
        """As if the worker had been silent for too long."""
        await self.change(job, lease_expires_at=func.now() - timedelta(seconds=1))

    async def until_status(self, job: Job, *statuses: str, within: float = 30) -> Job:
        async def has_status() -> bool:
            return (await self.get(job)).status in statuses

        await until(has_status, f"{job.id} is not {' or '.join(statuses)} after {within:g} s", within)
        return await self.get(job)


async def events_of(redis: Redis, job: Job) -> list[StreamEvent]:
    """All that its stream has now."""
    return await events_in(redis, job.id)


async def events_in(redis: Redis, job_id: UUID) -> list[StreamEvent]:
    reader, after, events = EventReader(redis, job_id), FIRST, []
    while entries := await reader.read(after):
        after = entries[-1][0]
        events += [event for _, event in entries]
    return events
