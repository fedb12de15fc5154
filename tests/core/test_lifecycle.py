"""The life of a job, on real PostgreSQL and with no more rights than a worker has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_core.database import Database
from impasto_core.ids import new_id
from impasto_core.jobs import lifecycle
from impasto_core.jobs.errors import ErrorCode, JobError
from impasto_core.jobs.lifecycle import Lease, LeaseLost
from impasto_core.jobs.tables import AttemptOutcome, CancelReason, Job, JobStatus
from impasto_core.models.tables import Model
from tests.support.job_desk import Jobs
from tests.support.jobs import image_of
from tests.support.painters import lease_of
from tests.support.tenants import Tenant

pytestmark = pytest.mark.drift  # core ends these jobs by itself, and knows nothing of settling them

ERROR = JobError(code="node-failed", message="no", node_id="denoise_0", node_type="denoise_latents")

WorkerMove = Callable[[AsyncSession, Lease], Awaitable[object]]
WORKER_MOVES: dict[str, WorkerMove] = {
    "renew": lambda session, lease: lifecycle.renew(session, lease, lease_seconds=30),
    "ask whether to cancel": lifecycle.cancel_requested,
    "succeed": lambda session, lease: lifecycle.succeed(session, lease, []),
    "fail": lambda session, lease: lifecycle.fail(session, lease, ERROR),
    "finish cancel": lifecycle.finish_cancel,
    "give back": lifecycle.give_back,
}


class Queue(Jobs):
    """One organization's jobs, and a worker of which a test asks one move at a time."""

    def __init__(self, owner: Database, worker: Database, organization_id: UUID, model: Model) -> None:
        super().__init__(owner, organization_id, model)
        self.owner = owner
        self.worker = worker

    async def claim(self, *, pool: str = "default", lease_seconds: float = 30) -> Job | None:
        async with self.worker.session() as session:
            return await lifecycle.claim(session, pool=pool, worker="w", lease_seconds=lease_seconds)

    async def take(self, *, lease_seconds: float = 30) -> Job:
        """Add a job and claim it. A lease of 0 seconds has run out by the next transaction."""
        await self.add()
        return await self.retake(lease_seconds=lease_seconds)

    async def retake(self, *, lease_seconds: float = 30) -> Job:
        job = await self.claim(lease_seconds=lease_seconds)
        assert job is not None
        return job

    async def move(self, name: str, lease: Lease) -> None:
        async with self.worker.session() as session:
            await WORKER_MOVES[name](session, lease)

    async def cancel(self, job: Job) -> Job:
        async with self.owner.session() as session:
            return await lifecycle.cancel(session, job.id)

    async def sweep(self, *, limit: int = 100) -> list[Job]:
        async with self.worker.session() as session:
            return await lifecycle.return_expired_leases(session, limit=limit)

    async def end_pause(self, job: Job) -> None:
        """Move the moment from which the job may be claimed into the past."""
        await self.change(job, available_at=func.now() - timedelta(hours=1))


@pytest.fixture
def queue(owner_database: Database, worker_database: Database, tenant: Tenant, model: Model) -> Queue:
    return Queue(owner_database, worker_database, tenant.organization_id, model)


async def test_a_claimed_job_runs_under_a_lease_and_its_attempt_is_written_down(queue: Queue) -> None:
    added = await queue.add()
    async with queue.worker.session() as session:
        now = (await session.exec(select(func.now()))).one()
        job = await lifecycle.claim(session, pool="default", worker="gpu-1", lease_seconds=30)
    assert job is not None
    assert job.id == added.id
    assert (job.status, job.attempt, job.worker) == (JobStatus.RUNNING, 1, "gpu-1")
    assert job.started_at == now
    assert job.lease_expires_at == now + timedelta(seconds=30)
    assert await queue.outcomes(job) == [None]


async def test_nothing_is_claimed_where_nothing_waits(queue: Queue) -> None:
    assert await queue.claim() is None
    await queue.take()
    assert await queue.claim() is None


