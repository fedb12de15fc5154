"""Who ends an attempt wakes those that can go on because of it."""

from __future__ import annotations

import logging

from impasto_core.database import DATABASE_ERRORS, Database
from impasto_core.jobs import fair_queue
from impasto_core.jobs.tables import Job, JobStatus
from impasto_core.queue import QueueUnavailable, WakeUps

logger = logging.getLogger(__name__)


async def wake_others(database: Database, wake_ups: WakeUps, job: Job) -> None:
    """For the job itself, where it is queued again, and for those that had to wait for it to end."""
    pools = {job.pool} if job.status == JobStatus.QUEUED else set()
    try:
        async with database.session() as session:
            pools |= set(await fair_queue.pools_to_wake(session, job.organization_id))
        for pool in pools:
            await wake_ups.send(pool)
    except (QueueUnavailable, *DATABASE_ERRORS):
        logger.warning("no worker was woken, the sweeper will")
