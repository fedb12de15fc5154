"""How attempts end, and the transaction that makes it so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_billing import settlement
from impasto_billing.settlement import Usage
from impasto_core.database import DATABASE_ERRORS, Database
from impasto_core.jobs import lifecycle
from impasto_core.jobs.errors import ErrorCode, JobError
from impasto_core.jobs.lifecycle import Lease, LeaseLost
from impasto_core.jobs.tables import AttemptOutcome, CancelReason, Job
from impasto_workers.pictures import Picture
from impasto_workers.stop import StopReason

logger = logging.getLogger(__name__)

PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
"""Seconds between tries to settle: some 30, about what a failover takes."""


@dataclass(frozen=True)
class Ending:
    """`transition` may run more than once, each time in a new transaction. `error` is the code, if any."""

    outcome: AttemptOutcome
    transition: Callable[[AsyncSession, Lease], Awaitable[Job]]
    error: str = ""


def succeeded(pictures: Sequence[Picture]) -> Ending:
    return Ending(
        AttemptOutcome.SUCCEEDED,
        lambda session, lease: lifecycle.succeed(session, lease, [picture.row() for picture in pictures]),
    )


def failed(error: JobError) -> Ending:
    """The attempt, and the job too where the error is final."""
    return Ending(
        AttemptOutcome.FAILED, lambda session, lease: lifecycle.fail(session, lease, error), error.code
    )


def canceled(reason: CancelReason) -> Ending:
    return Ending(
        AttemptOutcome.CANCELED, lambda session, lease: lifecycle.finish_cancel(session, lease, reason)
    )


def out_of_time(reason: StopReason, limit_seconds: float) -> Ending:
    """`limit_seconds` is the platform's own limit."""
    match reason:
        case StopReason.DEADLINE:
            return canceled(CancelReason.DEADLINE)
        case StopReason.RUN_LIMIT:
            return canceled(CancelReason.RUN_LIMIT)
        case _:
            message = f"The job was stopped after running for {limit_seconds:g} seconds."
            return failed(JobError.of(ErrorCode.TIME_LIMIT, message))


def returned() -> Ending:
    return Ending(AttemptOutcome.RETURNED, lifecycle.give_back)


async def settle(database: Database, lease: Lease, ending: Ending, usage: Usage) -> Job:
    """Make the ending true, its cost included, and return the job in its new state.

    Raises LeaseLost, and one of DATABASE_ERRORS where PostgreSQL stays away: then it is not known whether the
    last commit was made.
    """
    for pause in PAUSES:
        try:
            return await _settle_once(database, lease, ending, usage)
        except DATABASE_ERRORS as error:
            logger.warning("could not settle job %s, trying again: %r", lease.job_id, error)
            await asyncio.sleep(pause)
    return await _settle_once(database, lease, ending, usage)


async def _settle_once(database: Database, lease: Lease, ending: Ending, usage: Usage) -> Job:
    try:
        async with database.session() as session:
            job = await ending.transition(session, lease)
            await settlement.settle(session, job, usage)
            return job
    except LeaseLost:
        # An earlier try may have been committed although its answer never came.
        async with database.session() as session:
            if await lifecycle.outcome_of(session, lease) is not ending.outcome:
                raise
            return await session.get_one(Job, lease.job_id)
