"""The life of a job, one function a transition.

    queued -> running          claim: the next job of a pool (see `fair_queue`), with a lease
    running -> running         renew: the worker is alive
    running -> succeeded       succeed
    running -> failed          fail, where the error is final
    running -> canceled        finish_cancel
    running -> queued          fail, where another attempt may succeed
                               give_back (the worker is told to stop), return_expired_leases (it is gone)
    queued -> canceled         cancel; a running job is only asked to stop
                               cancel_overdue (a time limit of its owner's is over)

`jobs.attempt` is the fencing token: a claim increments it, and whatever a worker writes is accepted only with
the token of the live lease. Leases live by the database's clock, so that no worker's clock matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, true, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_core.images.tables import Image
from impasto_core.jobs import fair_queue
from impasto_core.jobs.errors import ErrorCode, JobError
from impasto_core.jobs.fair_queue import Turn
from impasto_core.jobs.tables import (
    AttemptOutcome,
    CancelReason,
    Job,
    JobAttempt,
    JobStatus,
    QueueShare,
)

MAX_LOST_ATTEMPTS = 3
"""A job that loses this many workers is held to be what kills them."""

RETRY_DELAY = timedelta(seconds=2)
"""Pause after the second lost attempt. The first is mostly the worker's fault, and its lease was a pause."""


class LeaseLost(Exception):
    """The job has a newer attempt or has ended: this worker's results no longer count."""


class JobNotFound(Exception):
    """There is no such job in the organization."""


class JobAlreadyFinished(Exception):
    """The job has ended; its state cannot change any more."""


class CancelAlreadyRequested(Exception):
    """The running job has been asked to stop before."""


@dataclass(frozen=True)
class Lease:
    """The right to work on a job until it expires unrenewed. `token` is the fencing token."""

    job_id: UUID
    token: int


async def claim(session: AsyncSession, *, pool: str, worker: str, lease_seconds: float) -> Job | None:
    """Take the next job of the pool, or None. The caller's lease is `Lease(job.id, job.attempt)`.

    Jobs that others are claiming at this moment are passed over, not waited for.
    """
    await fair_queue.await_queue(session, pool)
    passed: list[UUID] = []
    while turn := await fair_queue.next_turn(session, pool, passing=passed):
        job = await _take(session, pool, turn, worker=worker, lease_seconds=lease_seconds)
        if job is not None:
            return job
        passed.append(turn.organization_id)
    return None


async def _take(
    session: AsyncSession, pool: str, turn: Turn, *, worker: str, lease_seconds: float
) -> Job | None:
    conditions = [col(Job.id) == fair_queue.next_job(pool, turn.organization_id, lock=True)]
    if turn.is_limited:
        # One claim after the other, and each looks again: together they must not exceed the limit.
        await fair_queue.lock_places(session, turn.organization_id)
        conditions.append(fair_queue.has_place(turn.organization_id))
    job = await _update_one(
        session,
        *conditions,
        status=JobStatus.RUNNING,
        attempt=col(Job.attempt) + 1,
        worker=worker,
        started_at=func.now(),
        lease_expires_at=func.now() + timedelta(seconds=lease_seconds),
    )
    if job is None or job.started_at is None:
        return None
    session.add(
        JobAttempt(
            job_id=job.id,
            number=job.attempt,
            organization_id=job.organization_id,
            worker=worker,
            started_at=job.started_at,
        )
    )
    return job


async def renew(session: AsyncSession, lease: Lease, *, lease_seconds: float) -> None:
    """Raises LeaseLost."""
    await _update_leased(session, lease, lease_expires_at=func.now() + timedelta(seconds=lease_seconds))


async def cancel_requested(session: AsyncSession, lease: Lease, *, lock: bool = False) -> bool:
    """Whether the caller wants the job stopped; with `lock`, for as long as the transaction lasts.

    Raises LeaseLost.
    """
    query = select(col(Job.cancel_requested_at).is_not(None)).where(*_is_live(lease))
    requested = (await session.exec(query.with_for_update() if lock else query)).one_or_none()
    if requested is None:
        raise LeaseLost
    return requested


async def succeed(session: AsyncSession, lease: Lease, images: Sequence[Image]) -> Job:
    """Raises LeaseLost, and then none of the images exists."""
    job = await _end_attempt(
        session, lease, JobStatus.SUCCEEDED, AttemptOutcome.SUCCEEDED, images_made=len(images)
    )
    session.add_all(images)
    await session.flush()  # so that storage is counted now, and not while the ledger is locked
    return job


