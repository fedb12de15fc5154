"""/v1/webhook-endpoints and /v1/webhook-secret"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fastapi import APIRouter
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from impasto_api.auth.dependencies import WebhooksReader, WebhooksWriter
from impasto_api.pagination import Page, PageDep, make_page
from impasto_api.problems import (
    NotFound,
    TooManyWebhookEndpoints,
    TooManyWebhookSecrets,
    ValidationFailed,
    WebhookEndpointDisabled,
)
from impasto_api.services import Services, ServicesDep
from impasto_api.webhooks import repository
from impasto_api.webhooks.deliveries import view
from impasto_api.webhooks.keys import Keys
from impasto_api.webhooks.schemas import (
    NewWebhookEndpointView,
    RedeliveryView,
    WebhookDeliveryView,
    WebhookEndpointCreate,
    WebhookEndpointUpdate,
    WebhookEndpointView,
    WebhookRedeliver,
    WebhookSecretRotate,
    WebhookSecretView,
)
from impasto_api.webhooks.urls import check_url
from impasto_core.ids import OrganizationId, WebhookEndpointId
from impasto_core.webhooks import outbox, redelivery, secrets
from impasto_core.webhooks.tables import DeliveryStatus, DisabledReason, EndpointStatus, WebhookEndpoint

MAX_ENDPOINTS = 20

router = APIRouter(prefix="/v1/webhook-endpoints", tags=["webhooks"])
secret_router = APIRouter(prefix="/v1/webhook-secret", tags=["webhooks"])


@router.post(
    "", operation_id="webhooks.endpoints.create", summary="Create a webhook endpoint", status_code=201
)
async def create_endpoint(
    services: ServicesDep, principal: WebhooksWriter, request: WebhookEndpointCreate
) -> NewWebhookEndpointView:
    """Have a URL told of events. The answer holds the secret to verify them with. It is shown this once."""
    check_url(services, "url", request.url)
    now = services.clock()
    endpoint = WebhookEndpoint(
        **request.model_dump(exclude={"enabled"}),
        **_status(services, request.enabled),
        organization_id=principal.organization_id,
        created_at=now,
    )
    async with services.database.tenant(principal.organization_id) as session:
        await repository.lock_endpoints(session, principal.organization_id)
        if await repository.count_endpoints(session) >= MAX_ENDPOINTS:
            raise TooManyWebhookEndpoints(MAX_ENDPOINTS)
        session.add(endpoint)
        await session.flush()
        made = await secrets.ensure(session, services.secret_box, principal.organization_id, endpoint.id, now)
    return NewWebhookEndpointView.made(endpoint, Keys.of(services.secret_box, made))


@router.get("", operation_id="webhooks.endpoints.list", summary="List webhook endpoints")
async def list_endpoints(
    services: ServicesDep, principal: WebhooksReader, page: PageDep
) -> Page[WebhookEndpointView]:
    """Disabled ones too."""
    async with services.database.tenant(principal.organization_id) as session:
        rows, next_cursor = await page.select(session, select(WebhookEndpoint), WebhookEndpoint.id)
        keys = await repository.public_keys(session, rows)
    return make_page(rows, next_cursor, lambda endpoint: WebhookEndpointView.of(endpoint, keys[endpoint.id]))


@router.get("/{endpoint_id}", operation_id="webhooks.endpoints.get", summary="Get a webhook endpoint")
async def get_endpoint(
    services: ServicesDep, principal: WebhooksReader, endpoint_id: WebhookEndpointId
) -> WebhookEndpointView:
    """Whether it is told of events, and if not, why."""
    async with services.database.tenant(principal.organization_id) as session:
        return await _view(session, await _find(session, endpoint_id))


@router.patch("/{endpoint_id}", operation_id="webhooks.endpoints.update", summary="Change a webhook endpoint")
async def update_endpoint(
    services: ServicesDep,
    principal: WebhooksWriter,
    endpoint_id: WebhookEndpointId,
    request: WebhookEndpointUpdate,
) -> WebhookEndpointView:
    """Change what is given. What is on its way goes to the new URL.

    `enabled: true` ends a disabling. What had failed can be sent with `redeliver`; what happened while it was
    disabled was not kept for it.
    """
    if request.url is not None:
        check_url(services, "url", request.url)
    changes: dict[str, Any] = request.model_dump(exclude={"enabled"}, exclude_none=True)
    async with services.database.tenant(principal.organization_id) as session:
        endpoint = await _find(session, endpoint_id, lock=True)
        if request.enabled is not None and request.enabled != (endpoint.status == EndpointStatus.ENABLED):
            changes |= _status(services, request.enabled)
        await repository.change_endpoint(session, endpoint, changes)
        return await _view(session, endpoint)


@router.delete(
    "/{endpoint_id}",
    operation_id="webhooks.endpoints.delete",
    summary="Delete a webhook endpoint",
    status_code=204,
)
async def delete_endpoint(
    services: ServicesDep, principal: WebhooksWriter, endpoint_id: WebhookEndpointId
) -> None:
    """With its deliveries: what is on its way to it is not sent any more."""
    # First it is told nothing more: who ends a job for it would wait until all its deliveries are deleted.
    async with services.database.tenant(principal.organization_id) as session:
        endpoint = await _find(session, endpoint_id, lock=True)
        await repository.change_endpoint(session, endpoint, _status(services, enabled=False))
    async with services.database.tenant(principal.organization_id) as session:
        await session.delete(await _find(session, endpoint_id))


@router.post(
    "/{endpoint_id}/rotate-secret",
    operation_id="webhooks.endpoints.rotate_secret",
    summary="Rotate an endpoint's secret",
    status_code=201,
)
async def rotate_endpoint_secret(
    services: ServicesDep,
    principal: WebhooksWriter,
    endpoint_id: WebhookEndpointId,
    request: WebhookSecretRotate,
) -> WebhookSecretView:
    """Replace secret and public key. Until the overlap is over, everything is signed by the old ones too."""
    async with services.database.tenant(principal.organization_id) as session:
        await _find(session, endpoint_id, lock=True)
        return await _rotate(services, session, principal.organization_id, endpoint_id, request)


@router.post(
    "/{endpoint_id}/test",
    operation_id="webhooks.endpoints.test",
    summary="Send a test event",
    status_code=202,
)
async def test_endpoint(
    services: ServicesDep, principal: WebhooksWriter, endpoint_id: WebhookEndpointId
) -> WebhookDeliveryView:
    """A `webhook.test`, now, whatever the endpoint's filter says. The delivery tells what came of it."""
    async with services.database.tenant(principal.organization_id) as session:
        endpoint = await _find(session, endpoint_id)
        if endpoint.status != EndpointStatus.ENABLED:
            raise WebhookEndpointDisabled
        sent = await outbox.publish_test(session, endpoint, services.clock())
        return await view(session, sent.id)


