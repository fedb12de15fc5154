"""`impasto-sweeper`: what must happen though nobody asks for it. Imports no torch.

Many may run; one leads and sweeps. Every step is bounded, may be cut short at any point, and does the next
time what it left. A leader that was paused may sweep beside its successor for a moment: no step minds.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from redis.asyncio import Redis
from sqlalchemy import ColumnElement, delete, tuple_, update
from sqlmodel import col, select

from impasto_billing.ledger import service as ledger
from impasto_billing.payments.chores import Chores
from impasto_billing.plans import service as plans
from impasto_billing.plans.retention import expire_images
from impasto_billing.settlement import settle
from impasto_core.clock import Clock, utc_now
from impasto_core.database import Database
from impasto_core.idempotency.tables import IdempotencyRecord
from impasto_core.ids import format_id
from impasto_core.images.keys import attempt_folder
from impasto_core.images.tables import Image
from impasto_core.jobs import fair_queue, lifecycle
from impasto_core.jobs.events import announce_end
from impasto_core.jobs.tables import AttemptOutcome, Job, JobAttempt, JobStatus
from impasto_core.queue import QueueUnavailable, WakeUps, make_broker
from impasto_core.settings import Settings, get_settings
from impasto_core.storage import ObjectStore
from impasto_core.telemetry import configure_logging, log_context, telemetry
from impasto_core.uploads.tables import Upload
from impasto_core.webhooks import outbox
from impasto_workers.leadership import Leadership
from impasto_workers.outages import OUTAGES
from impasto_workers.queue_metrics import measure_queue
from impasto_workers.telemetry import count_attempt
from impasto_workers.waking import wake_others
from impasto_workers.webhooks.backlog import measure_webhooks

logger = logging.getLogger(__name__)

STEP_SECONDS = 10
"""Time of one step: a dependency that hangs must not keep the other steps from their work."""

PAYMENTS_SECONDS = 120
"""The same where it is a payment provider that we ask, page by page."""

UNCLAIMED_AFTER = timedelta(seconds=2)
"""A queued job that nobody has claimed for this long may have lost its wake-up."""

MAX_WAKE_UPS = 200
"""A pool's queue is filled up to this length: plenty until the next pass."""

UPLOAD_GRACE = timedelta(hours=1)
"""An upload is kept this much longer than it can be used, so that no request or job is at work on it."""

JOBS = 100
"""So many jobs are returned or ended in one step."""

GRANTS = 500
"""So many grants expire at a time; their organizations' ledgers are locked until all of them have."""

BATCH = 20
"""Rows whose objects are deleted at a time."""

RECORDS = 1000
"""Rows that have no objects."""

WEBHOOKS_KEPT = timedelta(days=30)
"""From an event until it is forgotten, with its deliveries and their log."""

WEBHOOKS = 200
"""So many events are forgotten at a time, each with up to ten attempts at each endpoint."""

LEFTOVER_GRACE = timedelta(minutes=10)
"""A worker that has lost its job may still be uploading for so long, and then deletes what it has."""

LEADING_SECONDS = 1
"""Between two looks who leads."""


@dataclass(frozen=True)
class Round:
    """Steps that are made one after the other, and again after a pause in seconds."""

    pause: float
    steps: Sequence[Callable[[], Awaitable[None]]]
    step_seconds: float = STEP_SECONDS

    async def make(self) -> None:
        """What a step cannot do now is tried again the next time."""
        for step in self.steps:
            try:
                async with asyncio.timeout(self.step_seconds):
                    await step()
            except OUTAGES as error:
                logger.warning("%s: trying again: %r", step.__name__, error)
            except Exception:  # a mistake in one step is no reason to leave out the others
                logger.exception("%s: trying again", step.__name__)

    async def repeat(self) -> None:
        while True:
            await self.make()
            await asyncio.sleep(self.pause)


