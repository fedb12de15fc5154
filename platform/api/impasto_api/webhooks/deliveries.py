"""/v1/webhook-deliveries"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_api.auth.dependencies import WebhooksReader, WebhooksWriter
from impasto_api.pagination import Page, PageDep
from impasto_api.problems import NotFound, WebhookEndpointDisabled
from impasto_api.services import ServicesDep
from impasto_api.webhooks import repository
from impasto_api.webhooks.schemas import (
    MAX_LOG,
    WebhookAttemptView,
    WebhookDeliveryDetailsView,
    WebhookDeliveryView,
)
from impasto_core.fields import Moment
from impasto_core.ids import JobId, WebhookDeliveryId, WebhookEndpointId
from impasto_core.webhooks import redelivery
from impasto_core.webhooks.payloads import body_of
from impasto_core.webhooks.tables import DeliveryStatus, WebhookDelivery
from impasto_core.webhooks.types import EventType

router = APIRouter(prefix="/v1/webhook-deliveries", tags=["webhooks"])


@router.get("", operation_id="webhooks.deliveries.list", summary="List webhook deliveries")
async def list_deliveries(
    services: ServicesDep,
    principal: WebhooksReader,
    page: PageDep,
    endpoint_id: Annotated[WebhookEndpointId | None, Query(description="Only to this endpoint.")] = None,
    job_id: Annotated[JobId | None, Query(description="Only of this job's end.")] = None,
    status: Annotated[DeliveryStatus | None, Query(description="Only those in this state.")] = None,
    event_type: Annotated[EventType | None, Query(description="Only of this type.")] = None,
    created_after: Annotated[Moment | None, Query(description="Only later ones.")] = None,
    created_before: Annotated[Moment | None, Query(description="Only earlier ones.")] = None,
) -> Page[WebhookDeliveryView]:
    """What was sent, newest first. Filters add up. What was sent is kept for 30 days."""
    query = repository.matching(
        endpoint_id=endpoint_id,
        job_id=job_id,
        status=status,
        event_type=event_type,
        created_after=created_after,
        created_before=created_before,
    )
    async with services.database.tenant(principal.organization_id) as session:
        rows, next_cursor = await page.select(session, query, WebhookDelivery.id)
        told = await repository.get_deliveries(session, [row.id for row in rows])
    return Page(
        data=[WebhookDeliveryView.of(*one) for one in told],
        has_more=next_cursor is not None,
        next_cursor=next_cursor,
    )


@router.get("/{delivery_id}", operation_id="webhooks.deliveries.get", summary="Get a webhook delivery")
async def get_delivery(
    services: ServicesDep, principal: WebhooksReader, delivery_id: WebhookDeliveryId
) -> WebhookDeliveryDetailsView:
    """With what was sent and what was answered, each time."""
    async with services.database.tenant(principal.organization_id) as session:
        told = await repository.get_delivery(session, delivery_id)
        if told is None:
            raise NotFound("There is no such webhook delivery.")
        attempts = await repository.attempts_of(session, delivery_id, limit=MAX_LOG)
    return WebhookDeliveryDetailsView(
        **WebhookDeliveryView.of(*told).model_dump(),
        request_body=body_of(told[1]).decode(),
        log=[WebhookAttemptView.of(attempt) for attempt in attempts],
    )


@router.post(
    "/{delivery_id}/redeliver",
    operation_id="webhooks.deliveries.redeliver",
    summary="Send a delivery again",
    status_code=202,
)
async def redeliver(
    services: ServicesDep, principal: WebhooksWriter, delivery_id: WebhookDeliveryId
) -> WebhookDeliveryView:
    """Attempt it now, whatever became of it, with the whole schedule of retries. `webhook-id` stays."""
    async with services.database.tenant(principal.organization_id) as session:
        try:
            await redelivery.redeliver(session, delivery_id)
        except redelivery.DeliveryNotFound:
            raise NotFound("There is no such webhook delivery.") from None
        except redelivery.EndpointDisabled:
            raise WebhookEndpointDisabled from None
        return await view(session, delivery_id)


async def view(session: AsyncSession, delivery_id: WebhookDeliveryId) -> WebhookDeliveryView:
    """Of a delivery that this transaction has written."""
    told = await repository.get_delivery(session, delivery_id)
    assert told is not None  # noqa: S101
    return WebhookDeliveryView.of(*told)