async def fail(session: AsyncSession, lease: Lease, error: JobError) -> Job:
    """The attempt failed, and with it the job, unless the error may pass: then it is queued again for a while
    later, or ends as canceled where that was asked for. Raises LeaseLost.
    """
    status, delay = JobStatus.FAILED, timedelta(0)
    if error.retries is not None:
        failed = await _count_failed(session, lease.job_id, error.code) + 1
        if await cancel_requested(session, lease, lock=True):
            status = JobStatus.CANCELED
        elif failed < error.retries.attempts:
            status, delay = JobStatus.QUEUED, error.retries.delay(failed)
    return await _end_attempt(session, lease, status, AttemptOutcome.FAILED, error, delay=delay)


async def finish_cancel(
    session: AsyncSession, lease: Lease, reason: CancelReason = CancelReason.REQUESTED
) -> Job:
    """The worker has stopped a job that was to stop. Raises LeaseLost."""
    return await _end_attempt(session, lease, JobStatus.CANCELED, AttemptOutcome.CANCELED, reason=reason)


async def give_back(session: AsyncSession, lease: Lease) -> Job:
    """Return the job to the queue, unless it was to be cancelled. Raises LeaseLost."""
    canceling = await cancel_requested(session, lease, lock=True)
    status = JobStatus.CANCELED if canceling else JobStatus.QUEUED
    return await _end_attempt(session, lease, status, AttemptOutcome.RETURNED)