class Sweeper:
    def __init__(
        self,
        database: Database,
        redis: Redis,
        store: ObjectStore,
        wake_ups: WakeUps,
        clock: Clock = utc_now,
        payments: Chores | None = None,
        pause: float = 0.5,
    ) -> None:
        """`pause`, in seconds, is that of the rounds that somebody waits for."""
        self._database = database
        self._redis = redis
        self._store = store
        self._wake_ups = wake_ups
        self._clock = clock
        self._payments = payments
        self.rounds = (
            Round(pause, (self.return_expired_leases, self.cancel_overdue_jobs)),
            Round(pause, (self.tend_payments,), PAYMENTS_SECONDS),
            Round(2, (self.mend_queue, self.wake_workers)),
            Round(5, (self.expire_credits, self.delete_expired_idempotency_records, self.forget_webhooks)),
            Round(5, (self.delete_expired_uploads, self.delete_images, self.delete_leftovers)),
            Round(60, (self.grant_monthly_credits, self.expire_images)),
        )

    async def sweep(self) -> None:
        """Every round, once."""
        for one in self.rounds:
            await one.make()

    async def sweep_forever(self) -> None:
        """Every round at its own pace: none waits for another."""
        async with asyncio.TaskGroup() as rounds:
            for one in self.rounds:
                rounds.create_task(one.repeat())

    async def return_expired_leases(self) -> None:
        """Jobs of workers that have gone silent: back to the queue, or to their end."""
        jobs = await self._settle_each(lifecycle.return_expired_leases)
        for job in jobs:
            with log_context(job_id=format_id("job", job.id), attempt=job.attempt):
                logger.warning("the worker was lost, the job is %s", job.status)
            count_attempt(job, AttemptOutcome.LOST)
        for job in jobs:
            await wake_others(self._database, self._wake_ups, job)
            if JobStatus(job.status).is_final:
                await announce_end(self._redis, job)

    async def cancel_overdue_jobs(self) -> None:
        """Jobs that still wait although a time limit of their owner's is over."""
        for job in await self._settle_each(lifecycle.cancel_overdue):
            await announce_end(self._redis, job)

    async def _settle_each(self, transition: Callable[..., Awaitable[list[Job]]]) -> list[Job]:
        """Each in a transaction of its own, which holds the locks of one ledger, and those last."""
        settled: list[Job] = []
        while len(settled) < JOBS:
            async with self._database.session() as session:
                jobs = await transition(session, limit=1)
                for job in jobs:
                    await settle(session, job)  # for nothing: how far it came is not the caller's to pay
            if not jobs:
                break
            settled += jobs
        return settled

    async def mend_queue(self) -> None:
        """Queues that look as if jobs waited in them although they are empty cost every claim a look."""
        async with self._database.session() as session:
            await fair_queue.mend(session)

    async def wake_workers(self) -> None:
        """Wake-ups for jobs that wait although they need not: Redis forgot theirs, or they came back."""
        async with self._database.session() as session:
            queued = select(Job.pool).where(Job.status == JobStatus.QUEUED).distinct()
            pools = (await session.exec(queued)).all()
            counts = [
                await lifecycle.count_unclaimed(session, pool, after=UNCLAIMED_AFTER, limit=MAX_WAKE_UPS)
                for pool in pools
            ]
        for pool, jobs in zip(pools, counts, strict=True):
            try:
                if jobs and (sent := await self._wake_ups.top_up(pool, jobs)):
                    logger.info("pool %s: %s jobs wait unheard, sent %s wake-ups", pool, jobs, sent)
            except QueueUnavailable as error:  # perhaps of this pool only
                logger.warning("pool %s: %s jobs wait unheard: trying again: %s", pool, jobs, error)

    async def expire_credits(self) -> None:
        """What is left of grants that are over."""
        async with self._database.session() as session:
            expired = await ledger.expire_grants(session, now=self._clock(), limit=GRANTS)
        if expired:
            logger.info("%s grants have expired", expired)

    async def grant_monthly_credits(self) -> None:
        """What plans that cost nothing bring every month. To look for who lacks it takes a while."""
        granted = GRANTS
        while granted == GRANTS:
            async with self._database.session() as session:
                granted = await plans.grant_monthly(session, now=self._clock(), limit=GRANTS)
            if granted:
                logger.info("%s organizations got their credits of the month", granted)

    async def delete_expired_idempotency_records(self) -> None:
        key = tuple_(col(IdempotencyRecord.organization_id), col(IdempotencyRecord.key))
        expired = (
            select(IdempotencyRecord.organization_id, IdempotencyRecord.key)
            .where(IdempotencyRecord.expires_at < self._clock())
            .limit(RECORDS)
        )
        deleted = RECORDS
        while deleted == RECORDS:
            async with self._database.session() as session:
                deleted = (await session.exec(delete(IdempotencyRecord).where(key.in_(expired)))).rowcount

    async def forget_webhooks(self) -> None:
        """Events, and with them deliveries and their log."""
        before, forgotten = self._clock() - WEBHOOKS_KEPT, WEBHOOKS
        while forgotten == WEBHOOKS:
            async with self._database.session() as session:
                forgotten = await outbox.forget(session, before=before, limit=WEBHOOKS)

    async def delete_expired_uploads(self) -> None:
        """Uploads that nobody used in time, and those that were used a day ago."""
        expired = col(Upload.expires_at) < self._clock() - UPLOAD_GRACE
        await self._delete_with_objects(Upload, expired, (Upload.object_key, Upload.verified_key))

    async def delete_images(self) -> None:
        """Images that their owners have deleted."""
        deleted = col(Image.deleted_at).is_not(None)
        await self._delete_with_objects(Image, deleted, (Image.object_key, Image.thumbnail_key))

    async def expire_images(self) -> None:
        """Images that are older than their organization's plan keeps them; `delete_images` does the rest."""
        expired = RECORDS
        while expired == RECORDS:
            async with self._database.session() as session:
                expired = await expire_images(session, now=self._clock(), limit=RECORDS)
            if expired:
                logger.info("%s images were kept for as long as their plans say", expired)

    async def delete_leftovers(self) -> None:
        """Objects of attempts that did not succeed: their worker may have been killed while it uploaded."""
        attempt = tuple_(col(JobAttempt.job_id), col(JobAttempt.number))
        unswept = (
            select(JobAttempt.organization_id, JobAttempt.job_id, JobAttempt.number)
            .where(JobAttempt.outcome != AttemptOutcome.SUCCEEDED, col(JobAttempt.swept_at).is_(None))
            .where(col(JobAttempt.finished_at) < self._clock() - LEFTOVER_GRACE)
            .order_by(col(JobAttempt.finished_at))
            .limit(BATCH)
        )
        while True:
            async with self._database.session() as session:
                rows = (await session.exec(unswept)).all()
            if not rows:
                return
            folders = [self._store.sizes_below(attempt_folder(*row)) for row in rows]
            await self._store.delete(key for objects in await asyncio.gather(*folders) for key in objects)
            swept = update(JobAttempt).where(attempt.in_([(job_id, number) for _, job_id, number in rows]))
            async with self._database.session() as session:
                await session.exec(swept.values(swept_at=self._clock()))

    async def tend_payments(self) -> None:
        """Events of payment providers, automatic purchases, usage, and once a day what was missed."""
        if self._payments is not None:
            await self._payments.do(self._clock())

    async def _delete_with_objects(
        self, table: type[Upload | Image], condition: ColumnElement[bool], keys: tuple[str, str]
    ) -> None:
        """First the objects, so that none is forgotten; no transaction waits for the object store."""
        while True:
            async with self._database.session() as session:
                rows = (await session.exec(select(table.id, *keys).where(condition).limit(BATCH))).all()
            if not rows:
                return
            await self._store.delete(key for _, *object_keys in rows for key in object_keys)
            async with self._database.session() as session:
                await session.exec(delete(table).where(col(table.id).in_([row_id for row_id, *_ in rows])))


