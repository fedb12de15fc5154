"""Queries on webhooks. Row-level security confines them to the session's organization."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from impasto_api.webhooks.keys import public_key
from impasto_core.webhooks.tables import (
    DeliveryStatus,
    SecretKind,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookEvent,
    WebhookSecret,
)
from impasto_core.webhooks.types import EventType


async def get_endpoint(
    session: AsyncSession, endpoint_id: UUID, *, lock: bool = False
) -> WebhookEndpoint | None:
    query = select(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id)
    return (await session.exec(query.with_for_update() if lock else query)).one_or_none()


async def lock_endpoints(session: AsyncSession, organization_id: UUID) -> None:
    """Own the number of the organization's endpoints until the transaction ends."""
    name = func.hashtextextended(f"webhook_endpoints:{organization_id}", 0)
    await session.exec(select(func.pg_advisory_xact_lock(name)))


async def count_endpoints(session: AsyncSession) -> int:
    return (await session.exec(select(func.count()).select_from(WebhookEndpoint))).one()


async def change_endpoint(
    session: AsyncSession, endpoint: WebhookEndpoint, changes: Mapping[str, Any]
) -> None:
    if changes:
        await session.exec(
            update(WebhookEndpoint).where(col(WebhookEndpoint.id) == endpoint.id).values(**changes)
        )
        await session.refresh(endpoint)


async def public_keys(
    session: AsyncSession, endpoints: Collection[WebhookEndpoint]
) -> dict[UUID | None, str]:
    """The public keys of the endpoints' current secrets, by the endpoints' ids."""
    query = select(WebhookSecret).where(
        col(WebhookSecret.endpoint_id).in_({endpoint.id for endpoint in endpoints}),
        WebhookSecret.kind == SecretKind.ED25519,
        col(WebhookSecret.expires_at).is_(None),
    )
    return {secret.endpoint_id: public_key(secret) for secret in await session.exec(query)}


def matching(
    *,
    endpoint_id: UUID | None,
    job_id: UUID | None,
    status: DeliveryStatus | None,
    event_type: EventType | None,
    created_after: datetime | None,
    created_before: datetime | None,
) -> SelectOfScalar[WebhookDelivery]:
    query = select(WebhookDelivery)
    if event_type is not None or job_id is not None:
        query = query.join(WebhookEvent, col(WebhookEvent.id) == col(WebhookDelivery.event_id))
    if event_type is not None:
        query = query.where(WebhookEvent.type == event_type)
    if job_id is not None:
        query = query.where(WebhookEvent.job_id == job_id)
    if endpoint_id is not None:
        query = query.where(WebhookDelivery.endpoint_id == endpoint_id)
    if status is not None:
        query = query.where(WebhookDelivery.status == status)
    if created_after is not None:
        query = query.where(col(WebhookDelivery.created_at) > created_after)
    if created_before is not None:
        query = query.where(col(WebhookDelivery.created_at) < created_before)
    return query


Told = tuple[WebhookDelivery, WebhookEvent, str]
"""A delivery, its event, and the URL that it goes to."""


async def get_deliveries(session: AsyncSession, ids: Collection[UUID]) -> Sequence[Told]:
    """Newest first; those that there are."""
    query = (
        select(WebhookDelivery, WebhookEvent, func.coalesce(WebhookDelivery.url, WebhookEndpoint.url))
        .join(WebhookEvent, col(WebhookEvent.id) == col(WebhookDelivery.event_id))
        .join(WebhookEndpoint, col(WebhookEndpoint.id) == col(WebhookDelivery.endpoint_id), isouter=True)
        .where(col(WebhookDelivery.id).in_(ids))
        .order_by(col(WebhookDelivery.id).desc())
    )
    return (await session.exec(query)).all()


async def get_delivery(session: AsyncSession, delivery_id: UUID) -> Told | None:
    return next(iter(await get_deliveries(session, [delivery_id])), None)


async def attempts_of(session: AsyncSession, delivery_id: UUID, *, limit: int) -> Sequence[WebhookAttempt]:
    """The latest, in order."""
    query = (
        select(WebhookAttempt)
        .where(WebhookAttempt.delivery_id == delivery_id)
        .order_by(col(WebhookAttempt.number).desc())
        .limit(limit)
    )
    return (await session.exec(query)).all()[::-1]