async def test_jobs_are_claimed_in_the_order_in_which_they_came(queue: Queue) -> None:
    added = [(await queue.add()).id for _ in range(5)]
    assert [(await queue.retake()).id for _ in added] == added


async def test_a_worker_claims_only_from_its_own_pool(queue: Queue) -> None:
    job = await queue.add()
    await queue.change(job, pool="large")
    assert await queue.claim(pool="default") is None
    claimed = await queue.claim(pool="large")
    assert claimed is not None
    assert claimed.id == job.id


async def test_a_job_is_not_claimed_before_it_is_due(queue: Queue) -> None:
    job = await queue.add()
    await queue.change(job, available_at=func.now() + timedelta(hours=1))
    assert await queue.claim() is None
    await queue.end_pause(job)
    assert await queue.claim() is not None


async def test_a_job_that_someone_is_claiming_is_passed_over_and_not_waited_for(queue: Queue) -> None:
    first, second = await queue.add(), await queue.add()
    async with queue.worker.session() as busy:
        mine = await lifecycle.claim(busy, pool="default", worker="a", lease_seconds=30)
        assert mine is not None
        assert mine.id == first.id
        assert (await queue.retake()).id == second.id
        assert await queue.claim() is None


async def test_a_claim_that_is_not_committed_leaves_the_job_in_the_queue(queue: Queue) -> None:
    job = await queue.add()
    async with queue.worker.session() as session:
        assert await lifecycle.claim(session, pool="default", worker="a", lease_seconds=30)
        await session.rollback()
    assert (await queue.retake()).id == job.id


async def test_many_workers_at_once_never_get_the_same_job(queue: Queue) -> None:
    added = {(await queue.add()).id for _ in range(24)}

    async def work() -> list[UUID]:
        claimed = []
        while job := await queue.claim():
            claimed.append(job.id)
        return claimed

    claimed = [job_id for some in await asyncio.gather(*(work() for _ in range(4))) for job_id in some]
    assert len(claimed) == len(added)
    assert set(claimed) == added


async def test_a_lease_can_be_renewed(queue: Queue) -> None:
    job = await queue.take(lease_seconds=1)
    async with queue.worker.session() as session:
        now = (await session.exec(select(func.now()))).one()
        await lifecycle.renew(session, lease_of(job), lease_seconds=60)
    assert (await queue.get(job)).lease_expires_at == now + timedelta(seconds=60)


async def test_a_job_succeeds_with_its_images(queue: Queue) -> None:
    job = await queue.take()
    async with queue.worker.session() as session:
        await lifecycle.succeed(session, lease_of(job), [image_of(job, 0), image_of(job, 1)])
    stored = await queue.get(job)
    assert (stored.status, stored.error, stored.worker) == (JobStatus.SUCCEEDED, None, None)
    assert stored.started_at == job.started_at
    assert stored.finished_at is not None
    assert await queue.outcomes(job) == ["succeeded"]
    assert [image.index for image in await queue.images(job)] == [0, 1]


async def test_a_job_fails_with_its_reason(queue: Queue) -> None:
    job = await queue.take()
    async with queue.worker.session() as session:
        await lifecycle.fail(session, lease_of(job), ERROR)
    stored = await queue.get(job)
    assert stored.status == JobStatus.FAILED
    assert stored.error == ERROR.model_dump()
    assert await queue.outcomes(job) == ["failed"]


async def test_a_job_that_is_given_back_is_claimed_again_with_a_new_token(queue: Queue) -> None:
    job = await queue.take()
    async with queue.worker.session() as session:
        returned = await lifecycle.give_back(session, lease_of(job))
    assert (returned.status, returned.started_at, returned.lease_expires_at) == (JobStatus.QUEUED, None, None)
    assert lease_of(await queue.retake()) == Lease(job.id, job.attempt + 1)
    assert await queue.outcomes(job) == ["returned", None]