async def sweep_in_turn(settings: Settings) -> None:
    """Sweep whenever we lead, until cancelled."""
    database = Database(settings.database_url.get_secret_value(), pool_size=4)
    redis = Redis.from_url(settings.redis_url.get_secret_value(), socket_connect_timeout=2, socket_timeout=5)
    payments = Chores.of(settings)
    sweeper = Sweeper(
        database,
        redis,
        ObjectStore(settings),
        WakeUps(make_broker(settings)),
        payments=payments,
        pause=settings.sweep_seconds,
    )
    leadership = Leadership(database)
    measure_queue(database, leads=lambda: leadership.leads)
    measure_webhooks(database, leads=lambda: leadership.leads)
    try:
        while True:
            if await leadership.held():
                await _while_leading(leadership, sweeper)
            await asyncio.sleep(LEADING_SECONDS)
    finally:
        leadership.give_up()
        if payments is not None:
            await payments.close()
        await redis.aclose()
        await database.close()


async def _while_leading(leadership: Leadership, sweeper: Sweeper) -> None:
    sweeping = asyncio.create_task(sweeper.sweep_forever())
    ended: set[asyncio.Task[None]] = set()
    try:
        while not ended and await leadership.held():
            ended, _ = await asyncio.wait({sweeping}, timeout=LEADING_SECONDS)
    finally:
        sweeping.cancel()
        with suppress(asyncio.CancelledError):
            await sweeping


async def run(settings: Settings) -> None:
    """Sweep until SIGTERM or SIGINT. A pass may be cut short: what it leaves is done at the next."""
    sweeping = asyncio.create_task(sweep_in_turn(settings))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, sweeping.cancel)
    with suppress(asyncio.CancelledError):
        await sweeping


def main() -> None:
    settings = get_settings()
    configure_logging(settings)
    with telemetry(settings, "impasto-sweeper"):
        asyncio.run(run(settings))


if __name__ == "__main__":
    main()
