"""What the sweeper does, on real PostgreSQL, Redis and S3 and with no more rights than a worker has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
from redis.asyncio import Redis
from sqlalchemy import Boolean, column, func, table, update
from sqlmodel import SQLModel, col, select

from impasto_billing.ledger import service as ledger
from impasto_billing.ledger.tables import GrantSource
from impasto_billing.plans.service import assign
from impasto_billing.plans.tables import OrganizationPlan, PlanRow
from impasto_billing.spending import service as spending
from impasto_billing.spending.tables import Spending
from impasto_core.clock import utc_now
from impasto_core.database import Database
from impasto_core.idempotency.tables import IdempotencyRecord
from impasto_core.ids import new_id
from impasto_core.images.keys import attempt_folder
from impasto_core.images.tables import Image
from impasto_core.jobs import lifecycle
from impasto_core.jobs.events import EventWriter, Fenced, Finished, Started
from impasto_core.jobs.tables import Job
from impasto_core.queue import WakeUps, make_broker
from impasto_core.settings import Settings
from impasto_core.storage import ObjectNotFound, ObjectStore
from impasto_core.uploads.tables import Upload, UploadStatus
from impasto_workers.leadership import Leadership
from impasto_workers.sweeper import MAX_WAKE_UPS, Sweeper
from tests.support.brokers import both_brokers
from tests.support.job_desk import Jobs, events_of, until
from tests.support.jobs import image_of
from tests.support.tenants import make_tenant, register_model

TOMORROW = utc_now() + timedelta(days=1)


@pytest.fixture
def wake_ups(settings: Settings, redis: Redis) -> WakeUps:
    return WakeUps(make_broker(settings))


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return ObjectStore(settings)


@pytest.fixture
def sweeper(worker_database: Database, redis: Redis, store: ObjectStore, wake_ups: WakeUps) -> Sweeper:
    return Sweeper(worker_database, redis, store, wake_ups)


@pytest.fixture
def sweeper_tomorrow(
    worker_database: Database, redis: Redis, store: ObjectStore, wake_ups: WakeUps
) -> Sweeper:
    return Sweeper(worker_database, redis, store, wake_ups, clock=lambda: TOMORROW)


async def claim(database: Database) -> Job:
    async with database.session() as session:
        job = await lifecycle.claim(session, pool="default", worker="lost", lease_seconds=30)
    assert job is not None
    return job


async def save(database: Database, *rows: SQLModel) -> None:
    async with database.session() as session:
        session.add_all(rows)


async def exists(store: ObjectStore, key: str) -> bool:
    try:
        await store.head(key)
    except ObjectNotFound:
        return False
    return True


# Lost workers


async def test_a_job_whose_worker_went_silent_is_queued_again(
    jobs: Jobs, sweeper: Sweeper, worker_database: Database
) -> None:
    job = await jobs.add()
    await claim(worker_database)
    await sweeper.sweep()
    assert (await jobs.get(job)).status == "running", "its lease is not over"
    await jobs.expire_lease(job)
    await sweeper.sweep()
    assert (await jobs.get(job)).status == "queued"
    assert await jobs.outcomes(job) == ["lost"]
    assert (await jobs.balance()).held == 1, "its quote, still"


async def test_a_job_that_loses_three_workers_fails_and_its_readers_hear_of_it(
    jobs: Jobs, sweeper: Sweeper, worker_database: Database, redis: Redis
) -> None:
    job = await jobs.add()
    for attempt in (1, 2, 3):
        await jobs.change(job, available_at=utc_now() - timedelta(seconds=1))
        await claim(worker_database)
        await EventWriter(redis, job.id, attempt).write(Started(job_id=job.id, attempt=attempt))
        await jobs.expire_lease(job)
        await sweeper.sweep()
    failed = await jobs.get(job)
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error["code"] == "poisoned"
    assert (failed.cost or {})["amount"] == 0
    assert (await jobs.balance()).held == 0
    assert (await events_of(redis, job))[-1] == Finished()
    with pytest.raises(Fenced):
        await EventWriter(redis, job.id, 3).write(Finished())


async def test_a_job_to_be_canceled_ends_without_its_worker(
    jobs: Jobs, sweeper: Sweeper, worker_database: Database, owner_database: Database, redis: Redis
) -> None:
    job = await jobs.add()
    await claim(worker_database)
    async with owner_database.session() as session:
        await lifecycle.cancel(session, job.id)
    await jobs.expire_lease(job)
    await sweeper.sweep()
    canceled = await jobs.get(job)
    assert canceled.status == "canceled"
    assert (canceled.cost or {})["amount"] == 0, "nobody knows how many steps ran"
    assert (await jobs.balance()).held == 0
    assert await events_of(redis, job) == [Finished()]


async def test_lost_jobs_of_two_months_and_a_new_job_do_not_wait_for_each_other(
    jobs: Jobs, sweeper: Sweeper, worker_database: Database, owner_database: Database
) -> None:
    organization, now = jobs.organization_id, utc_now()
    for created_at in (now - timedelta(days=31), now):
        job = await jobs.add()
        await claim(worker_database)
        await jobs.change(job, created_at=created_at, cancel_requested_at=created_at)
        await jobs.expire_lease(job)
        month = spending.month_of(created_at)
        await save(owner_database, Spending(organization_id=organization, month=month, amount=1))

    async def somebody_waits() -> bool:
        async with owner_database.session() as session:
            locks = select(func.count()).select_from(table("pg_locks")).where(~column("granted", Boolean))
            return (await session.exec(locks)).one() > 0

    async with owner_database.session() as session:
        # As the API makes a job: first the month's counter, then the ledger.
        await spending.refund(session, organization_id=organization, api_key_id=None, at=now, amount=0)
        sweeping = asyncio.create_task(sweeper.return_expired_leases())
        await until(somebody_waits, "the sweeper does not count this month's job")
        made = new_id()
        await ledger.hold(session, organization_id=organization, job_id=made, amount=1, api_key_id=None)
        await ledger.settle(session, organization_id=organization, job_id=made, cost=0)
    await sweeping
    assert (await jobs.balance()).held == 0


async def test_a_lost_job_wakes_a_worker_at_once(
    jobs: Jobs, sweeper: Sweeper, worker_database: Database, wake_ups: WakeUps
) -> None:
    job = await jobs.add()
    await claim(worker_database)
    await jobs.expire_lease(job)
    await sweeper.return_expired_leases()
    assert await wake_ups.waiting("default") == 1
    assert (await claim(worker_database)).id == job.id


# Time limits


async def test_jobs_that_wait_past_their_time_are_canceled_for_nothing_and_their_readers_hear_of_it(
    jobs: Jobs, sweeper: Sweeper, redis: Redis
) -> None:
    past = utc_now() - timedelta(seconds=1)
    overdue, unheard, patient = [await jobs.add() for _ in range(3)]
    await jobs.change(overdue, deadline=past)
    await jobs.change(unheard, queue_deadline=past)
    await sweeper.sweep()
    for job, reason in ((overdue, "deadline"), (unheard, "queue-limit")):
        canceled = await jobs.get(job)
        assert (canceled.status, canceled.cancel_reason) == ("canceled", reason)
        assert (canceled.cost or {})["amount"] == 0
        assert await events_of(redis, job) == [Finished()]
    assert (await jobs.get(patient)).status == "queued"
    assert (await jobs.balance()).held == 1


# Wake-ups


@both_brokers
async def test_jobs_that_wait_unheard_are_announced_once(
    jobs: Jobs, sweeper: Sweeper, wake_ups: WakeUps
) -> None:
    for _ in range(3):
        await jobs.change(await jobs.add(), available_at=utc_now() - timedelta(seconds=10))
    await jobs.add()  # so new that its own wake-up may be on its way
    for _ in range(2):
        await sweeper.sweep()
        assert await wake_ups.waiting("default") == 3


@both_brokers
async def test_only_what_the_queue_lacks_is_sent(jobs: Jobs, sweeper: Sweeper, wake_ups: WakeUps) -> None:
    await wake_ups.send("default", 2)
    for _ in range(3):
        await jobs.change(await jobs.add(), available_at=utc_now() - timedelta(seconds=10))
    await sweeper.sweep()
    assert await wake_ups.waiting("default") == 3


@both_brokers
async def test_a_long_queue_is_not_told_all_at_once(
    jobs: Jobs, sweeper: Sweeper, wake_ups: WakeUps, owner_database: Database
) -> None:
    job = await jobs.add()
    long_ago = utc_now() - timedelta(minutes=1)
    copies = [job.model_copy(update={"id": new_id(), "available_at": long_ago}) for _ in range(250)]
    await save(owner_database, *[Job(**copy.model_dump()) for copy in copies])
    await sweeper.sweep()
    assert await wake_ups.waiting("default") == MAX_WAKE_UPS


@pytest.mark.parametrize("broker", ["sqs"], indirect=True)
async def test_a_pool_whose_queue_is_refused_keeps_no_other_from_its_wake_ups(
    jobs: Jobs, sweeper: Sweeper, wake_ups: WakeUps, caplog: pytest.LogCaptureFixture
) -> None:
    for pool in ("a.fifo", "default"):
        await jobs.change(await jobs.add(), pool=pool, available_at=utc_now() - timedelta(seconds=10))
    await sweeper.sweep()
    assert await wake_ups.waiting("default") == 1
    assert "jobs wait unheard: trying again" in caplog.text


# What has had its time


async def test_credits_that_are_over_go_back_to_the_house(
    owner_database: Database, jobs: Jobs, sweeper: Sweeper, sweeper_tomorrow: Sweeper
) -> None:
    async with owner_database.session() as session:
        await ledger.grant(
            session,
            organization_id=jobs.organization_id,
            source=GrantSource.PROMOTION,
            amount=50,
            valid_until=TOMORROW,
            reference="for a day",
        )

    async def left() -> int:
        """Nobody's clock says that the credits are over."""
        async with owner_database.session() as session:
            return (await ledger.balance(session, jobs.organization_id, utc_now())).available

    before = await left()
    await sweeper.expire_credits()
    assert await left() == before
    for _ in range(2):
        await sweeper_tomorrow.expire_credits()
        assert await left() == before - 50