async def test_a_failure_that_may_pass_is_tried_again_later_each_time_and_ends_the_job_at_last(
    queue: Queue,
) -> None:
    away = JobError.of(ErrorCode.MODEL_UNAVAILABLE, "away")
    other = JobError.of(ErrorCode.OUT_OF_MEMORY, "full")
    job = await queue.add()
    for error, pause in ((away, 5), (other, 0), (away, 10), (away, 20)):
        lease = lease_of(await queue.retake())
        async with queue.worker.session() as session:
            now = (await session.exec(select(func.now()))).one()
            returned = await lifecycle.fail(session, lease, error)
        assert (returned.status, returned.error, returned.started_at) == (JobStatus.QUEUED, None, None)
        assert returned.available_at == now + timedelta(seconds=pause)
        await queue.end_pause(job)
    lease = lease_of(await queue.retake())
    async with queue.worker.session() as session:
        failed = await lifecycle.fail(session, lease, away)
    assert (failed.status, failed.error) == (JobStatus.FAILED, away.model_dump())
    assert away.retryable
    assert await queue.outcomes(job) == ["failed"] * 5


async def test_a_failure_that_may_pass_ends_a_job_that_was_to_be_canceled(queue: Queue) -> None:
    job = await queue.take()
    await queue.cancel(job)
    async with queue.worker.session() as session:
        ended = await lifecycle.fail(session, lease_of(job), JobError.of(ErrorCode.INTERNAL, "ours"))
    assert (ended.status, ended.error, ended.cancel_reason) == (JobStatus.CANCELED, None, "requested")


async def test_giving_back_a_job_that_was_to_be_canceled_ends_it(queue: Queue) -> None:
    job = await queue.take()
    await queue.cancel(job)
    await queue.move("give back", lease_of(job))
    stored = await queue.get(job)
    assert stored.status == JobStatus.CANCELED
    assert stored.finished_at is not None
    assert await queue.claim() is None


async def test_a_queued_job_is_canceled_at_once_and_never_claimed(queue: Queue) -> None:
    job = await queue.cancel(await queue.add())
    assert job.status == JobStatus.CANCELED
    assert job.finished_at == job.cancel_requested_at is not None
    assert await queue.claim() is None


async def test_a_running_job_is_asked_to_stop_and_ends_when_its_worker_has_stopped(queue: Queue) -> None:
    job = await queue.take()
    async with queue.worker.session() as session:
        assert not await lifecycle.cancel_requested(session, lease_of(job))
    assert (await queue.cancel(job)).status == JobStatus.RUNNING
    async with queue.worker.session() as session:
        assert await lifecycle.cancel_requested(session, lease_of(job))
        await lifecycle.renew(session, lease_of(job), lease_seconds=30)
        await lifecycle.finish_cancel(session, lease_of(job))
    assert (await queue.get(job)).status == JobStatus.CANCELED
    assert await queue.outcomes(job) == ["canceled"]


async def test_a_job_that_ends_before_it_notices_the_cancel_keeps_its_end(queue: Queue) -> None:
    job = await queue.take()
    await queue.cancel(job)
    await queue.move("succeed", lease_of(job))
    assert (await queue.get(job)).status == JobStatus.SUCCEEDED


async def test_a_second_cancel_of_a_running_job_is_refused(queue: Queue) -> None:
    job = await queue.take()
    first = await queue.cancel(job)
    with pytest.raises(lifecycle.CancelAlreadyRequested):
        await queue.cancel(job)
    assert (await queue.get(job)).cancel_requested_at == first.cancel_requested_at


async def test_a_finished_job_cannot_be_canceled(queue: Queue, subtests: pytest.Subtests) -> None:
    for end in ("succeed", "fail", "finish cancel"):
        with subtests.test(end):
            job = await queue.take()
            await queue.move(end, lease_of(job))
            with pytest.raises(lifecycle.JobAlreadyFinished):
                await queue.cancel(job)


