"""What payment providers send. It is checked, noted, and handled by the sweeper: they want a quick answer."""

from __future__ import annotations

import logging

from fastapi import APIRouter, Request

from impasto_api.problems import PaymentsNotConfigured, WebhookRefused
from impasto_api.services import Services, ServicesDep
from impasto_billing.payments import events
from impasto_billing.payments.provider import ForgedEvent, ProviderName

logger = logging.getLogger(__name__)

# No part of the contract: nobody but the providers calls these.
router = APIRouter(prefix="/v1/billing/webhooks", include_in_schema=False)


@router.post("/stripe")
async def stripe(services: ServicesDep, request: Request) -> dict[str, bool]:
    return await _receive(services, "stripe", request)


@router.post("/lemon-squeezy")
async def lemon_squeezy(services: ServicesDep, request: Request) -> dict[str, bool]:
    return await _receive(services, "lemon-squeezy", request)


async def _receive(services: Services, name: ProviderName, request: Request) -> dict[str, bool]:
    """The signature covers the body as it came, byte for byte."""
    provider = services.providers.get(name)
    if provider is None:
        raise PaymentsNotConfigured
    now = services.clock()
    try:
        hint = provider.read_event(await request.body(), request.headers, now=now)
    except ForgedEvent as error:
        logger.warning("an event of %s was refused: %s", name, error)
        raise WebhookRefused(str(error)) from error
    async with services.database.session() as session:
        await events.note(session, name, hint, now)
    return {"received": True}