async def test_a_plan_that_costs_nothing_brings_its_credits_once_a_month(
    worker_database: Database,
    redis: Redis,
    store: ObjectStore,
    wake_ups: WakeUps,
    owner_database: Database,
    settings: Settings,
) -> None:
    free = await make_tenant(owner_database, settings, plan="free", balance=0)
    pro = await make_tenant(owner_database, settings, plan="pro", balance=0)

    async def sweep_on(day: datetime) -> tuple[int, int]:
        """What both have after two passes on that day."""
        sweeper = Sweeper(worker_database, redis, store, wake_ups, clock=lambda: day)
        for _ in range(2):
            await sweeper.sweep()
        async with owner_database.session() as session:
            balances = [await ledger.balance(session, one.organization_id, day) for one in (free, pro)]
        return balances[0].available, balances[1].available

    month = utc_now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    next_month = (month + timedelta(days=32)).replace(day=1)
    assert await sweep_on(month) == (500, 0)
    assert await sweep_on(next_month - timedelta(seconds=1)) == (500, 0)
    assert await sweep_on(next_month) == (500, 0), "what was left has expired, and the next has come"
    async with owner_database.session() as session:
        await assign(session, free.organization_id, "pro")
        await assign(session, free.organization_id, "free")
    assert await sweep_on(next_month + timedelta(days=1)) == (500, 0), "going back and forth brings no more"