async def test_a_job_that_does_not_exist_cannot_be_canceled(queue: Queue) -> None:
    async with queue.owner.session() as session:
        with pytest.raises(lifecycle.JobNotFound):
            await lifecycle.cancel(session, new_id())


async def test_a_worker_whose_job_was_given_to_another_can_do_nothing_to_it(
    queue: Queue, subtests: pytest.Subtests
) -> None:
    stale = await queue.take(lease_seconds=0)
    await queue.sweep()
    await queue.end_pause(stale)
    live = await queue.retake()
    assert lease_of(live) == Lease(stale.id, stale.attempt + 1)
    for move in WORKER_MOVES:
        with subtests.test(move):
            await _assert_refused(queue, move, stale)


async def test_a_lease_ends_with_the_attempt(queue: Queue, subtests: pytest.Subtests) -> None:
    for end in ("succeed", "fail", "finish cancel", "give back"):
        job = await queue.take()
        await queue.move(end, lease_of(job))
        for move in WORKER_MOVES:
            with subtests.test(f"{move} after {end}"):
                await _assert_refused(queue, move, job)


async def test_a_job_that_nobody_claimed_answers_to_no_lease(queue: Queue, subtests: pytest.Subtests) -> None:
    job = await queue.add()
    for move in WORKER_MOVES:
        with subtests.test(move):
            await _assert_refused(queue, move, job)


async def test_images_of_a_worker_that_lost_its_lease_never_come_to_exist(queue: Queue) -> None:
    stale = await queue.take(lease_seconds=0)
    await queue.sweep()
    with pytest.raises(LeaseLost):
        async with queue.worker.session() as session:
            await lifecycle.succeed(session, lease_of(stale), [image_of(stale)])
    assert await queue.images(stale) == []


async def test_a_worker_that_is_late_but_not_replaced_keeps_its_job(queue: Queue) -> None:
    """The lease ran out, yet the sweeper has not come by: the work is not thrown away."""
    job = await queue.take(lease_seconds=0)
    await queue.move("renew", lease_of(job))
    assert await queue.sweep() == []


async def test_the_sweeper_leaves_live_leases_alone(queue: Queue) -> None:
    await queue.take(lease_seconds=30)
    await queue.add()
    assert await queue.sweep() == []


async def test_a_lost_job_is_queued_at_once_then_after_a_pause_and_fails_with_its_third_worker(
    queue: Queue,
) -> None:
    job = await queue.add()
    for pause in (0, 2):
        await queue.retake(lease_seconds=0)
        async with queue.worker.session() as session:
            now = (await session.exec(select(func.now()))).one()
            [returned] = await lifecycle.return_expired_leases(session)
        assert (returned.status, returned.started_at) == (JobStatus.QUEUED, None)
        assert returned.available_at == now + timedelta(seconds=pause)
        await queue.end_pause(job)

    await queue.retake(lease_seconds=0)
    [failed] = await queue.sweep()
    assert failed.status == JobStatus.FAILED
    assert failed.error is not None
    assert failed.error["code"] == "poisoned"
    assert failed.error["message"].startswith("3 workers")
    assert await queue.outcomes(job) == ["lost", "lost", "lost"]
    assert await queue.sweep() == []


async def test_being_given_back_does_not_count_as_a_lost_worker(queue: Queue) -> None:
    job = await queue.add()
    for _ in range(4):
        await queue.move("give back", lease_of(await queue.retake()))
    await queue.retake(lease_seconds=0)
    [returned] = await queue.sweep()
    assert returned.status == JobStatus.QUEUED
    assert await queue.outcomes(job) == [*["returned"] * 4, "lost"]


async def test_a_job_whose_worker_was_lost_while_it_was_to_cancel_is_canceled(queue: Queue) -> None:
    job = await queue.take(lease_seconds=0)
    await queue.cancel(job)
    [swept] = await queue.sweep()
    assert (swept.status, swept.error) == (JobStatus.CANCELED, None)
    assert await queue.outcomes(job) == ["lost"]