async def return_expired_leases(session: AsyncSession, *, limit: int = 100) -> list[Job]:
    """Take jobs from workers that have gone silent: back to the queue, or ended where that is due.

    Returns the jobs in their new state.
    """
    expired = await session.exec(
        select(Job)
        .where(Job.status == JobStatus.RUNNING, col(Job.lease_expires_at) < func.now())
        .order_by(col(Job.lease_expires_at))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [await _return_expired(session, job) for job in expired.all()]


async def _return_expired(session: AsyncSession, job: Job) -> Job:
    lease = Lease(job.id, job.attempt)
    lost = await _count_lost(session, job.id) + 1
    if job.cancel_requested_at is not None:
        return await _end_attempt(session, lease, JobStatus.CANCELED, AttemptOutcome.LOST)
    if lost >= MAX_LOST_ATTEMPTS:
        message = f"{lost} workers stopped while they ran this job. It was not tried again."
        error = JobError.of(ErrorCode.POISONED, message)
        return await _end_attempt(session, lease, JobStatus.FAILED, AttemptOutcome.LOST, error)
    delay = RETRY_DELAY * (lost - 1)
    return await _end_attempt(session, lease, JobStatus.QUEUED, AttemptOutcome.LOST, delay=delay)


async def cancel_overdue(session: AsyncSession, *, limit: int = 100) -> list[Job]:
    """Cancel jobs that wait although a time limit that their owner has set is over. Returns them."""
    jobs: list[Job] = []
    for reason, condition in {
        CancelReason.DEADLINE: col(Job.deadline) < func.now(),
        CancelReason.QUEUE_LIMIT: (col(Job.attempt) == 0) & (col(Job.queue_deadline) < func.now()),
    }.items():
        jobs += await _cancel_waiting(session, condition, reason, limit - len(jobs))
    return jobs


async def _cancel_waiting(
    session: AsyncSession, condition: ColumnElement[bool], reason: CancelReason, limit: int
) -> list[Job]:
    overdue = await session.exec(
        select(Job.id)
        .where(Job.status == JobStatus.QUEUED, condition)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [await _cancel_queued(session, job_id, reason) for job_id in overdue.all()]


async def cancel(session: AsyncSession, job_id: UUID) -> Job:
    """Cancel a queued job at once; ask the worker of a running one to stop.

    Raises JobNotFound, JobAlreadyFinished, CancelAlreadyRequested.
    """
    found = await session.exec(select(Job).where(Job.id == job_id).with_for_update())
    job = found.one_or_none()
    if job is None:
        raise JobNotFound
    if JobStatus(job.status).is_final:
        raise JobAlreadyFinished
    if job.cancel_requested_at is not None:
        raise CancelAlreadyRequested
    if job.status == JobStatus.QUEUED:
        return await _cancel_queued(session, job_id, CancelReason.REQUESTED, cancel_requested_at=func.now())
    return await _update_locked(session, job_id, cancel_requested_at=func.now())


async def _cancel_queued(session: AsyncSession, job_id: UUID, reason: CancelReason, **changes: Any) -> Job:
    """The row must be locked."""
    changes |= {"status": JobStatus.CANCELED, "cancel_reason": reason, "finished_at": func.now()}
    return await _update_locked(session, job_id, **changes)


async def outcome_of(session: AsyncSession, lease: Lease) -> AttemptOutcome | None:
    """How the attempt of this lease ended; None while it has not. For who lost the answer to a commit."""
    found = select(JobAttempt.outcome).where(
        JobAttempt.job_id == lease.job_id, JobAttempt.number == lease.token
    )
    outcome = (await session.exec(found)).one_or_none()
    return AttemptOutcome(outcome) if outcome else None


async def count_unclaimed(session: AsyncSession, pool: str, *, after: timedelta, limit: int) -> int:
    """How many jobs, `limit` at most, could have been claimed for longer than `after`."""
    share = (
        select(QueueShare.organization_id, fair_queue.places_left(QueueShare.organization_id).label("places"))
        .where(QueueShare.pool == pool, QueueShare.backlogged)
        .subquery()
    )
    unclaimed = (
        select(Job.id)
        .where(Job.pool == pool, Job.organization_id == share.c.organization_id)
        .where(Job.status == JobStatus.QUEUED, col(Job.available_at) < func.now() - after)
        .limit(func.least(limit, share.c.places))
        .lateral()
    )
    some = select(unclaimed.c.id).select_from(share).join(unclaimed, true()).limit(limit).subquery()
    return (await session.exec(select(func.count()).select_from(some))).one()


async def _count_lost(session: AsyncSession, job_id: UUID) -> int:
    lost = select(func.count()).where(JobAttempt.job_id == job_id, JobAttempt.outcome == AttemptOutcome.LOST)
    return (await session.exec(lost)).one()


async def _count_failed(session: AsyncSession, job_id: UUID, code: str) -> int:
    failed = select(func.count()).where(
        JobAttempt.job_id == job_id, col(JobAttempt.error)["code"].as_string() == code
    )
    return (await session.exec(failed)).one()


async def _end_attempt(
    session: AsyncSession,
    lease: Lease,
    status: JobStatus,
    outcome: AttemptOutcome,
    error: JobError | None = None,
    *,
    reason: CancelReason = CancelReason.REQUESTED,
    images_made: int = 0,
    delay: timedelta = timedelta(0),
) -> Job:
    """Close the live attempt and move the job to `status`: the only way out of `running`.

    `reason` counts where that is canceled, `delay` where it is queued.
    """
    changes: dict[str, Any] = {"status": status, "lease_expires_at": None, "worker": None}
    if status.is_final:
        changes |= {"finished_at": func.now(), "images_made": images_made}
        if status is JobStatus.FAILED and error is not None:
            changes["error"] = error.model_dump()
        if status is JobStatus.CANCELED:
            changes["cancel_reason"] = reason
    else:
        changes |= {"started_at": None, "available_at": func.now() + delay}
    job = await _update_leased(session, lease, **changes)
    await session.exec(
        update(JobAttempt)
        .where(col(JobAttempt.job_id) == lease.job_id, col(JobAttempt.number) == lease.token)
        .values(outcome=outcome, finished_at=func.now(), error=error.model_dump() if error else None)
    )
    return job


def _is_live(lease: Lease) -> tuple[Any, ...]:
    return (
        col(Job.id) == lease.job_id,
        col(Job.attempt) == lease.token,
        col(Job.status) == JobStatus.RUNNING,
    )


async def _update_leased(session: AsyncSession, lease: Lease, **changes: Any) -> Job:
    job = await _update_one(session, *_is_live(lease), **changes)
    if job is None:
        raise LeaseLost
    return job


async def _update_locked(session: AsyncSession, job_id: UUID, **changes: Any) -> Job:
    job = await _update_one(session, col(Job.id) == job_id, **changes)
    assert job is not None, "the row is locked"  # noqa: S101
    return job


async def _update_one(session: AsyncSession, *conditions: Any, **changes: Any) -> Job | None:
    statement = (
        update(Job)
        .where(*conditions)
        .values(**changes)
        .returning(Job)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    return (await session.exec(statement)).scalar_one_or_none()
