"""Waiting for a job: woken by its event stream, sure by PostgreSQL.

Redis may be slow, empty or gone. Then the database is asked every few seconds, and nothing is missed but
progress.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from uuid import UUID

from opentelemetry import metrics

from impasto_api.jobs.hub import HubClosed, Message
from impasto_api.jobs.places import QueuePlace
from impasto_api.problems import TooManyFollowers
from impasto_api.services import Services
from impasto_core.jobs.events import FIRST

followers = metrics.get_meter(__name__).create_up_down_counter(
    "impasto.followers", "{follower}", "Streams, waits and subscriptions that are open."
)

HEARTBEAT_SECONDS = 15.0
"""So long a follower is told nothing while nothing happens."""

_NOT_SHOWN = {"unknown"}


async def follow(
    services: Services, organization_id: UUID, job_id: UUID, after: str, *, ended: bool = False
) -> AsyncGenerator[Message | QueuePlace | None, None]:
    """The job's events after an id, until the job has ended and no event is left.

    `ended` says that it is known to have. Yields its place in the queue when that has changed, and None after
    every HEARTBEAT_SECONDS without anything. Raises HubClosed.
    """
    hub = services.hub
    with (
        _counted(services, organization_id),
        hub.following(organization_id, job_id, ended=ended) as topic,
    ):
        place = None
        while not hub.closed:
            news, ended = topic.news, topic.ended  # before looking, so that nothing falls between
            messages = await hub.messages(topic, after)
            for message in messages:
                after = message.id
                if message.type == "finished":
                    return
                if message.type not in _NOT_SHOWN:
                    yield message
            if messages:
                continue
            if ended:
                return
            if topic.place not in (None, place):
                place = topic.place
                yield place
                continue
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await news.wait()
            except TimeoutError:
                yield None
    raise HubClosed


def check_room(services: Services, organization_id: UUID) -> None:
    """Raises TooManyFollowers where the organization has as many streams and waits open as it may."""
    limit = services.settings.max_followers
    if services.followers[organization_id] >= limit:
        raise TooManyFollowers(limit)


@contextlib.contextmanager
def _counted(services: Services, organization_id: UUID) -> Iterator[None]:
    services.followers[organization_id] += 1
    followers.add(1)
    try:
        yield
    finally:
        services.followers[organization_id] -= 1
        followers.add(-1)


async def wait(services: Services, organization_id: UUID, job_id: UUID, seconds: float) -> None:
    """Return when the job has ended or the time is up. Raises TooManyFollowers."""
    check_room(services, organization_id)
    with contextlib.suppress(TimeoutError, HubClosed):
        async with asyncio.timeout(seconds):
            async for _ in follow(services, organization_id, job_id, FIRST):
                pass
