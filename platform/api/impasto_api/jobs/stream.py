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
from collections.abc import AsyncIterator
from uuid import UUID

from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from impasto_api.jobs import service, waiting
from impasto_api.jobs.places import QueuePlace
from impasto_api.jobs.schemas import FinalEvent, JobView, QueuedEvent
from impasto_api.problems import ValidationFailed
from impasto_api.services import Services
from impasto_core.database import DATABASE_ERRORS
from impasto_core.jobs.events import FIRST
from impasto_core.jobs.tables import JobStatus

logger = logging.getLogger(__name__)

QUEUED_ID = "0-1"
FINAL_ID = "final"


class EventStream(StreamingResponse):
    """FastAPI's own class is for endpoints that are generators: those cannot answer 204 or 404 first."""

    media_type = "text/event-stream"


def resume_point(last_event_id: str | None) -> str:
    """Where to go on. Raises ValidationFailed for an id that no stream has."""
    if not last_event_id:
        return FIRST
    if not re.fullmatch(r"\d{1,9}-\d{1,9}", last_event_id):
        raise ValidationFailed.of("header", "Last-Event-ID", "invalid", "Send back the last id received.")
    return last_event_id


async def stream(services: Services, organization_id: UUID, job: JobView, after: str) -> AsyncIterator[bytes]:
    job_id, place = job.id, None
    if after == FIRST:
        after, place = QUEUED_ID, job.queue
        yield _encode(after, "queued", QueuedEvent(job_id=job_id, queue=place).model_dump_json())
    async for entry in waiting.follow(services, organization_id, job_id, after, ended=job.status.is_final):
        if isinstance(entry, tuple):
            after, event = entry
            yield _encode(after, event.type, event.model_dump_json(exclude_none=True))
        elif entry == JobStatus.QUEUED and (news := await _place(services, job_id)) not in (None, place):
            place = news
            yield _encode(after, "queued", QueuedEvent(job_id=job_id, queue=place).model_dump_json())
        else:
            yield format_sse_event(comment="waiting")
    while (final := await _view(services, organization_id, job_id)) is None:
        yield format_sse_event(comment="waiting")
    yield _encode(FINAL_ID, final.status, FinalEvent.of(final).model_dump_json())


async def _place(services: Services, job_id: UUID) -> QueuePlace | None:
    try:
        return await services.places.of(job_id)
    except DATABASE_ERRORS:
        logger.warning("cannot see the place of job %s", job_id, exc_info=True)
        return None


async def _view(services: Services, organization_id: UUID, job_id: UUID) -> JobView | None:
    """The job, or None where PostgreSQL is away and was given time to come back."""
    try:
        return await service.view(services, organization_id, job_id)
    except DATABASE_ERRORS:
        logger.warning("cannot see how job %s has ended", job_id, exc_info=True)
        await asyncio.sleep(waiting.ASK_SECONDS)
        return None


def _encode(event_id: str, name: str, data: str) -> bytes:
    return format_sse_event(event=name, id=event_id, data_str=data)
