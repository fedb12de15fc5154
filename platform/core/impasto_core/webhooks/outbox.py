"""The outbox: events and their deliveries, written in the transaction of what they tell.

Both exist once that transaction is committed, and neither does where it is not. Who is told is settled there
and then: an endpoint made later does not hear of it. What nobody wants to know is not written at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID, uuid5

from pydantic import BaseModel
from sqlalchemy import ColumnElement, Text, any_, delete, func, literal
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_core.images.tables import Image
from impasto_core.jobs.tables import Job, JobStatus
from impasto_core.webhooks.payloads import JobData, TestData
from impasto_core.webhooks.tables import EndpointStatus, WebhookDelivery, WebhookEndpoint, WebhookEvent
from impasto_core.webhooks.types import END_OF_JOB, EventType

CHANNEL = "webhook_due"
"""Deliveries are due: what PostgreSQL notifies of when they are inserted."""


@dataclass(frozen=True)
class Recipient:
    """An endpoint, or a URL that a job was given. See `WebhookDelivery.lane`."""

    lane: UUID
    endpoint_id: UUID | None = None
    url: str | None = None

    @classmethod
    def endpoint(cls, endpoint_id: UUID) -> Recipient:
        return cls(endpoint_id, endpoint_id=endpoint_id)

    @classmethod
    def address(cls, organization_id: UUID, url: str) -> Recipient:
        """URLs of the same host wait for each other, those of other hosts do not."""
        return cls(uuid5(organization_id, urlsplit(url).netloc.lower()), url=url)


async def publish_end(session: AsyncSession, job: Job, *, cost: int | None) -> None:
    """Tell that the job has ended. To be the last thing in the transaction that ends it: an ordered endpoint
    hears of jobs in the order in which this is called, which their ledger's lock makes that of the commits.
    """
    event_type = END_OF_JOB[JobStatus(job.status)]
    recipients = await _who_wants_to_know(session, job.organization_id, event_type)
    if job.webhook_url is not None:
        recipients.append(Recipient.address(job.organization_id, job.webhook_url))
    if not recipients:
        return
    assert job.finished_at is not None  # noqa: S101
    images = await session.exec(select(Image).where(Image.job_id == job.id).order_by(col(Image.index)))
    event = WebhookEvent(
        organization_id=job.organization_id,
        type=event_type,
        data=JobData.of(job, images.all(), cost=cost).model_dump(mode="json"),
        job_id=job.id,
        traceparent=job.traceparent,
        created_at=job.finished_at,
    )
    await _write(session, event, recipients)


async def publish(
    session: AsyncSession, organization_id: UUID, event_type: EventType, data: BaseModel, now: datetime
) -> None:
    """Tell everyone who wants to know."""
    recipients = await _who_wants_to_know(session, organization_id, event_type)
    if recipients:
        event = WebhookEvent(
            organization_id=organization_id,
            type=event_type,
            data=data.model_dump(mode="json"),
            created_at=now,
        )
        await _write(session, event, recipients)


async def publish_test(session: AsyncSession, endpoint: WebhookEndpoint, now: datetime) -> WebhookDelivery:
    """Tell the endpoint, and nobody else, that it works. Whatever its filter says."""
    event = WebhookEvent(
        organization_id=endpoint.organization_id,
        type=EventType.TEST,
        data=TestData(endpoint_id=endpoint.id).model_dump(mode="json"),
        created_at=now,
    )
    (delivery,) = await _write(session, event, [Recipient.endpoint(endpoint.id)])
    return delivery


async def wake(session: AsyncSession) -> None:
    """Let the dispatchers look, once this is committed, for what has come due without an insert."""
    await session.exec(select(func.pg_notify(CHANNEL, "")))


async def forget(session: AsyncSession, *, before: datetime, limit: int) -> int:
    """Delete events that are older, so many at most, with their deliveries and the log of those. How many."""
    old = select(WebhookEvent.id).where(WebhookEvent.created_at < before)
    old = old.order_by(col(WebhookEvent.created_at)).limit(limit)
    deleted = delete(WebhookEvent).where(col(WebhookEvent.id).in_(old))
    return (await session.exec(deleted.execution_options(synchronize_session=False))).rowcount


async def _who_wants_to_know(
    session: AsyncSession, organization_id: UUID, event_type: EventType
) -> list[Recipient]:
    events = col(WebhookEndpoint.events)
    wanted: ColumnElement[bool] = (func.cardinality(events) == 0) | (
        literal(event_type.value, Text) == any_(events)
    )
    found = await session.exec(
        select(WebhookEndpoint.id)
        .where(
            WebhookEndpoint.organization_id == organization_id,
            WebhookEndpoint.status == EndpointStatus.ENABLED,
            wanted,
        )
        .order_by(col(WebhookEndpoint.id))
        .with_for_update(read=True, key_share=True)  # one that is being deleted is not there any more
    )
    return [Recipient.endpoint(endpoint_id) for endpoint_id in found.all()]


async def _write(
    session: AsyncSession, event: WebhookEvent, recipients: Sequence[Recipient]
) -> list[WebhookDelivery]:
    deliveries = [
        WebhookDelivery(
            organization_id=event.organization_id,
            event_id=event.id,
            endpoint_id=recipient.endpoint_id,
            url=recipient.url,
            lane=recipient.lane,
            created_at=event.created_at,
        )
        for recipient in recipients
    ]
    # Not through the session's own flush, which would read back what some of the roles may not see.
    await session.exec(insert(WebhookEvent).values(event.model_dump()))
    rows = [delivery.model_dump(exclude={"position", "next_attempt_at"}) for delivery in deliveries]
    await session.exec(insert(WebhookDelivery).values(rows))
    return deliveries