async def test_a_sweep_returns_no_more_than_it_is_asked_to(queue: Queue) -> None:
    for _ in range(3):
        await queue.take(lease_seconds=0)
    assert len(await queue.sweep(limit=2)) == 2
    assert len(await queue.sweep(limit=2)) == 1


async def test_two_sweeps_at_once_return_a_job_once(queue: Queue) -> None:
    job = await queue.take(lease_seconds=0)
    async with queue.worker.session() as first:
        assert len(await lifecycle.return_expired_leases(first)) == 1
        assert await queue.sweep() == []
    assert await queue.outcomes(job) == ["lost"]


async def test_a_worker_that_lost_the_answer_to_its_commit_can_ask_how_its_attempt_ended(
    queue: Queue,
) -> None:
    lease = lease_of(await queue.take())
    async with queue.worker.session() as session:
        assert await lifecycle.outcome_of(session, lease) is None
        await lifecycle.fail(session, lease, ERROR)
    async with queue.worker.session() as session:
        assert await lifecycle.outcome_of(session, lease) is AttemptOutcome.FAILED
        assert await lifecycle.outcome_of(session, Lease(lease.job_id, 7)) is None


async def test_jobs_that_could_have_been_claimed_for_long_are_counted(queue: Queue) -> None:
    for _ in range(3):
        await queue.end_pause(await queue.add())
    await queue.add()

    async def count(pool: str, *, limit: int = 10) -> int:
        async with queue.worker.session() as session:
            return await lifecycle.count_unclaimed(session, pool, after=timedelta(minutes=5), limit=limit)

    assert await count("default") == 3
    assert await count("default", limit=2) == 2
    assert await count("large") == 0
    await queue.retake()
    assert await count("default") == 2


async def _assert_refused(queue: Queue, move: str, job: Job) -> None:
    """The lease that came with `job` is good for nothing, and trying changes nothing."""
    before, outcomes = await queue.get(job), await queue.outcomes(job)
    with pytest.raises(LeaseLost):
        await queue.move(move, lease_of(job))
    assert await queue.get(job) == before
    assert await queue.outcomes(job) == outcomes


# Time limits of those that wait


async def test_a_job_that_waits_past_its_deadline_is_canceled(queue: Queue) -> None:
    past, future = func.now() - timedelta(seconds=1), func.now() + timedelta(hours=1)
    overdue, patient, limitless = await queue.add(), await queue.add(), await queue.add()
    await queue.change(overdue, deadline=past)
    await queue.change(patient, deadline=future, queue_deadline=future)
    async with queue.worker.session() as session:
        [canceled] = await lifecycle.cancel_overdue(session)
    assert canceled.id == overdue.id
    assert (canceled.status, canceled.cancel_reason) == (JobStatus.CANCELED, "deadline")
    assert canceled.finished_at is not None
    assert [(await queue.get(job)).status for job in (patient, limitless)] == ["queued", "queued"]


async def test_the_limit_of_its_wait_holds_until_a_worker_has_begun_the_job(queue: Queue) -> None:
    past = func.now() - timedelta(seconds=1)
    begun = await queue.take()
    await queue.move("give back", lease_of(begun))
    unheard = await queue.add()
    for job in (begun, unheard):
        await queue.change(job, queue_deadline=past)
    async with queue.worker.session() as session:
        [canceled] = await lifecycle.cancel_overdue(session)
    assert (canceled.id, canceled.cancel_reason) == (unheard.id, "queue-limit")


async def test_a_running_job_is_its_workers_to_stop(queue: Queue) -> None:
    job = await queue.take()
    await queue.change(job, deadline=func.now() - timedelta(seconds=1))
    async with queue.worker.session() as session:
        assert await lifecycle.cancel_overdue(session) == []
        await lifecycle.finish_cancel(session, lease_of(job), CancelReason.DEADLINE)
    assert (await queue.get(job)).cancel_reason == "deadline"
