"""Waiting for a job: woken by its event stream, sure by PostgreSQL.

Redis may be slow, empty or gone. Then the database is asked every few seconds, and nothing is missed but
progress.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

from redis.exceptions import RedisError

from impasto_api.jobs import repository
from impasto_api.problems import TooManyFollowers
from impasto_api.services import Services
from impasto_core.database import DATABASE_ERRORS
from impasto_core.jobs.events import FIRST, EventReader, Finished, StreamEvent
from impasto_core.jobs.tables import JobStatus

logger = logging.getLogger(__name__)

ASK_SECONDS = 2.0
"""How long to trust a silent stream before asking PostgreSQL."""


async def follow(
    services: Services, organization_id: UUID, job_id: UUID, after: str, *, ended: bool = False
) -> AsyncIterator[tuple[str, StreamEvent] | JobStatus | None]:
    """The job's events after an id, until the job has ended and no event is left.

    `ended` says that it is known to have. Yields the job's status every now and then while nothing happens,
    None where it cannot be seen, so that the caller can do something else.
    """
    reader = EventReader(services.redis, job_id)
    with _counted(services, organization_id):
        async for entry in _follow(services, reader, organization_id, job_id, after, ended):
            yield entry


def check_room(services: Services, organization_id: UUID) -> None:
    """Raises TooManyFollowers where the organization has as many streams and waits open as it may."""
    limit = services.settings.max_followers
    if services.followers[organization_id] >= limit:
        raise TooManyFollowers(limit)


@contextlib.contextmanager
def _counted(services: Services, organization_id: UUID) -> Iterator[None]:
    services.followers[organization_id] += 1
    try:
        yield
    finally:
        services.followers[organization_id] -= 1


async def _follow(
    services: Services, reader: EventReader, organization_id: UUID, job_id: UUID, after: str, ended: bool
) -> AsyncIterator[tuple[str, StreamEvent] | JobStatus | None]:
    while True:
        status = None
        try:
            entries = await reader.read(after, wait_seconds=None if ended else ASK_SECONDS)
        except RedisError:
            logger.warning("event stream of job %s is away", job_id, exc_info=True)
            entries = []
            if not ended:
                await asyncio.sleep(ASK_SECONDS)
        for entry_id, event in entries:
            after = entry_id
            if isinstance(event, Finished):
                return
            yield entry_id, event
        if entries:
            continue
        if ended:
            return
        # One more look at the stream after the job has ended: what came between is not lost.
        try:
            async with services.database.tenant(organization_id) as session:
                status = await repository.get_status(session, job_id)
        except DATABASE_ERRORS:
            logger.warning("cannot see how job %s is doing", job_id, exc_info=True)
            await asyncio.sleep(ASK_SECONDS)
        else:
            ended = status is None or status.is_final
        if not ended:
            yield status


async def wait(services: Services, organization_id: UUID, job_id: UUID, seconds: float) -> None:
    """Return when the job has ended or the time is up. Raises TooManyFollowers."""
    check_room(services, organization_id)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for _ in follow(services, organization_id, job_id, FIRST):
                pass