async def test_expired_idempotency_records_are_deleted(
    jobs: Jobs, sweeper_tomorrow: Sweeper, owner_database: Database
) -> None:
    def record(key: str, expires_at: datetime) -> IdempotencyRecord:
        return IdempotencyRecord(
            organization_id=jobs.organization_id,
            key=key,
            fingerprint=b"",
            status=202,
            body={},
            expires_at=expires_at,
        )

    second = timedelta(seconds=1)
    await save(owner_database, record("old", TOMORROW - second), record("new", TOMORROW + second))
    await sweeper_tomorrow.sweep()
    async with owner_database.session() as session:
        assert (await session.exec(select(IdempotencyRecord.key))).all() == ["new"]


async def test_expired_uploads_are_deleted_with_their_objects(
    jobs: Jobs, sweeper_tomorrow: Sweeper, owner_database: Database, store: ObjectStore
) -> None:
    def upload(status: UploadStatus, expires_at: datetime) -> Upload:
        name = f"organizations/{jobs.organization_id}/uploads/{new_id()}"
        return Upload(
            organization_id=jobs.organization_id,
            status=status,
            object_key=f"{name}/original",
            verified_key=f"{name}/verified.png",
            content_type="image/png",
            size=1,
            expires_at=expires_at,
        )

    long_ago = TOMORROW - timedelta(hours=2)
    unused = [upload(UploadStatus.PENDING, long_ago) for _ in range(25)]  # more than a batch
    unused.append(upload(UploadStatus.VERIFIED, long_ago))
    kept = [upload(UploadStatus.VERIFIED, TOMORROW), upload(UploadStatus.PENDING, TOMORROW)]
    for one in (unused[0], *kept):
        await store.put(one.object_key, b"x", "image/png")
    await save(owner_database, *unused, *kept)
    await sweeper_tomorrow.sweep()

    async with owner_database.session() as session:
        left = set((await session.exec(select(Upload.object_key))).all())
    assert left == {one.object_key for one in kept}
    assert not await exists(store, unused[0].object_key)
    assert all([await exists(store, one.object_key) for one in kept])


