"""Whose turn it is in a pool: start-time fair queueing between organizations.

P. Goyal, H. M. Vin, H. Cheng: Start-time Fair Queueing, SIGCOMM 1996. The j-th job of an organization has the
tags

    S(j) = max(v, F(j - 1))         v, the pool's virtual time, is the largest start tag of a claimed job
    F(j) = S(j) + cost / weight

and the smallest start tag is next. The cost is the job's `pixel_steps`, at least MIN_COST; the weight is
`organizations.queue_weight` as it is at the claim.

Jobs are not tagged before they are claimed. A queue_shares row keeps the tags of the last claimed job of an
organization in a pool, and whoever has the smallest F among those that wait is next: an organization that
was away has an F below v, its start tag is v, the least there can be, and v stays where it is until it had
its turn. So nothing has to be written anew when jobs come, are canceled, or an organization's weight changes.

So organizations that have jobs to claim receive service in proportion to their weights, up to about one job's
cost each, however many workers there are. And none starves: until its next start tag S is reached, another
organization m gets no more than (S - v) x weight(m) and one job. One at its limit of concurrent jobs does not
wait: it is served when it has room again, and gets no credit for the time before.

Triggers on `jobs` keep queue_shares (migration 0003). The claims of a pool follow one another, milliseconds
apart; one that takes longer than PATIENCE_MILLISECONDS is not waited for, and some jobs may change places.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, case, func
from sqlalchemy.orm import aliased
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_core.jobs.tables import Job, JobStatus, QueueShare
from impasto_core.organizations.tables import Organization

MIN_COST = 512 * 512
"""In pixels x steps: what the smallest job counts, since it too keeps a worker busy for a moment."""

PATIENCE_MILLISECONDS = 100
"""How long a claim waits for those before it."""

FROZEN_MILLISECONDS = 5000
"""How long a claim in which nothing moves may keep others from a limited organization."""


@dataclass(frozen=True)
class Turn:
    """The organization that is next in a pool."""

    organization_id: UUID
    is_limited: bool


async def await_queue(session: AsyncSession, pool: str) -> None:
    """Let the claims before this one be charged for. It is after those that begin now until its end."""
    await session.exec(select(func.await_queue(pool, PATIENCE_MILLISECONDS)))


async def next_turn(session: AsyncSession, pool: str, *, passing: Collection[UUID]) -> Turn | None:
    """Who is next: has a job to claim and a place for it to run. Never one of `passing`."""
    turn = (
        select(QueueShare.organization_id, col(Organization.concurrent_jobs).is_not(None))
        .join(Organization, col(Organization.id) == QueueShare.organization_id)
        .where(
            QueueShare.pool == pool, QueueShare.backlogged, col(QueueShare.organization_id).not_in(passing)
        )
        .where(has_place(QueueShare.organization_id))
        .where(next_job(pool, QueueShare.organization_id).is_not(None))
        .order_by(col(QueueShare.finish_tag), col(QueueShare.organization_id))
        .limit(1)
    )
    found = (await session.exec(turn)).one_or_none()
    return Turn(*found) if found else None


async def lock_places(session: AsyncSession, organization_id: UUID) -> None:
    """Until the end of the transaction nobody else claims for the organization, in whatever pool."""
    lock = func.pg_advisory_xact_lock(func.hashtextextended(f"impasto-places-{organization_id}", 0))
    # Should this process freeze, the server ends its transaction.
    patience = func.set_config("idle_in_transaction_session_timeout", str(FROZEN_MILLISECONDS), True)
    await session.exec(select(lock, patience))


def next_job(pool: str, organization_id: Any, *, lock: bool = False) -> ScalarSelect[UUID]:
    """The organization's own order: the higher priority first, and then who came first.

    With `lock`, jobs that others are claiming or canceling are passed over.
    """
    job = (
        select(Job.id)
        .where(Job.pool == pool, Job.organization_id == organization_id)
        .where(Job.status == JobStatus.QUEUED, col(Job.available_at) <= func.now())
        .order_by(col(Job.priority).desc(), col(Job.id))
        .limit(1)
    )
    # As a scalar subquery it is evaluated in the order of the shares, and for no more of them than necessary.
    return (job.with_for_update(skip_locked=True) if lock else job).scalar_subquery()


def has_place(organization_id: Any) -> ColumnElement[bool]:
    """Whether the organization's limit of concurrent jobs leaves room for another one."""
    return func.coalesce(places_left(organization_id), 1) > 0


def places_left(organization_id: Any) -> ScalarSelect[int | None]:
    """How many more jobs of the organization may run, in all pools together; NULL where there is no limit."""
    organization, job = aliased(Organization), aliased(Job)
    running = (
        select(func.count(col(job.id)))
        .where(job.organization_id == organization.id, job.status == JobStatus.RUNNING)
        .scalar_subquery()
    )
    limit = col(organization.concurrent_jobs)
    left = select(case((limit.is_not(None), func.greatest(0, limit - running))))
    return left.where(organization.id == organization_id).scalar_subquery()


async def pools_to_wake(session: AsyncSession, organization_id: UUID) -> Sequence[str]:
    """Where jobs of a limited organization may wait for the place that has just become free."""
    found = (
        select(QueueShare.pool)
        .join(Organization, col(Organization.id) == QueueShare.organization_id)
        .where(QueueShare.organization_id == organization_id, QueueShare.backlogged)
        .where(col(Organization.concurrent_jobs).is_not(None))
    )
    return (await session.exec(found)).all()


async def mend(session: AsyncSession) -> None:
    """Make `backlogged` true where jobs are queued and false where none is. Both should be so already."""
    await session.exec(select(func.mend_queue_shares()))