@router.post(
    "/{endpoint_id}/redeliver",
    operation_id="webhooks.endpoints.redeliver",
    summary="Send a time's deliveries again",
    status_code=202,
)
async def redeliver_to_endpoint(
    services: ServicesDep,
    principal: WebhooksWriter,
    endpoint_id: WebhookEndpointId,
    request: WebhookRedeliver,
) -> RedeliveryView:
    """What was given up in that time is attempted again, each with the whole schedule of retries.

    Where `next_since` is not null there is more: ask again with it as `since`.
    """
    until = request.until or services.clock()
    if until <= request.since:
        raise ValidationFailed.of("body", "until", "not_after_since", "Must lie after since.")
    statuses = [DeliveryStatus.FAILED, *([DeliveryStatus.SUCCEEDED] if request.include_succeeded else [])]
    async with services.database.tenant(principal.organization_id) as session:
        endpoint = await _find(session, endpoint_id)
        try:
            sent = await redelivery.redeliver_range(
                session, endpoint, since=request.since, until=until, statuses=statuses
            )
        except redelivery.EndpointDisabled:
            raise WebhookEndpointDisabled from None
    return RedeliveryView(count=sent.count, next_since=sent.next_since)


async def _find(
    session: AsyncSession, endpoint_id: WebhookEndpointId, *, lock: bool = False
) -> WebhookEndpoint:
    endpoint = await repository.get_endpoint(session, endpoint_id, lock=lock)
    if endpoint is None:
        raise NotFound("There is no such webhook endpoint.")
    return endpoint


async def _view(session: AsyncSession, endpoint: WebhookEndpoint) -> WebhookEndpointView:
    keys = await repository.public_keys(session, [endpoint])
    return WebhookEndpointView.of(endpoint, keys[endpoint.id])


def _status(services: Services, enabled: bool) -> dict[str, Any]:
    """The columns that say whether an endpoint is told of events."""
    return {
        "status": EndpointStatus.ENABLED if enabled else EndpointStatus.DISABLED,
        "disabled_reason": None if enabled else DisabledReason.MANUAL,
        "disabled_at": None if enabled else services.clock(),
        "failing_since": None,
    }


async def _rotate(
    services: Services,
    session: AsyncSession,
    organization_id: OrganizationId,
    endpoint_id: WebhookEndpointId | None,
    request: WebhookSecretRotate,
) -> WebhookSecretView:
    try:
        live = await secrets.rotate(
            session,
            services.secret_box,
            organization_id,
            endpoint_id,
            services.clock(),
            timedelta(seconds=request.overlap_seconds),
        )
    except secrets.TooManySecrets:
        raise TooManyWebhookSecrets(secrets.MAX_LIVE) from None
    return WebhookSecretView.of(Keys.of(services.secret_box, live))


@secret_router.get(
    "", operation_id="webhooks.secret.get", summary="Get the secret that signs for webhook_url"
)
async def get_secret(services: ServicesDep, principal: WebhooksWriter) -> WebhookSecretView:
    """What is sent to the `webhook_url` of your jobs is signed with it. Made when it is first needed."""
    organization_id = principal.organization_id
    async with services.database.tenant(organization_id) as session:
        live = await secrets.ensure(session, services.secret_box, organization_id, None, services.clock())
    return WebhookSecretView.of(Keys.of(services.secret_box, live))


@secret_router.post(
    "/rotate",
    operation_id="webhooks.secret.rotate",
    summary="Rotate the secret that signs for webhook_url",
    status_code=201,
)
async def rotate_secret(
    services: ServicesDep, principal: WebhooksWriter, request: WebhookSecretRotate
) -> WebhookSecretView:
    """Replace secret and public key. Until the overlap is over, everything is signed by the old ones too."""
    async with services.database.tenant(principal.organization_id) as session:
        return await _rotate(services, session, principal.organization_id, None, request)