@pytest.fixture
async def images(jobs: Jobs, owner_database: Database, store: ObjectStore) -> list[Image]:
    """Two images, of which the owner has deleted the first."""
    job = await jobs.add()
    images = [image_of(job, 0), image_of(job, 1)]
    images[0].deleted_at = utc_now()
    for image in images:
        await store.put(image.object_key, b"png", "image/png")
        await store.put(image.thumbnail_key, b"webp", "image/webp")
    await save(owner_database, *images)
    return images


async def test_deleted_images_go_with_their_objects(
    images: list[Image], sweeper: Sweeper, owner_database: Database, store: ObjectStore
) -> None:
    await sweeper.sweep()
    deleted, kept = images
    async with owner_database.session() as session:
        assert (await session.exec(select(Image.id))).all() == [kept.id]
    assert not await exists(store, deleted.object_key)
    assert not await exists(store, deleted.thumbnail_key)
    assert await exists(store, kept.object_key)


# When something is away


async def test_without_the_object_store_rows_stay_for_the_next_pass(
    images: list[Image],
    settings: Settings,
    worker_database: Database,
    owner_database: Database,
    redis: Redis,
    wake_ups: WakeUps,
    caplog: pytest.LogCaptureFixture,
) -> None:
    away = ObjectStore(settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:9"}))
    await Sweeper(worker_database, redis, away, wake_ups).sweep()
    assert "delete_images: trying again" in caplog.text
    async with owner_database.session() as session:
        assert len((await session.exec(select(Image.id))).all()) == len(images)


async def test_without_redis_lost_workers_are_still_found(
    jobs: Jobs, settings: Settings, worker_database: Database, store: ObjectStore
) -> None:
    job = await jobs.add()
    await claim(worker_database)
    await jobs.expire_lease(job)
    away = settings.model_copy(update={"redis_url": type(settings.redis_url)("redis://127.0.0.1:9")})
    redis = Redis.from_url("redis://127.0.0.1:9")
    await Sweeper(worker_database, redis, store, WakeUps(make_broker(away))).sweep()
    await redis.aclose()
    assert (await jobs.get(job)).status == "queued"


# Plans that keep images for a while


async def age_of(database: Database, image: Image, **age: float) -> None:
    async with database.session() as session:
        old = update(Image).where(col(Image.id) == image.id)
        await session.exec(old.values(created_at=utc_now() - timedelta(**age)))


async def test_images_are_kept_for_as_long_as_the_plan_says_and_a_week_after_it_changed(
    owner_database: Database,
    settings: Settings,
    worker_database: Database,
    redis: Redis,
    store: ObjectStore,
    wake_ups: WakeUps,
) -> None:
    """30 days on the free plan, for good on studio."""
    model = await register_model(owner_database)
    images: dict[str, Image] = {}
    for plan in ("free", "studio"):
        tenant = await make_tenant(owner_database, settings, plan=plan)
        job = await Jobs(owner_database, tenant.organization_id, model).add()
        for name, days in {"old": 31, "young": 29}.items():
            image = images[f"{name} {plan}"] = image_of(job, days)
            await store.put(image.object_key, b"png", "image/png")
            await save(owner_database, image)
            await age_of(owner_database, image, days=days)

    async def left(now: datetime) -> set[str]:
        sweeper = Sweeper(worker_database, redis, store, wake_ups, clock=lambda: now)
        await sweeper.expire_images()
        await sweeper.delete_images()
        async with owner_database.session() as session:
            kept = set((await session.exec(select(Image.id))).all())
        return {name for name, image in images.items() if image.id in kept}

    assert await left(utc_now()) == images.keys(), "the plans are new"
    async with owner_database.session() as session:
        a_week_ago = utc_now() - timedelta(days=7, minutes=1)
        await session.exec(update(OrganizationPlan).values(assigned_at=a_week_ago))
        await session.exec(update(PlanRow).values(updated_at=a_week_ago))
    assert await left(utc_now()) == images.keys() - {"old free"}
    assert not await exists(store, images["old free"].object_key)
    async with owner_database.session() as session:
        await assign(session, images["old studio"].organization_id, "free")
    assert "old studio" in await left(utc_now() + timedelta(days=6)), "a downgrade leaves a week"
    assert await left(utc_now() + timedelta(days=8)) == set()


# What attempts left behind


async def test_objects_of_a_worker_that_was_killed_while_it_uploaded_are_deleted(
    jobs: Jobs, sweeper: Sweeper, sweeper_tomorrow: Sweeper, worker_database: Database, store: ObjectStore
) -> None:
    job = await jobs.add()
    for _ in range(2):
        await claim(worker_database)
        await jobs.expire_lease(job)
        await sweeper.return_expired_leases()
        await jobs.change(job, available_at=utc_now())
    live = await claim(worker_database)
    keys = {
        attempt: f"{attempt_folder(job.organization_id, job.id, attempt)}0.png" for attempt in (1, 2, 3, 10)
    }
    for key in keys.values():
        await store.put(key, b"half", "image/png")
    assert live.attempt == 3

    await sweeper.delete_leftovers()
    assert await exists(store, keys[1]), "its worker may still be at it"
    for _ in range(2):
        await sweeper_tomorrow.delete_leftovers()
        assert [await exists(store, key) for key in keys.values()] == [False, False, True, True]


# Who sweeps


@pytest.fixture
async def candidates(worker_database: Database) -> AsyncIterator[tuple[Leadership, Leadership]]:
    candidates = (Leadership(worker_database), Leadership(worker_database))
    yield candidates
    for candidate in candidates:
        candidate.give_up()

    async def none_is_connected() -> bool:
        async with worker_database.session() as session:
            return (await session.exec(CONNECTED)).one() == 0

    await until(none_is_connected, "a candidate is still connected")


CONNECTIONS = table("pg_stat_activity")
THEIRS = column("application_name") == "impasto-sweeper"
CONNECTED = select(func.count()).select_from(CONNECTIONS).where(THEIRS)
DISCONNECT = select(func.pg_terminate_backend(column("pid"))).select_from(CONNECTIONS).where(THEIRS)


async def test_one_of_several_leads_and_another_follows_it(
    candidates: tuple[Leadership, Leadership],
) -> None:
    first, second = candidates
    assert await first.held()
    assert not await second.held()
    assert await first.held()
    first.give_up()
    await until(second.held, "nobody leads")
    assert not await first.held()


async def test_a_leader_that_hangs_loses_the_lead_within_seconds(
    worker_database: Database, candidates: tuple[Leadership, Leadership]
) -> None:
    hanging = Leadership(worker_database, patience_seconds=0.2)
    assert await hanging.held()
    await until(candidates[0].held, "nobody follows it", within=10)
    assert not await hanging.held()
    hanging.give_up()


async def test_who_loses_the_connection_loses_the_lead(
    candidates: tuple[Leadership, Leadership], worker_database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    leader, follower = candidates
    assert await leader.held()
    async with worker_database.session() as session:  # a role may end its own connections
        await session.exec(DISCONNECT)
    await until(follower.held, "nobody leads")
    assert not await leader.held()
    assert "PostgreSQL is away" in caplog.text
    assert not await leader.held()
