"""Sending again what was sent, or never got through: the same event, with the same `webhook-id`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_core.webhooks import outbox
from impasto_core.webhooks.tables import DeliveryStatus, EndpointStatus, WebhookDelivery, WebhookEndpoint

MAX_REDELIVERIES = 1000
"""So many deliveries are sent again at a time, the oldest first."""


@dataclass(frozen=True)
class Redelivered:
    """How many are sent again, and from when on the same call goes on with the rest, if there is any."""

    count: int
    next_since: datetime | None


class DeliveryNotFound(Exception):
    """There is no such delivery in the organization."""


class EndpointDisabled(Exception):
    """A disabled endpoint gets nothing: enable it first."""


async def redeliver(session: AsyncSession, delivery_id: UUID) -> WebhookDelivery:
    """Attempt the delivery now, whatever became of it, with the whole schedule of retries before it.

    Raises DeliveryNotFound, EndpointDisabled.
    """
    delivery = await session.get(WebhookDelivery, delivery_id)
    if delivery is None:
        raise DeliveryNotFound
    if delivery.endpoint_id is not None:
        await _require_enabled(session, delivery.endpoint_id)
    await _send_again(session, col(WebhookDelivery.id) == delivery_id)
    await session.refresh(delivery)
    return delivery


async def redeliver_range(
    session: AsyncSession,
    endpoint: WebhookEndpoint,
    *,
    since: datetime,
    until: datetime,
    statuses: Collection[DeliveryStatus] = (DeliveryStatus.FAILED,),
) -> Redelivered:
    """Attempt again what was made for the endpoint from `since` on and before `until`, and has ended so.

    MAX_REDELIVERIES at most, the oldest. Raises EndpointDisabled.
    """
    await _require_enabled(session, endpoint.id)
    found = await session.exec(
        select(WebhookDelivery.id, WebhookDelivery.created_at)
        .where(
            WebhookDelivery.endpoint_id == endpoint.id,
            WebhookDelivery.created_at >= since,
            WebhookDelivery.created_at < until,
            col(WebhookDelivery.status).in_(statuses),
        )
        .order_by(col(WebhookDelivery.created_at), col(WebhookDelivery.id))
        .limit(MAX_REDELIVERIES + 1)
    )
    rows = found.all()
    chosen = [delivery_id for delivery_id, _ in rows[:MAX_REDELIVERIES]]
    count = await _send_again(session, col(WebhookDelivery.id).in_(chosen))
    return Redelivered(count, next_since=rows[-1][1] if len(rows) > MAX_REDELIVERIES else None)


async def _require_enabled(session: AsyncSession, endpoint_id: UUID) -> None:
    endpoint = await session.get_one(WebhookEndpoint, endpoint_id)
    if endpoint.status != EndpointStatus.ENABLED:
        raise EndpointDisabled


async def _send_again(session: AsyncSession, chosen: ColumnElement[bool]) -> int:
    sent = await session.exec(
        update(WebhookDelivery)
        .where(chosen)
        .values(status=DeliveryStatus.PENDING, failures=0, next_attempt_at=func.now(), finished_at=None)
        .execution_options(synchronize_session=False)
    )
    await outbox.wake(session)
    return sent.rowcount
