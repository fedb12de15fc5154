"""GET /v1/jobs/{id}/events: a job's life as server-sent events (WHATWG HTML, section 9.2).

Event ids are those of the job's stream, so that `Last-Event-ID` resumes exactly there. The first and the
last event are made from PostgreSQL: every stream begins with `queued` and ends with the final state, whatever
became of Redis in between. While the job waits, `queued` comes again whenever its place has changed, with the
id of the event before it: there is nothing in it to resume.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from uuid import UUID

from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from opentelemetry import metrics
from starlette.types import Message as AsgiMessage
from starlette.types import Receive, Scope, Send

from impasto_api.http_protocol import ABORT
from impasto_api.jobs import hub, service, waiting
from impasto_api.jobs.hub import HubClosed, Message
from impasto_api.jobs.places import QueuePlace
from impasto_api.jobs.schemas import FinalEvent, JobView, QueuedEvent
from impasto_api.problems import ValidationFailed
from impasto_api.services import Services
from impasto_core.database import DATABASE_ERRORS
from impasto_core.jobs.events import FIRST

logger = logging.getLogger(__name__)
dropped = metrics.get_meter(__name__).create_counter(
    "impasto.streams.dropped", "{stream}", "Streams whose readers did not read."
)

QUEUED_ID = "0-1"
FINAL_ID = "final"

PATIENCE_SECONDS = 10.0
"""How long a reader may leave what is written for him in the buffers of his connection."""

_HEARTBEAT = format_sse_event(comment="waiting")


class _TooSlow(Exception):
    pass


class EventStream(StreamingResponse):
    """A stream whose reader is dropped when he does not read: his connection is cut, and he may resume.

    FastAPI's own class is for endpoints that are generators: those cannot answer 204 or 404 first.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(events, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_in_time(message: AsgiMessage) -> None:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await send(message)  # returns while the connection's buffer, of 64 kB, has room
            except TimeoutError:
                dropped.add(1)
                logger.info("a reader does not read its stream: it is dropped")
                # To close would be to wait until it has read what is in the buffer.
                if extension := scope.get("extensions", {}).get(ABORT):
                    extension["abort"]()
                raise _TooSlow from None

        async with aclosing(self._events):
            with suppress(_TooSlow):
                await super().__call__(scope, receive, send_in_time)


def resume_point(last_event_id: str | None) -> str:
    """Where to go on. Raises ValidationFailed for an id that no stream has."""
    if not last_event_id:
        return FIRST
    if not re.fullmatch(r"\d{1,9}-\d{1,9}", last_event_id):
        raise ValidationFailed.of("header", "Last-Event-ID", "invalid", "Send back the last id received.")
    return last_event_id


async def stream(
    services: Services, organization_id: UUID, job: JobView, after: str
) -> AsyncGenerator[bytes, None]:
    """Ends without the final event only where the process is about to stop."""
    with suppress(HubClosed):
        async with aclosing(messages(services, organization_id, job, after)) as events:
            async for event in events:
                yield _HEARTBEAT if event is None else event.frame


async def messages(
    services: Services, organization_id: UUID, job: JobView, after: str
) -> AsyncGenerator[Message | None, None]:
    """The job's events after this id, the final one included, and None now and then. Raises HubClosed."""
    job_id, place = job.id, None
    if after == FIRST:
        after, place = QUEUED_ID, job.queue
        yield _queued(after, job_id, place)
    following = waiting.follow(services, organization_id, job_id, after, ended=job.status.is_final)
    async with aclosing(following) as events:
        async for event in events:
            if isinstance(event, Message):
                after = event.id
                yield event
            elif event is None:
                yield None
            elif event != place:
                place = event
                yield _queued(after, job_id, place)
    while True:
        try:
            last = await final(services, organization_id, job_id)
        except DATABASE_ERRORS:
            logger.warning("cannot see how job %s has ended", job_id, exc_info=True)
            await asyncio.sleep(hub.ASK_SECONDS)
            yield None
        else:
            yield last
            return


async def final(services: Services, organization_id: UUID, job_id: UUID) -> Message:
    """The last event of a job that has ended, made once for all who want it at the same time.

    Raises NotFound and one of DATABASE_ERRORS.
    """

    async def make() -> Message:
        job = await service.view(services, organization_id, job_id)
        return Message(FINAL_ID, job.status, FinalEvent.of(job).model_dump_json())

    return await services.hub.once((organization_id, job_id), make)


def _queued(event_id: str, job_id: UUID, place: QueuePlace | None) -> Message:
    return Message(event_id, "queued", QueuedEvent(job_id=job_id, queue=place).model_dump_json())
